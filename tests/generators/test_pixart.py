import hashlib
import json
import os
import shutil
from importlib import metadata

import diffusers
import pytest
import torch
from tiny_t5 import make_t5

from plaudit.core.errors import BadConfig, MissingExtra
from plaudit.generators.check import check_generator
from plaudit.generators.pixart import PixArtAlpha
from plaudit.generators.pixart_student import PICKLE, with_student
from plaudit.generators.table import GENERATORS, load_generator

PROMPTS = ["a red square", "two Blue circle"]

SCHEDULERS = {
    "ddpm": lambda: diffusers.DDPMScheduler(beta_schedule="linear", clip_sample=False),
    "clipped": lambda: diffusers.DDPMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction"),
    "ddim": lambda: diffusers.DDIMScheduler(beta_schedule="linear", clip_sample=False, set_alpha_to_one=False),
    "dpm": lambda: diffusers.DPMSolverMultistepScheduler(beta_schedule="linear"),
}


def save_pixart(folder, scheduler="ddpm", *, size=8, patch=2, scales=2):
    """A PixArtAlphaPipeline folder of random parts: size x size noise of 4 channels."""
    tokenizer, text_encoder = make_t5(width=32)
    pipeline = diffusers.PixArtAlphaPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, scheduler=SCHEDULERS[scheduler](),
        transformer=diffusers.PixArtTransformer2DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=2,
            cross_attention_dim=24, sample_size=size, patch_size=patch, caption_channels=32,
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8,) * scales, down_block_types=("DownEncoderBlock2D",) * scales, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * scales, layers_per_block=1, norm_num_groups=4, scaling_factor=0.5,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_pixart(tmp_path_factory.mktemp(name), name) for name in SCHEDULERS}


@pytest.fixture(scope="module")
def student(folders, tmp_path_factory):
    """What PixArt-alpha-DMD's repository holds: an index, a transformer and a scheduler."""
    place = tmp_path_factory.mktemp("student")
    for part in ("transformer", "scheduler"):
        shutil.copytree(folders["ddpm"] / part, place / part)
    shutil.copy(folders["ddpm"] / "model_index.json", place)
    torch.manual_seed(1)
    config = diffusers.PixArtTransformer2DModel.load_config(str(place / "transformer"))
    diffusers.PixArtTransformer2DModel.from_config(config).save_pretrained(str(place / "transformer"))
    return place


def noise(rows=2, size=8):
    return torch.randn(rows, 4, size, size, generator=torch.Generator().manual_seed(5))


def drawn_by(generator, size=8):
    with torch.no_grad():
        return generator.sample(noise(size=size), generator.encode(PROMPTS))


def drawn_by_theirs(folder, *, steps, guidance, pixels=16, size=8):
    pipeline = diffusers.PixArtAlphaPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    student = isinstance(pipeline.scheduler, diffusers.DDPMScheduler)
    return pipeline(
        PROMPTS, num_inference_steps=steps, timesteps=[400] if student else None, guidance_scale=guidance,
        latents=noise(size=size), output_type="pt", height=pixels, width=pixels, clean_caption=False,
        use_resolution_binning=False,
    ).images  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "guidance"), [
    ("ddpm", 1, 1.0), ("ddpm", 1, 3.0), ("ddim", 3, 4.5), ("dpm", 3, 1.0),
])  # fmt: skip
def test_it_keeps_the_contract(folders, name, steps, guidance):
    check_generator(PixArtAlpha.from_pretrained(folders[name], steps=steps, guidance=guidance))


@pytest.mark.parametrize(("name", "steps", "guidance"), [
    ("ddpm", 1, 1.0), ("ddpm", 1, 3.0), ("clipped", 1, 1.0), ("ddim", 1, 1.0), ("ddim", 4, 4.5), ("dpm", 4, 4.5),
])  # fmt: skip
def test_images_are_those_of_the_published_pipeline(folders, name, steps, guidance):
    ours = PixArtAlpha.from_pretrained(folders[name], steps=steps, guidance=guidance)
    theirs = drawn_by_theirs(folders[name], steps=steps, guidance=guidance)
    torch.testing.assert_close(drawn_by(ours), theirs, atol=1e-4, rtol=1e-4)


