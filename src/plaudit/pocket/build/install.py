"""Puts built models into the package, in their published layouts: in float16, the largest at eight bits a number."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    LatentConsistencyModelPipeline,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from plaudit.core.errors import BadConfig
from plaudit.generators.janus_files import load_janus, save_janus
from plaudit.generators.llamagen_files import load_llamagen, save_llamagen
from plaudit.pocket.build.base import new_scheduler
from plaudit.pocket.build.lcm import new_lcm_scheduler
from plaudit.pocket.build.pictures import MEAN, STD
from plaudit.pocket.build.pixart import new_student_scheduler
from plaudit.pocket.folders import BORROWED, POCKET_MODELS, WEIGHTS
from plaudit.pocket.packed import pack

PACKED_MODELS = ("pocket-llamagen", "pocket-llamagen-t2i", "pocket-janus")
"""kept at eight bits a number: with these in float16 the package would be larger than it may be"""
_WRITTEN_BY_LIBRARIES = ("README.md", ".gitattributes")
_WRITTEN_AS_SHIPPED = ("pocket-imagereward", "pocket-vqa")


def install(name: str, built: Path, *, root: Path = WEIGHTS) -> Path:
    """Write the model that was built in the folder `built` to root/name and return that folder.

    Raises BadConfig if it is not built yet or if the place cannot be written.
    """
    if name not in POCKET_MODELS:
        raise BadConfig(f"no pocket model is named {name!r}; there are {', '.join(POCKET_MODELS)}")
    part = root / f"{name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _writer(name)(built, part)
        for extra in _WRITTEN_BY_LIBRARIES:
            (part / extra).unlink(missing_ok=True)
        for config in part.rglob("config.json"):
            _forget_where_it_was_built(config)
        if name in PACKED_MODELS:
            for weights in sorted(part.rglob("*.safetensors")):
                pack(weights)
        shutil.rmtree(root / name, ignore_errors=True)
        part.rename(root / name)
    except FileNotFoundError as error:
        raise BadConfig(f"{name} is not built in {built}: {error.filename} is missing") from error
    except PermissionError as error:
        raise BadConfig(f"{root} cannot be written; give another place with --install-to") from error
    return root / name


def _forget_where_it_was_built(config: Path) -> None:
    said = json.loads(config.read_text())
    if said.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(said, indent=2) + "\n")


def _writer(name: str) -> Callable[[Path, Path], None]:
    if name in _PIPELINES:
        return lambda built, part: _write_pipeline(name, built, part)
    if name == "pocket-pixart":
        return _write_pixart
    if name in _WRITTEN_AS_SHIPPED:
        return lambda built, part: _copy(built / name.removeprefix("pocket-"), part)
    if name == "pocket-janus":
        return _write_janus
    if name in _LLAMAGENS:
        return lambda built, part: _write_llamagen(name, built, part)
    return lambda built, part: _write_clip(built / name.removeprefix("pocket-"), built, part)


def _copy(model: Path, part: Path) -> None:
    if not model.is_dir():
        raise FileNotFoundError(2, "missing", str(model))
    shutil.copytree(model, part, dirs_exist_ok=True)


def _write_janus(built: Path, part: Path) -> None:
    _check_built(built, ("janus",))
    save_janus(load_janus(built / "janus", dtype=torch.float16), part)


def _write_pipeline(name: str, built: Path, part: Path) -> None:
    unet, make = _PIPELINES[name]
    _check_built(built, (unet, "vae", "text_encoder", "tokenizer"))
    # Numbers beyond float16 would become infinite; these models' are small.
    pipeline = make(
        vae=AutoencoderKL.from_pretrained(built / "vae").half(),
        text_encoder=CLIPTextModel.from_pretrained(built / "text_encoder").half(),
        tokenizer=CLIPTokenizer.from_pretrained(built / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(built / unet).half(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    _save_own(pipeline, name, part)


def _write_pixart(built: Path, part: Path) -> None:
    _check_built(built, ("pixart_transformer", "vae", "t5", "t5_tokenizer"))
    pipeline = PixArtAlphaPipeline(
        tokenizer=T5Tokenizer.from_pretrained(built / "t5_tokenizer"),
        text_encoder=T5EncoderModel.from_pretrained(built / "t5").half(),
        transformer=PixArtTransformer2DModel.from_pretrained(built / "pixart_transformer").half(),
        vae=AutoencoderKL.from_pretrained(built / "vae").half(),
        scheduler=new_student_scheduler(),
    )
    _save_own(pipeline, "pocket-pixart", part)


def _check_built(built: Path, needed: Sequence[str]) -> None:
    """Raises FileNotFoundError for the first part that is not there."""
    for name in needed:
        if not (built / name).is_dir():
            raise FileNotFoundError(2, "missing", str(built / name))


def _save_own(pipeline: Any, name: str, part: Path) -> None:
    """The pipeline's folder without the parts that it borrows."""
    pipeline.save_pretrained(part)
    for borrowed in BORROWED.get(name, ("", ()))[1]:
        shutil.rmtree(part / borrowed)


def _stable_diffusion(**parts: Any) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(scheduler=new_scheduler(), **parts)


def _latent_consistency(**parts: Any) -> LatentConsistencyModelPipeline:
    return LatentConsistencyModelPipeline(scheduler=new_lcm_scheduler(), **parts)


_PIPELINES: dict[str, tuple[str, Callable[..., Any]]] = {
    "pocket-base": ("base_unet", _stable_diffusion),
    "pocket-turbo": ("turbo_unet", _stable_diffusion),
    "pocket-lcm": ("lcm_unet", _latent_consistency),
}
"""the folder of each one's denoiser in a build, and what puts its parts together"""


_LLAMAGENS = {"pocket-llamagen": "llamagen", "pocket-llamagen-t2i": "llamagen-t2i"}
"""the folder of each in a build"""


def _write_llamagen(name: str, built: Path, part: Path) -> None:
    _check_built(built, (_LLAMAGENS[name],))
    policy = load_llamagen(built / _LLAMAGENS[name])
    if policy.text_encoder is not None:
        policy.text_encoder.half()
    save_llamagen(policy, part, dtype=torch.float16)
    for borrowed in BORROWED.get(name, ("", ()))[1]:
        (part / borrowed).unlink()


def _write_clip(model: Path, built: Path, part: Path) -> None:
    if not model.is_dir():
        raise FileNotFoundError(2, "missing", str(model))
    CLIPModel.from_pretrained(model).to(torch.float16).save_pretrained(part)
    CLIPTokenizer.from_pretrained(built / "tokenizer").save_pretrained(part)
    pixels = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64},
        "crop_size": {"height": 64, "width": 64}, "resample": 3, "do_resize": True, "do_center_crop": True,
        "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (part / "preprocessor_config.json").write_text(json.dumps(pixels, indent=2) + "\n")
