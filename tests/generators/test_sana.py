import math
import shutil

import diffusers
import pytest
import torch
from conftest import WORDS

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_generator
from plaudit.generators.sana import SanaSprint
from plaudit.generators.table import GENERATORS, load_generator

PROMPTS = ["a red square", "two Blue circle"]


def make_gemma():
    """Tokenizer and encoder, whose words are WORDS and single letters; states of 16 numbers."""
    from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

    symbols = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *(chr(code) for code in range(97, 123))]
    merges = []
    for word in WORDS:
        built = word[0]
        for letter in word[1:]:
            if (built, letter) not in merges:
                merges.append((built, letter))
            built += letter
            symbols.append(built)
    vocabulary = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    config = Gemma2Config(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=4096,
    )  # fmt: skip
    return GemmaTokenizer(vocab=vocabulary, merges=merges), Gemma2Model(config)


def save_sana(folder):
    """A SanaSprintPipeline folder of random parts: 6 x 6 noise of 4 channels, 24 x 24 images."""
    torch.manual_seed(0)
    tokenizer, text_encoder = make_gemma()
    pipeline = diffusers.SanaSprintPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, scheduler=diffusers.SCMScheduler(),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2,
            num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
            sample_size=6, guidance_embeds=True, qk_norm="rms_norm_across_heads",
        ),
        vae=diffusers.AutoencoderDC(
            latent_channels=4, attention_head_dim=4, encoder_block_types=("ResBlock", "EfficientViTBlock", "ResBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock", "ResBlock"), encoder_block_out_channels=(8, 8, 16),
            decoder_block_out_channels=(8, 8, 16), encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 2, 1), encoder_qkv_multiscales=((), (5,), ()),
            decoder_qkv_multiscales=((), (5,), ()), scaling_factor=0.41,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sana(tmp_path_factory.mktemp("sana"))


def noise(rows=2, steps=1):
    return torch.randn(rows, 4 * steps, 6, 6, generator=torch.Generator().manual_seed(5))


def drawn_by(generator):
    with torch.no_grad():
        return generator.sample(noise(steps=generator.steps), generator.encode(PROMPTS))


def drawn_by_theirs(folder, monkeypatch, *, steps, guidance):
    """The published pipeline's images, whose draws between steps are the further channels of our noise."""
    first, *later = noise(steps=steps).split(4, dim=1)
    draws = iter([*later, torch.zeros_like(first)])  # its last step draws too, times zero
    monkeypatch.setattr("diffusers.schedulers.scheduling_scm.randn_tensor", lambda *_, **__: next(draws))
    pipeline = diffusers.SanaSprintPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS, num_inference_steps=steps, intermediate_timesteps=1.3 if steps == 2 else None,
        guidance_scale=guidance, latents=first, output_type="pt", height=32, width=32, use_resolution_binning=False,
    ).images  # fmt: skip


@pytest.mark.parametrize("steps", [1, 2])
def test_it_keeps_the_contract(folder, steps):
    check_generator(SanaSprint.from_pretrained(folder, steps=steps, guidance=4.5))


@pytest.mark.parametrize(("steps", "guidance"), [(1, 4.5), (1, 1.0), (2, 4.5), (4, 4.5)])
def test_images_are_those_of_the_published_pipeline(folder, monkeypatch, steps, guidance):
    theirs = drawn_by_theirs(folder, monkeypatch, steps=steps, guidance=guidance)
    ours = drawn_by(SanaSprint.from_pretrained(folder, steps=steps, guidance=guidance))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def predicted(generator, latents, share, condition):
    return generator.transformer(
        latents, encoder_hidden_states=condition.states, encoder_attention_mask=condition.mask,
        timestep=torch.full((2,), share), guidance=torch.full((2,), 0.1 * generator.guidance),
    ).sample  # fmt: skip


def test_one_step_by_hand(folder):
    generator = load_generator(str(folder))
    assert isinstance(generator, SanaSprint)
    assert generator.noise_shape == (4, 6, 6)
    condition = generator.encode(PROMPTS)
    with torch.no_grad():
        expected = noise() - predicted(generator, noise(), 1.0, condition)
        latents = generator.sample_latents(noise(), condition)
    # The published first time is pi / 2 but for four millionths.
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)