def test_models_of_1024_pixels_are_told_the_size(tmp_path):
    folder = save_pixart(tmp_path, "dpm", size=128, patch=16, scales=1)
    ours = PixArtAlpha.from_pretrained(folder, steps=2)
    assert ours.transformer.use_additional_conditions
    theirs = drawn_by_theirs(folder, steps=2, guidance=1.0, pixels=128, size=128)
    torch.testing.assert_close(drawn_by(ours, size=128), theirs, atol=1e-4, rtol=1e-4)


def test_the_students_step_by_hand(folders):
    generator = load_generator(str(folders["ddpm"]))
    assert isinstance(generator, PixArtAlpha)
    condition = generator.encode(PROMPTS)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)[400]
    assert alpha_bar.item() == pytest.approx(0.19357, abs=1e-5)
    with torch.no_grad():
        predicted = generator.transformer(
            noise(), timestep=torch.tensor([400, 400]), encoder_hidden_states=condition.states,
            encoder_attention_mask=condition.mask, added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample  # fmt: skip
        latents = generator.sample_latents(noise(), condition)
    assert predicted.shape[1] == 8  # the last four are a variance
    expected = (noise() - (1 - alpha_bar).sqrt() * predicted[:, :4]) / alpha_bar.sqrt()
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)


def test_a_students_step_draws_nothing(folders):
    generator = PixArtAlpha.from_pretrained(folders["ddpm"])
    before = torch.random.get_rng_state()
    drawn_by(generator)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_padding_is_not_read(folders):
    generator = PixArtAlpha.from_pretrained(folders["ddpm"])
    given = generator.encode(["a red ring"])
    tokens = int(given.mask.sum())
    assert given.states.shape[1] == 120
    assert tokens < 10
    whole = generator.sample_latents(noise(1), given)
    short = type(given)(states=given.states[:, :tokens], mask=given.mask[:, :tokens])
    torch.testing.assert_close(generator.sample_latents(noise(1), short), whole, atol=1e-5, rtol=1e-4)
    unmasked = type(given)(states=given.states, mask=torch.ones_like(given.mask))
    assert not torch.allclose(generator.sample_latents(noise(1), unmasked), whole, atol=1e-3)


def test_prompts_are_read_in_lower_case_and_once(folders):
    generator = PixArtAlpha.from_pretrained(folders["ddpm"])
    condition = generator.encode(["A Red ring ", "a star", "a red ring"])
    assert torch.equal(condition.states[0], condition.states[2])
    assert not torch.equal(condition.states[0], condition.states[1])


