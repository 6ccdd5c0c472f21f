import diffusers
import pytest
import torch
from conftest import save_stable_diffusion
from diffusers.schedulers import scheduling_lcm
from safetensors.torch import save_file

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.check import check_generator, check_policy
from plaudit.generators.generator import NoiseGenerator, StepPolicy
from plaudit.generators.lcm import LatentConsistency, guidance_embedding, sampling_times
from plaudit.generators.step_policy import log_prob, own_draws, rollout
from plaudit.generators.table import GENERATORS, load_generator

PROMPTS = ["a red square", "two blue circle"]
KEYS = [(3, 0, 0), (3, 1, 0)]

PUBLISHED_TIMES = {
    2: [999, 499],
    4: [999, 759, 519, 279],
    8: [999, 879, 759, 639, 519, 399, 279, 159],
    16: [999, 939, 879, 819, 759, 699, 639, 579, 519, 459, 399, 339, 279, 219, 159, 99],
}
"""of RLCM's released code"""

PUBLISHED_STEPS = [
    (0.1324, 0.9912), (0.2285, 0.9735), (0.3548, 0.9349), (0.5016, 0.8651), (0.6528, 0.7576), (0.7910, 0.6118),
    (0.9028, 0.4301),
]  # fmt: skip
"""the mean's coefficient and the spread of RLCM's eight steps, but for the last, which draws nothing here"""


def save_lcm(folder):
    """A LatentConsistencyModelPipeline folder of random parts, with LCM-Dreamshaper's schedule and embedding size."""
    torch.manual_seed(0)
    given = diffusers.StableDiffusionPipeline.from_pretrained(str(save_stable_diffusion(folder, scheduler="lcm")))
    unet = diffusers.UNet2DConditionModel.from_config(dict(given.unet.config), time_cond_proj_dim=256)
    pipeline = diffusers.LatentConsistencyModelPipeline(
        vae=given.vae, text_encoder=given.text_encoder, tokenizer=given.tokenizer, unet=unet,
        scheduler=given.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def lcm_folder(tmp_path_factory):
    return save_lcm(tmp_path_factory.mktemp("lcm"))


@pytest.fixture(scope="module")
def sd15_folder(tmp_path_factory):
    """Its U-Net predicts epsilon, as the LCM-LoRA's base does; its scheduler is another one."""
    return save_stable_diffusion(tmp_path_factory.mktemp("sd15"), scheduler="euler")


def noise(rows=2):
    return noise_for([("start", row) for row in range(rows)], (4, 8, 8))


def draw(step):
    return noise_for([("step", step, row) for row in range(2)], (4, 8, 8))


def published(monkeypatch, pipeline, draws, **settings):
    """The pipeline's own images, with these noises for its steps."""
    left = list(draws)
    monkeypatch.setattr(scheduling_lcm, "randn_tensor", lambda *_, **__: left.pop(0))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        PROMPTS, latents=noise(), output_type="pt", height=16, width=16, num_inference_steps=len(left) + 1, **settings
    ).images
    assert not left
    return images


def lcm_pipeline(folder):
    return diffusers.LatentConsistencyModelPipeline.from_pretrained(str(folder))


@pytest.mark.parametrize(("steps", "guidance"), [(1, 8.0), (1, 1.0), (4, 8.0), (3, 2.0)])
def test_it_keeps_both_contracts(lcm_folder, steps, guidance):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=steps, guidance=guidance)
    assert isinstance(model, StepPolicy)
    assert isinstance(model, NoiseGenerator)
    check_generator(model)
    check_policy(model)


