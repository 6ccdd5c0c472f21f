import json
import shutil
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from conftest import save_tokenizer, text_settings
from tiny_t5 import make_t5

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_generator
from plaudit.generators.flux import Flux
from plaudit.generators.table import GENERATORS, load_generator

PROMPTS = ["a red square", "two blue circle"]


def save_flux(folder, *, dev=False, scales=2):
    """A FluxPipeline folder of random parts; an image of 16 pixels has 4 x 4 tokens where there are two scales."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    vocabulary = save_tokenizer(folder / "tokenizer")
    tokenizer_2, text_encoder_2 = make_t5(width=32)
    shifts = {"use_dynamic_shifting": True, "shift": 3.0} if dev else {}
    pipeline = diffusers.FluxPipeline(
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")), tokenizer_2=tokenizer_2,
        text_encoder=CLIPTextModel(CLIPTextConfig(**text_settings(vocabulary), initializer_factor=20.0)),
        text_encoder_2=text_encoder_2, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shifts),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4), guidance_embeds=dev,
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8,) * scales, down_block_types=("DownEncoderBlock2D",) * scales, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * scales, layers_per_block=1, norm_num_groups=4, scaling_factor=0.36,
            shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def schnell(tmp_path_factory):
    return save_flux(tmp_path_factory.mktemp("schnell"))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return save_flux(tmp_path_factory.mktemp("dev"), dev=True)


def noise(rows=2, tokens=16):
    return torch.randn(rows, tokens, 16, generator=torch.Generator().manual_seed(5))


def drawn_by(generator, tokens=16):
    with torch.no_grad():
        return generator.sample(noise(tokens=tokens), generator.encode(PROMPTS))


def drawn_by_theirs(folder, *, steps, guidance=0.0, length=256, pixels=16):
    pipeline = diffusers.FluxPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS, num_inference_steps=steps, guidance_scale=guidance, latents=noise(tokens=(pixels // 4) ** 2),
        output_type="pt", height=pixels, width=pixels, max_sequence_length=length,
    ).images  # fmt: skip


@pytest.mark.parametrize("steps", [1, 3])
def test_it_keeps_the_contract(schnell, dev, steps):
    check_generator(Flux.from_pretrained(schnell, image_size=16, steps=steps))
    check_generator(Flux.from_pretrained(dev, image_size=16, steps=steps, guidance=3.5))


@pytest.mark.parametrize("steps", [1, 4])
def test_images_of_schnell_are_those_of_the_published_pipeline(schnell, steps):
    ours = drawn_by(Flux.from_pretrained(schnell, image_size=16, steps=steps))
    torch.testing.assert_close(ours, drawn_by_theirs(schnell, steps=steps), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("steps", "guidance", "pixels"), [(1, 3.5, 16), (4, 3.5, 16), (3, 1.0, 32)])
def test_images_of_dev_are_those_of_the_published_pipeline(dev, steps, guidance, pixels):
    ours = Flux.from_pretrained(dev, image_size=pixels, steps=steps, guidance=guidance)
    theirs = drawn_by_theirs(dev, steps=steps, guidance=guidance, length=512, pixels=pixels)
    torch.testing.assert_close(drawn_by(ours, tokens=(pixels // 4) ** 2), theirs, atol=1e-4, rtol=1e-4)


def test_a_folder_is_run_in_one_step_on_64_latents(tmp_path):
    generator = load_generator(str(save_flux(tmp_path, scales=1)))
    assert isinstance(generator, Flux)
    assert generator.noise_shape == (1024, 16)
    images = drawn_by(generator, tokens=1024)
    assert images.shape == (2, 3, 64, 64)


def test_one_step_by_hand(schnell):
    generator = Flux.from_pretrained(schnell, image_size=16)
    condition = generator.encode(PROMPTS)
    places = torch.tensor([[0, row, column] for row in range(4) for column in range(4)])
    with torch.no_grad():
        velocity = generator.transformer(
            noise(), timestep=torch.ones(2), pooled_projections=condition.pooled,
            encoder_hidden_states=condition.states, txt_ids=torch.zeros(256, 3), img_ids=places,
        ).sample  # fmt: skip
        latents = generator.sample_latents(noise(), condition)
    torch.testing.assert_close(latents, noise() - velocity, atol=1e-6, rtol=1e-5)


def test_a_token_is_a_square_of_latents(schnell):
    generator = Flux.from_pretrained(schnell, image_size=16)
    seen = []

    def decode(latents):
        seen.append(latents)
        return SimpleNamespace(sample=latents)

    generator.vae.decode = decode
    generator.decode(torch.arange(256.0).view(1, 16, 16))
    picture = (seen[0] - 0.12) * 0.36
    # Token 5 is in row 1, column 1; its third channel's upper right number is its tenth.
    assert picture[0, 2, 2, 3].item() == pytest.approx(5 * 16 + 9, abs=1e-3)


def test_times_shift_with_the_number_of_tokens(schnell, dev):
    fixed = Flux.from_pretrained(schnell, image_size=16, steps=4).sigmas
    assert fixed == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    for pixels in (16, 32):
        tokens = (pixels // 4) ** 2
        shift = np.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))
        expected = [shift / (shift + 1 / sigma - 1) for sigma in (1, 0.75, 0.5, 0.25)]
        assert Flux.from_pretrained(dev, image_size=pixels, steps=4).sigmas == pytest.approx([*expected, 0])


def test_the_prompt_reaches_the_image_by_both_encoders(schnell):
    generator = Flux.from_pretrained(schnell, image_size=16)
    first, second = generator.encode(["a red square"]), generator.encode(["two blue circle"])
    crossed = type(first)(states=first.states, pooled=second.pooled)
    latents = [generator.sample_latents(noise(1), condition) for condition in (first, crossed, second)]
    assert not torch.allclose(latents[0], latents[1], atol=1e-3)
    assert not torch.allclose(latents[1], latents[2], atol=1e-3)


def test_dev_is_told_its_guidance_in_one_run(dev):
    quiet, loud = (Flux.from_pretrained(dev, image_size=16, guidance=guidance) for guidance in (1.0, 5.0))
    assert not torch.allclose(drawn_by(quiet), drawn_by(loud), atol=1e-4)


def test_checkpointing_changes_no_gradient(schnell):
    gradients = []
    for checkpointing in (False, True):
        generator = Flux.from_pretrained(schnell, image_size=16, steps=2)
        generator.use_checkpointing(checkpointing)
        leaf = noise().requires_grad_()
        images = generator.sample(leaf, generator.encode(PROMPTS))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_bfloat16_draws_nearly_the_same(schnell):
    exact = drawn_by(Flux.from_pretrained(schnell, image_size=16))
    rounded = drawn_by(Flux.from_pretrained(schnell, image_size=16, dtype=torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.02


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "at least 1 step"), ({"guidance": -1.0}, "guidance must be at least 0"),
    ({"guidance": 3.5}, "made to run unguided"), ({"guidance": float("nan")}, "guidance must be at least 0"),
    ({"image_size": 18}, "a multiple of 4 pixels, got 18"), ({"image_size": 0}, "a multiple of 4 pixels, got 0"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(schnell, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        Flux.from_pretrained(schnell, **settings)


def test_schedulers_that_draw_noise_are_refused(schnell, tmp_path):
    folder = shutil.copytree(schnell, tmp_path / "drawing")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stochastic_sampling": True}))
    with pytest.raises(BadConfig, match="that draws nothing"):
        Flux.from_pretrained(folder)


def test_a_folder_of_something_else_is_refused(sd_folder):
    with pytest.raises(BadConfig, match="is a StableDiffusionPipeline and has no tokenizer_2, text_encoder_2"):
        Flux.from_pretrained(sd_folder)


def test_the_row_fetches_the_folders_and_no_single_file(monkeypatch, tmp_path):
    folder, asked = save_flux(tmp_path, scales=1), []

    def snapshot_download(*_, allow_patterns, **__):
        asked.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    assert isinstance(load_generator("flux-schnell"), Flux)
    assert "*/*.safetensors" in asked
    assert "*.safetensors" not in asked
    assert GENERATORS.find("flux-schnell").facts["noise"] == (1024, 64)