def test_guidance_goes_away_from_the_empty_prompt(folders):
    plain = PixArtAlpha.from_pretrained(folders["ddpm"])
    guided = PixArtAlpha.from_pretrained(folders["ddpm"], guidance=3.0)
    empty = plain.sample_latents(noise(), plain.encode(["", ""]))
    given = plain.sample_latents(noise(), plain.encode(PROMPTS))
    latents = guided.sample_latents(noise(), guided.encode(PROMPTS))
    # One step is linear in the prediction, so the guided latents are on the same line.
    torch.testing.assert_close(latents, empty + 3 * (given - empty), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(empty, given, atol=1e-3)


def test_checkpointing_changes_no_gradient(folders):
    gradients = []
    for checkpointing in (False, True):
        generator = PixArtAlpha.from_pretrained(folders["dpm"], steps=2)
        generator.use_checkpointing(checkpointing)
        leaf = noise().requires_grad_()
        images = generator.sample(leaf, generator.encode(PROMPTS))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_bfloat16_draws_nearly_the_same(folders):
    exact = drawn_by(PixArtAlpha.from_pretrained(folders["ddpm"]))
    rounded = drawn_by(PixArtAlpha.from_pretrained(folders["ddpm"], dtype=torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.02


@pytest.mark.parametrize(("name", "settings", "complaint"), [
    ("ddpm", {"steps": 0}, "at least 1 step"), ("ddpm", {"steps": 2}, "DDPMScheduler would draw its own noise"),
    ("ddpm", {"guidance": -1.0}, "guidance must be"), ("dpm", {"guidance": float("nan")}, "guidance must be"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(folders, name, settings, complaint):
    with pytest.raises(BadConfig, match=complaint):
        PixArtAlpha.from_pretrained(folders[name], **settings)


def test_a_student_of_too_few_times_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["ddpm"], tmp_path / "short")
    diffusers.DDPMScheduler(num_train_timesteps=100).save_pretrained(str(folder / "scheduler"))
    with pytest.raises(BadConfig, match="starts at time 400, and the folder's scheduler has 100"):
        PixArtAlpha.from_pretrained(folder)


def test_a_folder_of_something_else_is_refused(sd_folder):
    with pytest.raises(BadConfig, match="is a StableDiffusionPipeline and has no transformer"):
        PixArtAlpha.from_pretrained(sd_folder)


def test_transformers_under_their_first_name_are_loaded(folders, tmp_path):
    """The published folders are older than the class's own name."""
    folder = shutil.copytree(folders["ddpm"], tmp_path / "old")
    for file, change in (
        ("model_index.json", {"transformer": ["diffusers", "Transformer2DModel"]}),
        ("transformer/config.json", {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"}),
    ):
        known = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(known | change))
    old = drawn_by(PixArtAlpha.from_pretrained(folder))
    assert torch.equal(old, drawn_by(PixArtAlpha.from_pretrained(folders["ddpm"])))


def test_a_sentencepiece_tokenizer_says_what_reads_it(folders, tmp_path, monkeypatch):
    folder = shutil.copytree(folders["ddpm"], tmp_path / "pieces")
    (folder / "tokenizer" / "tokenizer.json").rename(folder / "tokenizer" / "spiece.model")

    def version(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(MissingExtra, match="pip install sentencepiece protobuf"):
        PixArtAlpha.from_pretrained(folder)


def test_a_student_takes_the_transformers_place(folders, student):
    base = folders["dpm"]
    generator = with_student(base, student)
    assert generator.time == 400
    assert not torch.allclose(drawn_by(generator), drawn_by(PixArtAlpha.from_pretrained(folders["ddpm"])), atol=1e-3)
    whole = diffusers.PixArtTransformer2DModel.from_pretrained(str(student / "transformer"))
    assert torch.equal(whole.proj_out.weight, generator.transformer.proj_out.weight)
    check_generator(generator)


def in_a_cache(student, place, content):
    """The student's folder as the hub's cache keeps it, with a pickle in place of safetensors."""
    digest = hashlib.sha256(content).hexdigest()
    (place / "blobs").mkdir()
    (place / "blobs" / digest).write_bytes(content)
    folder = shutil.copytree(student, place / "snapshots" / "1")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / PICKLE).symlink_to(place / "blobs" / digest)
    return folder


def pickled(student, file):
    weights = diffusers.PixArtTransformer2DModel.from_pretrained(str(student / "transformer")).state_dict()
    torch.save(weights, file)
    return file.read_bytes()


def test_the_caches_own_pickle_is_read(folders, student, tmp_path):
    folder = in_a_cache(student, tmp_path, pickled(student, tmp_path / "weights"))
    images = drawn_by(with_student(folders["dpm"], folder))
    assert torch.equal(images, drawn_by(with_student(folders["dpm"], student)))


def test_a_pickle_of_unknown_content_is_refused(folders, student, tmp_path):
    folder = in_a_cache(student, tmp_path, pickled(student, tmp_path / "weights"))
    blob = (folder / PICKLE).resolve()
    blob.write_bytes(blob.read_bytes() + b"more")
    with pytest.raises(BadConfig, match="is a pickle and not the hub cache's own copy"):
        with_student(folders["dpm"], folder)


class Intruder:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_runs_nothing(folders, student, tmp_path):
    torch.save({"weight": Intruder(tmp_path / "was_here")}, tmp_path / "weights")
    folder = in_a_cache(student, tmp_path, (tmp_path / "weights").read_bytes())
    with pytest.raises(BadConfig, match="transformer cannot be read"):
        with_student(folders["dpm"], folder)
    assert not (tmp_path / "was_here").exists()


def test_the_row_joins_two_repositories_at_pinned_revisions(folders, student, tmp_path, monkeypatch):
    cached = in_a_cache(student, tmp_path, pickled(student, tmp_path / "weights"))
    asked = []

    def snapshot_download(hub_id, *, revision, **_):
        asked.append((hub_id, revision))
        return str(cached if "DMD" in hub_id else folders["dpm"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    generator = load_generator("PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512")
    row = GENERATORS.find("pixart-dmd")
    first, second = row.needs
    assert asked == [(first.hub_id, first.revision), (row.hub_id, row.revision)]
    assert (first.hub_id, second.hub_id) == ("PixArt-alpha/PixArt-XL-2-1024-MS", row.hub_id)
    assert torch.equal(drawn_by(generator), drawn_by(with_student(folders["dpm"], student)))
