import json
import shutil

import diffusers
import pytest
import torch
from conftest import save_stable_diffusion

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_generator
from plaudit.generators.stable_diffusion import StableDiffusion

PROMPTS = ["a red square", "two blue circle"]


def noise(rows=2):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def euler_folder(tmp_path_factory):
    return save_stable_diffusion(tmp_path_factory.mktemp("euler"), scheduler="euler")


@pytest.fixture(scope="module")
def lcm_folder(tmp_path_factory):
    return save_stable_diffusion(tmp_path_factory.mktemp("lcm"), scheduler="lcm")


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (4, 1.0), (3, 4.0)])
def test_it_keeps_the_contract(sd_folder, steps, guidance):
    check_generator(StableDiffusion.from_pretrained(sd_folder, steps=steps, guidance=guidance))


def test_other_schedulers_keep_the_contract(euler_folder, lcm_folder):
    check_generator(StableDiffusion.from_pretrained(euler_folder))
    check_generator(StableDiffusion.from_pretrained(euler_folder, steps=3))
    check_generator(StableDiffusion.from_pretrained(lcm_folder))


@pytest.mark.parametrize(("folder", "steps", "guidance"), [
    ("sd_folder", 1, 1.0), ("sd_folder", 4, 3.0), ("euler_folder", 1, 1.0), ("euler_folder", 4, 1.0),
])  # fmt: skip
def test_images_are_those_of_the_published_pipeline(request, folder, steps, guidance):
    place = request.getfixturevalue(folder)
    ours = StableDiffusion.from_pretrained(place, steps=steps, guidance=guidance)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(str(place))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS, num_inference_steps=steps, guidance_scale=guidance, latents=noise().clone(),
        output_type="pt", height=16, width=16,
    ).images  # fmt: skip
    with torch.no_grad():
        images = ours.sample(noise(), ours.encode(PROMPTS))
    torch.testing.assert_close(images, theirs, atol=1e-4, rtol=1e-4)


def test_one_euler_step_by_hand(euler_folder):
    generator = StableDiffusion.from_pretrained(euler_folder)
    condition = generator.encode(PROMPTS)
    sigma = 14.6146  # of trailing spacing at time 999, as published for SD-Turbo
    with torch.no_grad():
        x = sigma * noise()
        epsilon = generator.unet(x / (sigma**2 + 1) ** 0.5, 999, encoder_hidden_states=condition.states).sample
        latents = generator.sample_latents(noise(), condition)
    torch.testing.assert_close(latents, x - sigma * epsilon, atol=2e-3, rtol=1e-3)


def test_equal_prompts_are_encoded_once(sd_folder):
    generator = StableDiffusion.from_pretrained(sd_folder)
    read = []
    inner = generator.tokenizer

    def tokenizer(texts, **settings):
        read.extend(texts)
        return inner(texts, **settings)

    tokenizer.model_max_length = inner.model_max_length
    generator.tokenizer = tokenizer
    condition = generator.encode(["a ring", "a star", "a ring"])
    assert read == ["a ring", "a star"]
    assert torch.equal(condition.states[0], condition.states[2])
    assert not torch.equal(condition.states[0], condition.states[1])


def test_guidance_goes_away_from_the_empty_prompt(sd_folder):
    plain = StableDiffusion.from_pretrained(sd_folder)
    guided = StableDiffusion.from_pretrained(sd_folder, guidance=3.0)
    empty = plain.sample_latents(noise(), plain.encode(["", ""]))
    given = plain.sample_latents(noise(), plain.encode(PROMPTS))
    latents = guided.sample_latents(noise(), guided.encode(PROMPTS))
    # One DDIM step is linear in the prediction, so the guided latents are on the same line.
    torch.testing.assert_close(latents, empty + 3 * (given - empty), atol=1e-5, rtol=1e-4)


def test_checkpointing_changes_no_gradient(sd_folder):
    gradients = []
    for checkpointing in (False, True):
        generator = StableDiffusion.from_pretrained(sd_folder, steps=2)
        generator.use_checkpointing(checkpointing)
        leaf = noise().requires_grad_()
        images = generator.sample(leaf, generator.encode(PROMPTS))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_a_scheduler_that_draws_noise_is_refused(lcm_folder):
    with pytest.raises(BadConfig, match="LCMScheduler would draw its own noise in 2 steps"):
        StableDiffusion.from_pretrained(lcm_folder, steps=2)


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "at least 1 step"), ({"guidance": -1.0}, "guidance must be"),
    ({"guidance": float("nan")}, "guidance must be"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(sd_folder, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        StableDiffusion.from_pretrained(sd_folder, **settings)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(BadConfig, match=r"no model_index\.json"):
        StableDiffusion.from_pretrained(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "vae": ["diffusers", "X"]}')
    with pytest.raises(BadConfig, match="is a FluxPipeline and has no tokenizer, text_encoder, unet"):
        StableDiffusion.from_pretrained(tmp_path)


def test_classes_from_elsewhere_are_not_loaded(sd_folder, tmp_path):
    folder = shutil.copytree(sd_folder, tmp_path / "sd")
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["evil", "Class"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BadConfig, match=r"evil\.Class"):
        StableDiffusion.from_pretrained(folder)


def test_missing_weights_are_named(sd_folder, tmp_path):
    folder = shutil.copytree(sd_folder, tmp_path / "sd")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadConfig, match="vae cannot be read"):
        StableDiffusion.from_pretrained(folder)


def test_half_precision_variants_are_found(sd_folder, tmp_path):
    folder = shutil.copytree(sd_folder, tmp_path / "sd")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    generator = StableDiffusion.from_pretrained(folder)
    assert generator.unet.dtype == torch.float32


@pytest.mark.parametrize("name", ["PNDMScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler"])
def test_ddim_takes_the_place_of_a_published_scheduler_that_looks_back(sd_folder, tmp_path, name):
    folder = shutil.copytree(sd_folder, tmp_path / "sd")
    own = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    shutil.rmtree(folder / "scheduler")
    getattr(diffusers, name).from_config(own.config).save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "scheduler": ["diffusers", name]}))
    generator = StableDiffusion.from_pretrained(folder, steps=3)
    assert type(generator.scheduler).__name__ == "DDIMScheduler"
    assert torch.equal(generator.scheduler.alphas_cumprod, own.alphas_cumprod)