@pytest.mark.parametrize("guidance", [8.0, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_images_are_those_of_the_published_pipeline(monkeypatch, lcm_folder, steps, guidance):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=steps, guidance=guidance, spacing="even")
    draws = [draw(step) for step in range(steps - 1)]
    theirs = published(monkeypatch, lcm_pipeline(lcm_folder), draws, guidance_scale=guidance)
    with torch.no_grad():
        taken = rollout(model, noise(), model.encode(PROMPTS), draw)
        images = model.decode(taken.states[:, -1])
    torch.testing.assert_close(images, theirs, atol=1e-4, rtol=1e-4)


def test_a_sample_is_the_published_pipelines_on_the_starts_noise_again(monkeypatch, lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=4, spacing="even")
    draws = [model.reordered(noise(), step) for step in range(3)]
    theirs = published(monkeypatch, lcm_pipeline(lcm_folder), draws, guidance_scale=8.0)
    with torch.no_grad():
        images = model.sample(noise(), model.encode(PROMPTS))
    torch.testing.assert_close(images, theirs, atol=1e-4, rtol=1e-4)


def test_noise_that_is_mixed_in_again_is_the_same_noise_elsewhere(lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=3)
    start = noise()
    for step in range(2):
        again = model.reordered(start, step)
        assert torch.equal(again.flatten(1).sort().values, start.flatten(1).sort().values)
        # Two independent rows of 256 numbers correlate by 1 / 16 or so.
        assert abs(torch.corrcoef(torch.stack([again[0].flatten(), start[0].flatten()]))[0, 1]) < 0.2
    assert not torch.equal(model.reordered(start, 0), model.reordered(start, 1))


def test_the_guidance_reaches_the_image(lcm_folder):
    images = []
    for guidance in (1.0, 8.0):
        model = LatentConsistency.from_pretrained(lcm_folder, steps=1, guidance=guidance)
        images.append(model.sample(noise(), model.encode(PROMPTS)))
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_the_guidance_embedding_is_the_published_one(lcm_folder):
    theirs = lcm_pipeline(lcm_folder).get_guidance_scale_embedding(torch.tensor([7.0]), embedding_dim=256)
    # The fastest of the angles is 7000, of which float32 keeps three digits behind the point.
    torch.testing.assert_close(guidance_embedding(8.0, 256), theirs, rtol=0, atol=2e-3)
    first, slowest = guidance_embedding(1.001, 256)[0, [0, 127]].tolist()
    assert (first, slowest) == pytest.approx((0.841471, 1e-4), rel=1e-3)


@pytest.mark.parametrize("steps", PUBLISHED_TIMES)
def test_times_are_rlcms(lcm_folder, steps):
    assert LatentConsistency.from_pretrained(lcm_folder, steps=steps).times == PUBLISHED_TIMES[steps]


def test_the_other_spacing_is_diffusers():
    scheduler = diffusers.LCMScheduler()
    for steps in range(1, 51):
        scheduler.set_timesteps(steps)
        assert sampling_times(steps, "even", scheduler.config) == scheduler.timesteps.tolist()
    assert sampling_times(8, "even", scheduler.config) == [999, 879, 759, 639, 499, 379, 259, 139]


def test_eight_steps_have_rlcms_coefficients_and_spreads(lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=8)
    clean = torch.ones(8, 4, 8, 8)
    # A network that predicts the noise exactly: the clean latents are known.
    bars = diffusers.LCMScheduler().alphas_cumprod[model.times].view(-1, 1, 1, 1)
    exact = noise(8)
    model.denoiser = lambda *_, **__: type("Output", (), {"sample": exact})
    latents = bars.sqrt() * clean + (1 - bars).sqrt() * exact
    found = model.step(latents, torch.arange(8), model.encode(["a"] * 8))
    for step, (coefficient, spread) in enumerate([*PUBLISHED_STEPS, (1.0, 0.0)]):
        torch.testing.assert_close(found.mean[step], torch.full((4, 8, 8), coefficient), rtol=0, atol=1e-4)
        assert found.spread[step].item() == pytest.approx(spread, abs=1e-4)


def test_one_step_by_hand(lcm_folder):
    """Luo et al. 2023, equations 8 and 9, at time 999 of the scaled-linear schedule."""
    model = LatentConsistency.from_pretrained(lcm_folder, steps=1)
    condition = model.encode(PROMPTS)
    with torch.no_grad():
        epsilon = model.denoiser(
            noise(), 999, encoder_hidden_states=condition.states, timestep_cond=guidance_embedding(8.0, 256)
        ).sample
        found = model.step(noise(), torch.tensor([0, 0]), condition)
    signal = torch.tensor(0.0046600).sqrt()
    clean = (noise() - (1 - signal**2).sqrt() * epsilon) / signal
    # Scaled times are so large that nothing of the latents is kept: 0.25 / (9990^2 + 0.25).
    torch.testing.assert_close(found.mean, clean, rtol=2e-3, atol=2e-3)
    assert found.spread.tolist() == [0.0, 0.0]


def test_near_the_end_a_consistency_model_keeps_what_it_is_given(lcm_folder):
    """The boundary condition: skip 0.8 and out 1 / sqrt(5) where the scaled time is half of sigma_data."""
    model = LatentConsistency.from_pretrained(lcm_folder, steps=1)
    scheduler = diffusers.LCMScheduler(beta_schedule="scaled_linear", timestep_scaling=0.25 / 999)
    model._set_schedule(scheduler)
    model.denoiser = lambda *_, **__: type("Output", (), {"sample": torch.zeros(2, 4, 8, 8)})
    found = model.step(noise(), torch.tensor([0, 0]), model.encode(PROMPTS))
    clean = noise() / scheduler.alphas_cumprod[999].sqrt()
    torch.testing.assert_close(found.mean, 0.8 * noise() + 5**-0.5 * clean, rtol=1e-4, atol=1e-4)


def test_mixed_steps_are_as_probable_as_when_they_were_taken(lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=8)
    condition = model.encode(PROMPTS)
    with torch.no_grad():
        taken = rollout(model, noise(), condition, own_draws(KEYS, model.noise_shape), per_number=True)
        rows, steps = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([7, 0, 3, 3, 6])
        mixed = model.step(taken.states[rows, steps], steps, condition[rows])
        ratio = (log_prob(mixed, taken.states[rows, steps + 1], per_number=True) - taken.log_probs[rows, steps]).exp()
    torch.testing.assert_close(ratio, torch.ones(5), rtol=0, atol=1e-6)


def test_an_image_does_not_depend_on_its_batch(lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=4)
    keys = [(3, prompt, image) for prompt in range(2) for image in range(2)]
    prompts = [PROMPTS[prompt] for _, prompt, _ in keys]

    def take(order):
        chosen = [keys[place] for place in order]
        start = noise_for(chosen, model.noise_shape)
        condition = model.encode([prompts[place] for place in order])
        with torch.no_grad():
            return rollout(model, start, condition, own_draws(chosen, model.noise_shape))

    together, parts = take([0, 1, 2, 3]), [take([3, 1]), take([0]), take([2])]
    found = torch.cat([part.states for part in parts])
    torch.testing.assert_close(found, together.states[[3, 1, 0, 2]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        torch.cat([part.log_probs for part in parts]), together.log_probs[[3, 1, 0, 2]], rtol=1e-4, atol=1e-3
    )


def test_checkpointing_changes_no_gradient(lcm_folder):
    gradients = []
    for checkpointing in (False, True):
        model = LatentConsistency.from_pretrained(lcm_folder, steps=2)
        model.use_checkpointing(checkpointing)
        leaf = noise().requires_grad_()
        images = model.sample(leaf, model.encode(PROMPTS))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_in_bfloat16_the_arithmetic_around_the_network_stays_in_float32(lcm_folder):
    model = LatentConsistency.from_pretrained(lcm_folder, steps=2, dtype=torch.bfloat16)
    condition = model.encode(PROMPTS)
    assert condition.states.dtype == torch.bfloat16
    with torch.no_grad():
        taken = rollout(model, noise(), condition, own_draws(KEYS, model.noise_shape))
        exact = LatentConsistency.from_pretrained(lcm_folder, steps=2)
        first = exact.step(noise(), torch.tensor([0, 0]), exact.encode(PROMPTS))
        rounded = model.step(noise(), torch.tensor([0, 0]), condition)
    assert taken.states.dtype == taken.log_probs.dtype == model.decode(taken.states[:, -1]).dtype == torch.float32
    similarity = torch.nn.functional.cosine_similarity(rounded.mean.flatten(1), first.mean.flatten(1))
    assert similarity.min() > 0.99


def test_its_folder_and_its_row_are_found_by_name(monkeypatch, lcm_folder):
    from_folder = load_generator(str(lcm_folder))
    assert isinstance(from_folder, LatentConsistency)
    assert (from_folder.num_steps, from_folder.guidance) == (1, 1.0)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(lcm_folder))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    from_row = load_generator("lcm-dreamshaper")
    assert (from_row.num_steps, from_row.guidance) == (4, 8.0)
    assert GENERATORS.find("lcm-dreamshaper").facts["noise"] == (4, 96, 96)


LORA_MODULES = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.2", "conv1", "time_emb_proj")


def kohya_lora(unet, *, rank=2, alpha=1.0):
    """A random LoRA in the layout in which LCM-LoRA is published."""
    rng = torch.Generator().manual_seed(8)
    weights = {}
    for name, module in unet.named_modules():
        if name.endswith(LORA_MODULES):
            into, out, *kernel = *module.weight.shape[1::-1], *module.weight.shape[2:]
            key = f"lora_unet_{name.replace('.', '_')}"
            weights[f"{key}.lora_down.weight"] = torch.randn(rank, into, *kernel, generator=rng) / 4
            weights[f"{key}.lora_up.weight"] = torch.randn(out, rank, *(1 for _ in kernel), generator=rng) / 4
            weights[f"{key}.alpha"] = torch.tensor(alpha)
    return weights


@pytest.fixture(scope="module")
def lora_file(sd15_folder, tmp_path_factory):
    unet = diffusers.UNet2DConditionModel.from_pretrained(str(sd15_folder / "unet"))
    file = tmp_path_factory.mktemp("lora") / "pytorch_lora_weights.safetensors"
    save_file(kohya_lora(unet), file)
    return file


def test_a_lora_makes_the_published_pipelines_images(monkeypatch, sd15_folder, lora_file):
    model = LatentConsistency.from_lora(sd15_folder, lora_file, steps=4, spacing="even")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(str(sd15_folder))
    pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(str(lora_file.parent), weight_name=lora_file.name)
    theirs = published(monkeypatch, pipeline, [draw(step) for step in range(3)], guidance_scale=1.0)
    with torch.no_grad():
        images = model.decode(rollout(model, noise(), model.encode(PROMPTS), draw).states[:, -1])
    torch.testing.assert_close(images, theirs, atol=1e-4, rtol=1e-4)


def test_a_lora_is_merged_into_the_weights_and_gone(sd15_folder, lora_file):
    model = LatentConsistency.from_lora(sd15_folder, lora_file, steps=2)
    before = diffusers.UNet2DConditionModel.from_pretrained(str(sd15_folder / "unet")).state_dict()
    after = model.denoiser.state_dict()
    assert before.keys() == after.keys()
    patch = kohya_lora(diffusers.UNet2DConditionModel.from_pretrained(str(sd15_folder / "unet")))
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    key = f"lora_unet_{name.replace('.', '_')}"
    added = 0.5 * patch[f"{key}.lora_up.weight"] @ patch[f"{key}.lora_down.weight"]  # alpha 1 over rank 2
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + added)
    assert torch.equal(after["conv_in.weight"], before["conv_in.weight"])
    check_generator(model)
    check_policy(model)


