"""Built models become complete folders in their published layouts, which the original libraries read as we do."""

from pathlib import Path

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, PixArtAlphaPipeline, StableDiffusionPipeline
from transformers import CLIPModel, CLIPTextModel, CLIPVisionModel

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.lcm import LatentConsistency
from plaudit.generators.pixart import PixArtAlpha
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.pocket.build import base, clip, image_reward, lcm, pixart, vae
from plaudit.pocket.build.install import install
from plaudit.pocket.build.text import new_tokenizer, text_config
from plaudit.pocket.folders import pocket_folder
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.image_reward import ImageReward


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder as a finished build leaves it, with untrained models."""
    folder = tmp_path_factory.mktemp("built")
    tokenizer = new_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(text_config(tokenizer))
        encoder.save_pretrained(folder / "text_encoder")
        tokenizer.save_pretrained(folder / "tokenizer")
        vae.new_vae().save_pretrained(folder / "vae")
        base.new_unet().save_pretrained(folder / "base_unet")
        base.new_unet().save_pretrained(folder / "turbo_unet")
        lcm.with_guidance(base.new_unet()).save_pretrained(folder / "lcm_unet")
        t5_tokenizer = pixart.new_t5_tokenizer()
        pixart.new_t5(t5_tokenizer).save_pretrained(folder / "t5")
        t5_tokenizer.save_pretrained(folder / "t5_tokenizer")
        pixart.new_transformer().save_pretrained(folder / "pixart_transformer")
        model = clip.new_clip(tokenizer, encoder, CLIPVisionModel(clip.vision_config()))
        model.save_pretrained(folder / "clip")
        words = image_reward.new_bert_tokenizer()
        image_reward.new_image_reward(words).save_pretrained(folder / "imagereward", dtype=torch.float16)
        words.save_pretrained(folder / "imagereward")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("name", "steps"), [("pocket-base", 3), ("pocket-turbo", 1)])
def test_diffusers_own_pipeline_draws_the_same_picture(built: Path, tmp_path: Path, name: str, steps: int) -> None:
    root = tmp_path / "weights"
    install("pocket-base", built, root=root)
    install(name, built, root=root)
    folder = pocket_folder(name, root=root)
    guidance = 4.0 if steps > 1 else 1.0
    ours = StableDiffusion.from_pretrained(folder, steps=steps, guidance=guidance)
    noise = noise_for([(0, 0, 0)], ours.noise_shape)
    with torch.no_grad():
        image = ours.sample(noise, ours.encode(["a red ring"]))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a red ring", latents=noise, num_inference_steps=steps, guidance_scale=guidance, output_type="pt"
    ).images
    assert torch.allclose(image, theirs, atol=1e-4)


def test_diffusers_own_consistency_pipeline_draws_the_same_picture(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "weights"
    install("pocket-base", built, root=root)
    install("pocket-lcm", built, root=root)
    folder = pocket_folder("pocket-lcm", root=root)
    ours = LatentConsistency.from_pretrained(folder, steps=1, guidance=3.0)
    noise = noise_for([(0, 0, 0)], ours.noise_shape)
    with torch.no_grad():
        image = ours.sample(noise, ours.encode(["a red ring"]))
    pipeline = LatentConsistencyModelPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline("a red ring", latents=noise, num_inference_steps=1, guidance_scale=3.0, output_type="pt").images
    assert torch.allclose(image, theirs, atol=1e-4)


def test_diffusers_own_transformer_pipeline_reads_what_is_installed(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "weights"
    install("pocket-base", built, root=root)
    install("pocket-pixart", built, root=root)
    assert not (root / "pocket-pixart" / "vae").exists()
    folder = pocket_folder("pocket-pixart", root=root)
    ours = PixArtAlpha.from_pretrained(folder)
    noise = noise_for([(0, 0, 0)], ours.noise_shape)
    with torch.no_grad():
        image = ours.sample(noise, ours.encode(["a red ring"]))
    pipeline = PixArtAlphaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    read = pipeline.encode_prompt("a red ring", do_classifier_free_guidance=False, max_sequence_length=32)
    with torch.no_grad():
        made = pipeline.transformer(
            noise, timestep=torch.tensor([400]), encoder_hidden_states=read[0], encoder_attention_mask=read[1],
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample[:, :8]  # fmt: skip
        theirs = pipeline.vae.decode(made / pipeline.vae.config.scaling_factor).sample / 2 + 0.5
    assert torch.allclose(image, theirs.clamp(0, 1), atol=1e-4)


def test_a_folder_with_borrowed_parts_follows_a_new_build(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "weights"
    install("pocket-base", built, root=root)
    install("pocket-turbo", built, root=root)
    assert not (root / "pocket-turbo" / "vae").exists()
    before = pocket_folder("pocket-turbo", root=root)
    assert (before / "vae" / "config.json").is_file()
    assert pocket_folder("pocket-turbo", root=root) == before
    install("pocket-base", built, root=root)
    assert pocket_folder("pocket-turbo", root=root) != before


def test_rewards_load_from_their_folders_and_score(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "weights"
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for name, kind in (("pocket-clip", ClipTowers), ("pocket-imagereward", ImageReward)):
        install(name, built, root=root)
        scores = kind.from_pretrained(pocket_folder(name, root=root))(images, ["a red ring", "two stars"])
        assert scores.shape == (2,)
        assert torch.isfinite(scores).all()
    assert CLIPModel.from_pretrained(root / "pocket-clip").config.vision_config.patch_size == 8


def test_what_is_not_built_is_said_in_a_sentence(built: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="pocket-hps is not built in"):
        install("pocket-hps", built, root=tmp_path)
    with pytest.raises(BadConfig, match="plaudit pocket build pocket-hps"):
        pocket_folder("pocket-hps", root=tmp_path)
    with pytest.raises(BadConfig, match="no pocket model is named 'pocket-hsp'"):
        install("pocket-hsp", built, root=tmp_path)
