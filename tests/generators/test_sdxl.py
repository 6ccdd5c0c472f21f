import json
import logging
import shutil

import diffusers
import pytest
import torch
from conftest import save_tokenizer, text_settings
from safetensors.torch import load_file, save_file

from plaudit.core.errors import BadConfig
from plaudit.generators.check import check_generator
from plaudit.generators.sdxl import StableDiffusionXL
from plaudit.generators.sdxl_changes import Changes
from plaudit.generators.table import GENERATORS, load_generator

PROMPTS = ["a red square", "two blue circle"]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def make_unet(seed):
    torch.manual_seed(seed)
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2), attention_head_dim=(1, 2), use_linear_projection=True,
        cross_attention_dim=32, norm_num_groups=4, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=12 + 6 * 8,
    )  # fmt: skip


def make_vae(seed=0, *, force_upcast=True):
    torch.manual_seed(seed)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, sample_size=16,
        scaling_factor=0.13025, force_upcast=force_upcast,
    )  # fmt: skip


def save_sdxl(folder, *, scheduler="ancestral", zeros=True):
    """A StableDiffusionXLPipeline folder of random parts: 8 x 8 noise of 4 channels, 16 x 16 images."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    vocabulary = save_tokenizer(folder / "tokenizer")
    schedulers = {
        "ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
        "euler": lambda: diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        "ddim": lambda: diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False),
    }
    settings = text_settings(vocabulary)
    # Large random weights: with the library's small ones no prompt would matter to the picture.
    loud = {"initializer_factor": 20.0}
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=make_vae(), unet=make_unet(0), scheduler=schedulers[scheduler](),
        text_encoder=CLIPTextModel(CLIPTextConfig(**settings, **loud)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**{**settings, "hidden_act": "gelu"}, **loud)),
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
        tokenizer_2=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
        force_zeros_for_empty_prompt=zeros, add_watermarker=False,
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def turbo_folder(tmp_path_factory):
    return save_sdxl(tmp_path_factory.mktemp("turbo"))


@pytest.fixture(scope="module")
def euler_folder(tmp_path_factory):
    return save_sdxl(tmp_path_factory.mktemp("euler"), scheduler="euler")


@pytest.fixture(scope="module")
def ddim_folder(tmp_path_factory):
    return save_sdxl(tmp_path_factory.mktemp("ddim"), scheduler="ddim", zeros=False)


@pytest.fixture(scope="module")
def hyper_unet(tmp_path_factory):
    """Another U-Net's weights in one file, as Hyper-SDXL publishes them."""
    file = tmp_path_factory.mktemp("hyper") / "Hyper-SDXL-1step-Unet.safetensors"
    save_file(make_unet(7).state_dict(), file)
    return file


