import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from conftest import save_tokenizer, text_settings
from tiny_t5 import make_t5

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_generator
from plaudit.generators.sd3 import T5_LENGTH, StableDiffusion3
from plaudit.generators.table import load_generator

PROMPTS = ["a red square", "two blue circle"]
SHIFT = 3.0


def save_sd3(folder, *, with_t5=True):
    """A StableDiffusion3Pipeline folder of random parts: 8 x 8 noise of 4 channels, 16 x 16 images."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    vocabulary = save_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    # Large random weights: with the library's small ones no prompt would matter to the picture.
    settings = {**text_settings(vocabulary), "initializer_factor": 20.0}
    tokenizer_3, t5 = make_t5(width=40) if with_t5 else (None, None)
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=40, caption_projection_dim=16, pooled_projection_dim=24,
            pos_embed_max_size=8,
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, sample_size=16,
            scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(CLIPTextConfig(**settings)), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**{**settings, "hidden_act": "gelu"})),
        tokenizer_2=tokenizer, text_encoder_3=t5, tokenizer_3=tokenizer_3,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=SHIFT),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def sd3_folder(tmp_path_factory):
    return save_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def short_folder(tmp_path_factory):
    """Without T5."""
    return save_sd3(tmp_path_factory.mktemp("short"), with_t5=False)


def noise(rows=2):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def drawn_by_theirs(folder, *, guidance, **settings):
    absent = {} if (folder / "text_encoder_3").exists() else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(str(folder), **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        PROMPTS, guidance_scale=guidance, latents=noise().clone(), output_type="pt", height=16, width=16, **settings
    ).images


def drawn_by_us(generator):
    with torch.no_grad():
        return generator.sample(noise(), generator.encode(PROMPTS))


def changed_copy(folder, to, file, **settings):
    copy = shutil.copytree(folder, to)
    (copy / file).write_text(json.dumps({**json.loads((copy / file).read_text()), **settings}))
    return copy


@pytest.mark.parametrize(("folder", "steps", "guidance"), [
    ("sd3_folder", 1, 1.0), ("sd3_folder", 3, 7.0), ("short_folder", 2, 4.0),
])  # fmt: skip
def test_it_keeps_the_contract(request, folder, steps, guidance):
    place = request.getfixturevalue(folder)
    check_generator(StableDiffusion3.from_pretrained(place, steps=steps, guidance=guidance))


@pytest.mark.parametrize(("folder", "steps", "guidance"), [
    ("sd3_folder", 1, 1.0), ("sd3_folder", 5, 7.0), ("short_folder", 1, 1.0), ("short_folder", 4, 4.0),
])  # fmt: skip
def test_images_are_those_of_the_published_pipeline(request, folder, steps, guidance):
    place = request.getfixturevalue(folder)
    ours = StableDiffusion3.from_pretrained(place, steps=steps, guidance=guidance)
    theirs = drawn_by_theirs(place, guidance=guidance, num_inference_steps=steps)
    torch.testing.assert_close(drawn_by_us(ours), theirs, atol=1e-4, rtol=1e-4)


def test_given_sigmas_are_the_pipelines_too(sd3_folder):
    sigmas = (1.0, 0.75, 0.5, 0.25)
    ours = StableDiffusion3.from_pretrained(sd3_folder, steps=4, guidance=2.0, sigmas=sigmas)
    theirs = drawn_by_theirs(sd3_folder, guidance=2.0, num_inference_steps=4, sigmas=list(sigmas))
    torch.testing.assert_close(drawn_by_us(ours), theirs, atol=1e-4, rtol=1e-4)
    # Shifted by 3: what few-step generators distilled from SD3 start their steps at.
    shifted = [SHIFT * sigma / (1 + (SHIFT - 1) * sigma) for sigma in sigmas]
    np.testing.assert_allclose(shifted, [1.0, 0.9, 0.75, 0.5])
    np.testing.assert_allclose(ours.scheduler.timesteps.numpy(), [1000, 900, 750, 500], rtol=1e-5)


def test_a_folder_is_loaded_by_its_class_in_one_unguided_step(sd3_folder):
    generator = load_generator(str(sd3_folder))
    assert isinstance(generator, StableDiffusion3)
    assert (generator.steps, generator.guidance) == (1, 1.0)


def test_two_steps_by_hand(sd3_folder):
    generator = StableDiffusion3.from_pretrained(sd3_folder, steps=2, guidance=3.0, sigmas=(1.0, 0.5))
    given, empty = generator.encode(PROMPTS), generator.encode(["", ""])

    def velocity(x, sigma):
        def under(condition):
            time = torch.full((2,), 1000 * sigma)
            return generator.transformer(
                hidden_states=x, timestep=time, encoder_hidden_states=condition.states,
                pooled_projections=condition.pooled,
            ).sample  # fmt: skip

        return under(empty) + 3.0 * (under(given) - under(empty))

    with torch.no_grad():
        x = noise()
        x = x + (0.75 - 1.0) * velocity(x, 1.0)  # 0.75: 0.5 under a shift of 3
        x = x + (0.0 - 0.75) * velocity(x, 0.75)
        torch.testing.assert_close(generator.sample_latents(noise(), given), x, atol=1e-5, rtol=1e-4)
        pixels = generator.vae.decode(x / 1.5305 + 0.0609).sample / 2 + 0.5
        torch.testing.assert_close(generator.sample(noise(), given), pixels.clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_the_clips_stand_before_t5_and_are_filled_up_with_zeros(sd3_folder, short_folder):
    states = StableDiffusion3.from_pretrained(sd3_folder).encode(PROMPTS).states
    assert states.shape == (2, 16 + T5_LENGTH, 40)
    assert states[:, :16, :32].abs().sum() > 0
    assert states[:, :16, 32:].abs().sum() == 0
    assert states[:, 16:].abs().sum() > 0
    short = StableDiffusion3.from_pretrained(short_folder).encode(PROMPTS).states
    assert short.shape == states.shape
    assert short[:, 16:].abs().sum() == 0


def test_every_encoder_reads_the_prompt(sd3_folder):
    condition = StableDiffusion3.from_pretrained(sd3_folder).encode(PROMPTS)
    parts = (
        condition.states[:, :16, :16], condition.states[:, :16, 16:32], condition.states[:, 16:],
        condition.pooled[:, :12], condition.pooled[:, 12:],
    )  # fmt: skip
    for part in parts:
        assert not torch.allclose(part[0], part[1])


def test_gradients_reach_the_noise_and_no_parameter(sd3_folder):
    generator = StableDiffusion3.from_pretrained(sd3_folder, steps=2)
    leaf = noise().requires_grad_()
    generator.sample(leaf, generator.encode(PROMPTS)).square().sum().backward()
    assert leaf.grad.abs().sum() > 0
    networks = (generator.transformer, generator.vae, generator.text_encoder_3, *(clip for _, clip in generator.clips))
    assert all(weight.grad is None for network in networks for weight in network.parameters())


def test_checkpointing_changes_no_gradient(sd3_folder):
    gradients = []
    for checkpointing in (False, True):
        generator = StableDiffusion3.from_pretrained(sd3_folder, steps=2, guidance=3.0)
        generator.use_checkpointing(checkpointing)
        leaf = noise().requires_grad_()
        images = generator.sample(leaf, generator.encode(PROMPTS))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_bfloat16_stays_near_float32(sd3_folder):
    whole = drawn_by_us(StableDiffusion3.from_pretrained(sd3_folder, steps=2))
    half = drawn_by_us(StableDiffusion3.from_pretrained(sd3_folder, steps=2, dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    assert (half - whole).abs().mean() < (half.flip(0) - whole).abs().mean() / 4


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "at least 1 step"), ({"guidance": -1.0}, "guidance must be"),
    ({"guidance": float("nan")}, "guidance must be"),
    ({"steps": 2, "sigmas": (1.0,)}, "2 steps need as many, got 1"),
    ({"steps": 2, "sigmas": (1.0, 1.0)}, "must fall from 1"), ({"sigmas": (0.5,)}, "must fall from 1"),
    ({"steps": 2, "sigmas": (1.0, 0.0)}, "must fall from 1"),
    ({"steps": 2, "sigmas": (1.0, float("nan"))}, "must fall from 1"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(short_folder, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        StableDiffusion3.from_pretrained(short_folder, **settings)


@pytest.mark.parametrize("setting", ["stochastic_sampling", "use_dynamic_shifting"])
def test_schedules_that_draw_noise_or_move_with_the_size_are_refused(short_folder, tmp_path, setting):
    folder = changed_copy(short_folder, tmp_path / "sd3", "scheduler/scheduler_config.json", **{setting: True})
    with pytest.raises(BadConfig, match=f"{setting} is not supported"):
        StableDiffusion3.from_pretrained(folder)


def test_another_scheduler_is_refused(short_folder, tmp_path):
    scheduler = ["diffusers", "EulerDiscreteScheduler"]
    folder = changed_copy(short_folder, tmp_path / "sd3", "model_index.json", scheduler=scheduler)
    with pytest.raises(BadConfig, match="got EulerDiscreteScheduler"):
        StableDiffusion3.from_pretrained(folder)


def test_a_folder_of_something_else_is_refused(sd_folder, tmp_path):
    with pytest.raises(BadConfig, match=r"no model_index\.json"):
        StableDiffusion3.from_pretrained(tmp_path)
    with pytest.raises(BadConfig, match="is a StableDiffusionPipeline and has no tokenizer_2, text_encoder_2"):
        StableDiffusion3.from_pretrained(sd_folder)


def test_a_t5_that_the_folder_names_and_lacks_is_missed(sd3_folder, tmp_path):
    folder = shutil.copytree(sd3_folder, tmp_path / "sd3")
    shutil.rmtree(folder / "text_encoder_3")
    with pytest.raises(BadConfig, match="text_encoder_3 cannot be read"):
        StableDiffusion3.from_pretrained(folder)


def test_the_row_runs_the_published_settings(monkeypatch, sd3_folder):
    asked = []
    folder = sd3_folder

    def fetch(hub_id, *, allow_patterns, **_):
        asked.append((hub_id, list(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    generator = load_generator("sd3-medium")
    assert (generator.steps, generator.guidance) == (28, 7.0)
    assert generator.transformer.is_gradient_checkpointing
    hub_id, patterns = asked[0]
    assert hub_id == "stabilityai/stable-diffusion-3-medium-diffusers"
    assert {"transformer/*.safetensors", "text_encoder_3/model-*.safetensors"} <= set(patterns)