def test_a_lora_in_diffusers_own_layout_is_read_too(sd15_folder, tmp_path):
    from peft import LoraConfig

    unet = diffusers.UNet2DConditionModel.from_pretrained(str(sd15_folder / "unet"))
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    from peft.utils import get_peft_model_state_dict

    diffusers.StableDiffusionPipeline.save_lora_weights(
        str(tmp_path), unet_lora_layers=get_peft_model_state_dict(unet), safe_serialization=True
    )
    model = LatentConsistency.from_lora(sd15_folder, tmp_path / "pytorch_lora_weights.safetensors", steps=1)
    condition = model.encode(PROMPTS)
    with torch.no_grad():
        expected = unet(noise(), 999, encoder_hidden_states=condition.states).sample
        merged = model.denoiser(noise(), 999, encoder_hidden_states=condition.states).sample
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-4)


def test_the_loras_row_fetches_both_and_merges_them(monkeypatch, sd15_folder, lora_file):
    asked = {}

    def download(hub_id, *, allow_patterns, **_):
        asked[hub_id] = allow_patterns
        return str(lora_file.parent if "lora" in hub_id else sd15_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    model = load_generator("lcm-lora-sd15")
    assert isinstance(model, LatentConsistency)
    assert asked["latent-consistency/lcm-lora-sdv1-5"] == ["pytorch_lora_weights.safetensors"]
    assert set(asked) == {"latent-consistency/lcm-lora-sdv1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"}


def test_files_that_are_no_lora_of_this_unet_are_refused(sd15_folder, tmp_path):
    file = tmp_path / "lora.safetensors"
    with pytest.raises(BadConfig, match="not a LoRA's safetensors file"):
        LatentConsistency.from_lora(sd15_folder, file)
    file.write_bytes(b"not safetensors at all")
    with pytest.raises(BadConfig, match="not a LoRA's safetensors file"):
        LatentConsistency.from_lora(sd15_folder, file)
    save_file({"weight": torch.zeros(2)}, file)
    with pytest.raises(BadConfig, match="holds no LoRA of a U-Net"):
        LatentConsistency.from_lora(sd15_folder, file)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    sizes = {"lora_down.weight": torch.zeros(2, 3), "lora_up.weight": torch.zeros(3, 2), "alpha": torch.tensor(1.0)}
    save_file({f"{key}.{name}": value for name, value in sizes.items()}, file)
    with pytest.raises(BadConfig, match="does not fit this U-Net"):
        LatentConsistency.from_lora(sd15_folder, file)


@pytest.mark.parametrize(("settings", "complaint"), [
    ({"steps": 0}, "takes 1 to 50 steps"), ({"steps": 51}, "takes 1 to 50 steps"),
    ({"guidance": 0.5}, "starts at 1"), ({"guidance": float("nan")}, "starts at 1"),
    ({"guidance": None}, "reads the guidance as an embedding"), ({"spacing": "wide"}, "stride or even, got 'wide'"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(lcm_folder, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        LatentConsistency.from_pretrained(lcm_folder, **settings)


def test_folders_of_something_else_are_refused(sd_folder, tmp_path, tmp_path_factory):
    with pytest.raises(BadConfig, match="needs an LCMScheduler, not DDIMScheduler"):
        LatentConsistency.from_pretrained(sd_folder)
    plain = save_stable_diffusion(tmp_path_factory.mktemp("plain"), scheduler="lcm")
    with pytest.raises(BadConfig, match="no guidance embedding"):
        LatentConsistency.from_pretrained(plain)
    with pytest.raises(BadConfig, match=r"no model_index\.json"):
        LatentConsistency.from_pretrained(tmp_path)