def noise(rows=2):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def pipeline_of(folder, **parts):
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(str(folder), add_watermarker=False, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by(pipeline, *, guidance, **settings):
    return pipeline(
        PROMPTS, guidance_scale=guidance, latents=noise().clone(), output_type="pt", height=16, width=16, **settings
    ).images


def drawn_by_us(generator):
    with torch.no_grad():
        return generator.sample(noise(), generator.encode(PROMPTS))


def gradient_of(generator):
    leaf = noise().requires_grad_()
    images = generator.sample(leaf, generator.encode(PROMPTS))
    return torch.autograd.grad(images.square().sum(), leaf)[0]


@pytest.mark.parametrize(("folder", "steps", "guidance"), [
    ("turbo_folder", 1, 1.0), ("euler_folder", 3, 5.0), ("ddim_folder", 2, 5.0),
])  # fmt: skip
def test_it_keeps_the_contract(request, folder, steps, guidance):
    place = request.getfixturevalue(folder)
    check_generator(StableDiffusionXL.from_pretrained(place, steps=steps, guidance=guidance))


@pytest.mark.parametrize(("folder", "steps", "guidance"), [
    ("turbo_folder", 1, 1.0), ("euler_folder", 1, 1.0), ("euler_folder", 4, 5.0), ("ddim_folder", 4, 5.0),
])  # fmt: skip
def test_images_are_those_of_the_published_pipeline(request, folder, steps, guidance):
    place = request.getfixturevalue(folder)
    ours = StableDiffusionXL.from_pretrained(place, steps=steps, guidance=guidance)
    theirs = drawn_by(pipeline_of(place), guidance=guidance, num_inference_steps=steps)
    torch.testing.assert_close(drawn_by_us(ours), theirs, atol=1e-4, rtol=1e-4)


def test_a_folder_is_loaded_by_its_class_in_one_unguided_step(turbo_folder):
    generator = load_generator(str(turbo_folder))
    assert isinstance(generator, StableDiffusionXL)
    assert (generator.steps, generator.guidance) == (1, 1.0)
    theirs = drawn_by(pipeline_of(turbo_folder), guidance=0.0, num_inference_steps=1)
    torch.testing.assert_close(drawn_by_us(generator), theirs, atol=1e-4, rtol=1e-4)


def test_one_ancestral_step_by_hand(turbo_folder):
    generator = StableDiffusionXL.from_pretrained(turbo_folder)
    condition = generator.encode(PROMPTS)
    sigma = 14.6146  # of trailing spacing at time 999, as published for SDXL-Turbo
    sizes = torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]] * 2)
    with torch.no_grad():
        x = sigma * noise()
        epsilon = generator.unet(
            x / (sigma**2 + 1) ** 0.5, 999, encoder_hidden_states=condition.states,
            added_cond_kwargs={"text_embeds": condition.pooled, "time_ids": sizes},
        ).sample  # fmt: skip
        latents = generator.sample_latents(noise(), condition)
    torch.testing.assert_close(latents, x - sigma * epsilon, atol=2e-3, rtol=1e-3)


def test_hyper_sdxl_is_the_published_recipe(euler_folder, hyper_unet):
    ours = StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(unet=hyper_unet, lcm_time=800))
    pipeline = pipeline_of(euler_folder)
    pipeline.unet.load_state_dict(load_file(hyper_unet))
    pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    theirs = drawn_by(pipeline, guidance=0.0, timesteps=[800])
    torch.testing.assert_close(drawn_by_us(ours), theirs, atol=1e-4, rtol=1e-4)
    check_generator(ours)


def test_hyper_sdxl_step_by_hand(euler_folder, hyper_unet):
    generator = StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(unet=hyper_unet, lcm_time=800))
    condition = generator.encode(PROMPTS)
    sizes = torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]] * 2)
    with torch.no_grad():
        epsilon = generator.unet(
            noise(), 800, encoder_hidden_states=condition.states,
            added_cond_kwargs={"text_embeds": condition.pooled, "time_ids": sizes},
        ).sample  # fmt: skip
        latents = generator.sample_latents(noise(), condition)
    # The boundary scalings at time 800 are 0 and 1 to eight digits; 0.98140 and 0.19201 are the roots of
    # 1 - alpha-bar and alpha-bar, 0.036870, as published.
    torch.testing.assert_close(latents, (noise() - 0.98140 * epsilon) / 0.19201, atol=1e-3, rtol=1e-3)


def test_the_custom_time_is_not_warned_of_at_every_picture(euler_folder, caplog):
    generator = StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(lcm_time=800))
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        drawn_by_us(generator)
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert "800" not in caplog.text


def test_another_unet_needs_none_in_the_folder(euler_folder, hyper_unet, tmp_path):
    folder = shutil.copytree(euler_folder, tmp_path / "sdxl")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    changed = Changes(unet=hyper_unet)
    generator = StableDiffusionXL.from_pretrained(folder, changes=changed, dtype=torch.bfloat16)
    assert all(weight.dtype == torch.bfloat16 for weight in generator.unet.parameters())
    assert not any(weight.is_meta for weight in generator.unet.state_dict().values())
    with pytest.raises(BadConfig, match="unet cannot be read"):
        StableDiffusionXL.from_pretrained(folder)


def test_another_autoencoder_decodes(euler_folder, tmp_path):
    make_vae(3).save_pretrained(str(tmp_path / "vae"))
    ours = StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(vae=tmp_path / "vae"))
    theirs = drawn_by(pipeline_of(euler_folder, vae=make_vae(3)), guidance=1.0, num_inference_steps=1)
    torch.testing.assert_close(drawn_by_us(ours), theirs, atol=1e-4, rtol=1e-4)