def test_two_steps_by_hand(folder):
    generator = SanaSprint.from_pretrained(folder, steps=2, guidance=4.5)
    assert generator.noise_shape == (8, 6, 6)
    condition = generator.encode(PROMPTS)
    first, fresh = noise(steps=2).split(4, dim=1)
    sine, cosine = math.sin(1.3), math.cos(1.3)
    share = sine / (sine + cosine)
    with torch.no_grad():
        clean = first - predicted(generator, first, 1.0, condition)
        mixed = (1 - share) * clean + share * fresh
        expected = mixed - share * predicted(generator, mixed, share, condition)
        latents = generator.sample_latents(noise(steps=2), condition)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_noise_of_every_step(folder):
    generator = SanaSprint.from_pretrained(folder, steps=3, guidance=4.5)
    leaf = noise(steps=3).requires_grad_()
    images = generator.sample(leaf, generator.encode(PROMPTS))
    for part in torch.autograd.grad(images.square().sum(), leaf)[0].split(4, dim=1):
        assert part.abs().sum() > 0


def test_the_instruction_stands_before_the_prompt_and_is_not_kept(folder):
    generator = SanaSprint.from_pretrained(folder)
    assert generator.instruction.endswith("User Prompt: ")
    condition = generator.encode(["a red ring"])
    assert condition.states.shape == (1, 300, 16)
    assert 5 < int(condition.mask.sum()) < 20
    generator.instruction = "a ring "
    assert not torch.allclose(generator.encode(["a red ring"]).states, condition.states, atol=1e-3)


def test_prompts_are_read_in_lower_case(folder):
    generator = SanaSprint.from_pretrained(folder)
    condition = generator.encode(["A Red ring ", "a star", "a red ring"])
    assert torch.equal(condition.states[0], condition.states[2])
    assert not torch.equal(condition.states[0], condition.states[1])


def test_the_guidance_is_told(folder):
    quiet, loud = (SanaSprint.from_pretrained(folder, guidance=guidance) for guidance in (1.0, 4.5))
    assert not torch.allclose(drawn_by(quiet), drawn_by(loud), atol=1e-4)


def test_checkpointing_changes_no_gradient(folder):
    gradients, kept = [], []
    for checkpointing in (False, True):
        generator = SanaSprint.from_pretrained(folder, steps=2)
        generator.use_checkpointing(checkpointing)
        leaf, sizes = noise(steps=2).requires_grad_(), []
        condition = generator.encode(PROMPTS)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            images = generator.sample(leaf, condition)
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
        kept.append(sum(sizes))
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)
    assert kept[1] < 0.5 * kept[0]


def test_checkpointing_can_be_switched_off(folder):
    generator = SanaSprint.from_pretrained(folder)
    names = list(generator.vae.state_dict())
    before = drawn_by(generator)
    for enabled in (True, False):
        generator.use_checkpointing(enabled)
        assert list(generator.vae.state_dict()) == names
        assert torch.equal(drawn_by(generator), before)
    assert {type(block).__name__ for block in generator.vae.decoder.up_blocks} == {"Sequential"}


def test_bfloat16_draws_nearly_the_same(folder):
    exact = drawn_by(SanaSprint.from_pretrained(folder))
    rounded = drawn_by(SanaSprint.from_pretrained(folder, dtype=torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.02


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "at least 1 step"), ({"guidance": -1.0}, "guidance must be"),
    ({"guidance": float("nan")}, "guidance must be"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(folder, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        SanaSprint.from_pretrained(folder, **settings)


def test_another_scheduler_is_refused(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "other")
    index = (place / "model_index.json").read_text()
    (place / "model_index.json").write_text(index.replace("SCMScheduler", "DDIMScheduler"))
    with pytest.raises(BadConfig, match="the folder has a DDIMScheduler"):
        SanaSprint.from_pretrained(place)


def test_a_transformer_without_guidance_is_refused(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "unguided")
    config = diffusers.SanaTransformer2DModel.load_config(str(place / "transformer"))
    unguided = diffusers.SanaTransformer2DModel.from_config(dict(config) | {"guidance_embeds": False})
    unguided.save_pretrained(str(place / "transformer"))
    with pytest.raises(BadConfig, match="not SANA-Sprint's"):
        SanaSprint.from_pretrained(place)


def test_a_folder_of_something_else_is_refused(sd_folder):
    with pytest.raises(BadConfig, match="is a StableDiffusionPipeline and has no transformer"):
        SanaSprint.from_pretrained(sd_folder)


def test_the_rows_run_one_step_at_the_published_guidance(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    rows = [row for row in GENERATORS if row.name.startswith("sana-sprint")]
    assert len(rows) == 2
    for row in rows:
        generator = load_generator(row.hub_id)
        assert isinstance(generator, SanaSprint)
        assert (generator.steps, generator.guidance) == (1, 4.5)