def test_the_empty_prompt_is_zero_where_the_folder_says_so(euler_folder, ddim_folder):
    def zeros(folder):
        generator = StableDiffusionXL.from_pretrained(folder, guidance=2.0)
        drawn_by_us(generator)
        return bool((generator._empty.states == 0).all()), bool((generator._empty.pooled == 0).all())

    assert zeros(euler_folder) == (True, True)
    assert zeros(ddim_folder) == (False, False)


def test_equal_prompts_are_encoded_once(turbo_folder):
    generator = StableDiffusionXL.from_pretrained(turbo_folder)
    read = []
    inner = generator._read
    generator._read = lambda prompts: read.extend(prompts) or inner(prompts)
    condition = generator.encode(["a ring", "a star", "a ring"])
    assert read == ["a ring", "a star"]
    assert torch.equal(condition.pooled[0], condition.pooled[2])
    assert not torch.equal(condition.pooled[0], condition.pooled[1])
    assert not torch.equal(condition.states[0], condition.states[1])


def test_gradients_reach_the_noise_and_no_parameter(turbo_folder):
    generator = StableDiffusionXL.from_pretrained(turbo_folder)
    leaf = noise().requires_grad_()
    generator.sample(leaf, generator.encode(PROMPTS)).square().sum().backward()
    assert leaf.grad.abs().sum() > 0
    networks = (generator.unet, generator.vae, *(encoder for _, encoder in generator.encoders))
    assert all(weight.grad is None for network in networks for weight in network.parameters())


def test_checkpointing_changes_no_gradient(euler_folder):
    gradients = []
    for checkpointing in (False, True):
        generator = StableDiffusionXL.from_pretrained(euler_folder, steps=2, guidance=3.0)
        generator.use_checkpointing(checkpointing)
        gradients.append(gradient_of(generator))
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_bfloat16_stays_near_float32(turbo_folder):
    whole = drawn_by_us(StableDiffusionXL.from_pretrained(turbo_folder))
    half = drawn_by_us(StableDiffusionXL.from_pretrained(turbo_folder, dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    # The latents' scale carries the U-Net's rounding into the picture; another picture is still far away.
    assert (half - whole).abs().mean() < (half.flip(0) - whole).abs().mean() / 4


@pytest.mark.parametrize(("force_upcast", "expected"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_in_float16_decodes_in_float32(turbo_folder, tmp_path, force_upcast, expected):
    make_vae(force_upcast=force_upcast).save_pretrained(str(tmp_path / "vae"))
    generator = StableDiffusionXL.from_pretrained(
        turbo_folder, dtype=torch.float16, changes=Changes(vae=tmp_path / "vae")
    )
    assert (generator.unet.dtype, generator.vae.dtype) == (torch.float16, expected)


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "at least 1 step"), ({"guidance": -1.0}, "guidance must be"),
    ({"steps": 2}, "EulerAncestralDiscreteScheduler would draw its own noise in 2 steps"),
    ({"steps": 2, "changes": Changes(lcm_time=800)}, "the time of a single step"),
    ({"changes": Changes(lcm_time=1000)}, "0 to 999; got 1000"),
    ({"changes": Changes(lcm_time=-1)}, "0 to 999; got -1"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(turbo_folder, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        StableDiffusionXL.from_pretrained(turbo_folder, **settings)


def test_a_unet_that_is_told_its_guidance_is_refused(turbo_folder, tmp_path):
    folder = shutil.copytree(turbo_folder, tmp_path / "lcm")
    config = json.loads((folder / "unet" / "config.json").read_text())
    unet = diffusers.UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 16})
    unet.save_pretrained(str(folder / "unet"))
    with pytest.raises(BadConfig, match="latent consistency"):
        StableDiffusionXL.from_pretrained(folder)


def test_a_folder_of_something_else_is_refused(sd_folder, tmp_path):
    with pytest.raises(BadConfig, match=r"no model_index\.json"):
        StableDiffusionXL.from_pretrained(tmp_path)
    with pytest.raises(BadConfig, match="is a StableDiffusionPipeline and has no tokenizer_2, text_encoder_2"):
        StableDiffusionXL.from_pretrained(sd_folder)


def test_a_tokenizer_without_words_is_refused(turbo_folder, tmp_path):
    folder = shutil.copytree(turbo_folder, tmp_path / "sdxl")
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    with pytest.raises(BadConfig, match=r"tokenizer_2 has none of tokenizer\.json"):
        StableDiffusionXL.from_pretrained(folder)


def test_a_file_that_is_no_such_unet_is_refused(euler_folder, hyper_unet, tmp_path):
    def load(file):
        StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(unet=file))

    weights = load_file(hyper_unet)
    for name, changed in {
        "less": {key: value for key, value in weights.items() if key != "conv_in.bias"},
        "more": {**weights, "conv_in.bias.lora": torch.zeros(1)},
        "other": {**weights, "conv_in.bias": torch.zeros(3)},
    }.items():
        save_file(changed, tmp_path / f"{name}.safetensors")
        with pytest.raises(BadConfig, match=r"1 weights differ, such as conv_in\.bias"):
            load(tmp_path / f"{name}.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for file in (tmp_path / "text.safetensors", tmp_path / "nothing.safetensors"):
        with pytest.raises(BadConfig, match="cannot be read as safetensors"):
            load(file)
    with pytest.raises(BadConfig, match="holds no autoencoder"):
        StableDiffusionXL.from_pretrained(euler_folder, changes=Changes(vae=tmp_path))


def test_the_rows_fetch_what_their_recipe_needs_and_no_more(monkeypatch, euler_folder, hyper_unet, tmp_path):
    make_vae(3, force_upcast=False).save_pretrained(str(tmp_path / "vae"))
    folders = {
        "stabilityai/sdxl-turbo": euler_folder, "stabilityai/stable-diffusion-xl-base-1.0": euler_folder,
        "madebyollin/sdxl-vae-fp16-fix": tmp_path / "vae", "ByteDance/Hyper-SD": hyper_unet.parent,
    }  # fmt: skip
    asked, revisions = {}, {}

    def fetch(hub_id, *, allow_patterns, revision, **_):
        asked[hub_id] = list(allow_patterns)
        revisions[hub_id] = revision
        return str(folders[hub_id])

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    turbo = load_generator("sdxl-turbo")
    assert "vae/*.fp16.safetensors" not in asked["stabilityai/sdxl-turbo"]
    assert "unet/*.fp16.safetensors" in asked["stabilityai/sdxl-turbo"]
    torch.testing.assert_close(turbo.vae.post_quant_conv.weight, make_vae(3).post_quant_conv.weight)

    hyper = load_generator("hyper-sdxl")
    assert "unet/*.fp16.safetensors" not in asked["stabilityai/stable-diffusion-xl-base-1.0"]
    assert asked["ByteDance/Hyper-SD"] == ["Hyper-SDXL-1step-Unet.safetensors"]
    assert revisions["ByteDance/Hyper-SD"] == GENERATORS.find("hyper-sdxl").revision
    assert (hyper.steps, hyper.lcm_time, type(hyper.scheduler).__name__) == (1, 800, "LCMScheduler")
    torch.testing.assert_close(hyper.unet.conv_in.weight, make_unet(7).conv_in.weight)
    assert hyper.unet.is_gradient_checkpointing

    base = load_generator("sdxl")
    assert (base.steps, base.guidance) == (50, 5.0)


def test_the_rows_name_the_noise_that_the_published_recipes_optimise():
    facts = {name: GENERATORS.find(name).facts for name in ("sdxl-turbo", "hyper-sdxl", "sdxl")}
    for row in facts.values():
        channels, *size = row["noise"]
        assert (channels, [8 * side for side in size]) == (4, 2 * [row["image_size"]])


def test_half_precision_variants_are_found_in_parts_that_are_split(turbo_folder, tmp_path):
    folder = shutil.copytree(turbo_folder, tmp_path / "sdxl")
    unet = diffusers.UNet2DConditionModel.from_pretrained(str(folder / "unet"))
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(str(folder / "unet"), variant="fp16", max_shard_size="50KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    index = json.loads((folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    first, second = StableDiffusionXL.from_pretrained(folder), StableDiffusionXL.from_pretrained(turbo_folder)
    torch.testing.assert_close(drawn_by_us(first), drawn_by_us(second))
