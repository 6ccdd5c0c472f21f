"""Models with something laid over them: which weights, over which model, in how many steps.

A training's folder says all three. A LoRA alone says only its weights.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from plaudit.core.errors import BadConfig
from plaudit.generators.adapters import merge_adapter
from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.lora import merge_lora
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.plan_words import SETTINGS_FILE
from plaudit.generators.table import GENERATORS, draws_tokens
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.generators.trained_part import (
    ADAPTER_FILE,
    LORA_FILE,
    TOKEN_WEIGHTS,
    TRANSFORMER_FOLDER,
    UNET_FOLDER,
)
from plaudit.rewards.checkpoint_files import fitting

_LEFT = (LORA_FILE, UNET_FOLDER, TRANSFORMER_FOLDER, TOKEN_WEIGHTS, ADAPTER_FILE)
"""what trainings leave their weights as"""


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Weights to lay over a model."""

    place: Path
    """as it was named: a training's folder, a LoRA's, or its file"""
    weights: Path
    """a LoRA's file, the folder of a whole denoiser, or the file of a token model's whole transformer, or LoRA"""
    scale: float = 1.0
    shift: float | None = None
    """of the grid on which it draws in few steps without guidance (R0); None: it is sampled as the model below is"""
    start: float = 1.0
    """of the same grid"""
    sampling: Sampling | None = None
    """how a token model that was so trained is sampled; None: no such training's"""
    words: Sampling | None = None
    """how it writes its plans; None: it was not trained with any"""

    @property
    def of_tokens(self) -> bool:
        """Whether it is of a model that draws token by token."""
        return self.weights.name in (TOKEN_WEIGHTS, ADAPTER_FILE)

    @property
    def whole(self) -> bool:
        """Whether it takes the place of all weights, and is not added to some."""
        return self.weights.name == TOKEN_WEIGHTS or self.weights.is_dir()


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What to load: a model, and what is laid over it, one after the other."""

    model: str
    """a row's name, a hub id or a pipeline's folder"""
    steps: int | None
    """sampling steps; None: the model's own"""
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training's folder says about the model that came of it."""

    model: str
    """that it began with; may be a training's folder again"""
    steps: int | None
    patch: Patch


def choose(
    model: str | None, *, lora: str | Path | None = None, scale: float = 1.0, steps: int | None = None
) -> Chosen:
    """What is meant by a model's name and, maybe, a LoRA.

    `model` may be a training's folder: the model that it began with, and what it learned over it. Without `model` it is
    the one that the training in `lora` began with. `steps` are those of the training, if there is one and the model is
    not another row of the table. Raises BadConfig for a LoRA that is not there, or that does not say what it is for.
    """
    over = training_in(Path(lora)) if lora is not None else None
    patches = [_patch_at(lora, over, scale)] if lora is not None else []
    if over is not None and (model is None or _same(model, over.patch.place)):
        # A folder that is named twice is laid over once.
        model = over.model
    if model is None:
        raise BadConfig(f"{str(lora)!r} does not say which model it was made for; name it with --model")
    ours = over is not None and (model == over.model or GENERATORS.row_of(model) is None)
    found = over.steps if over is not None and ours else None
    seen: set[Path] = set()
    while GENERATORS.row_of(model) is None and (below := training_in(Path(model))) is not None:
        if (place := below.patch.place.resolve()) in seen:
            raise BadConfig(f"the training in {model!r} names itself as the model that it began with")
        seen.add(place)
        patches.insert(0, below.patch)
        model, found = below.model, found or below.steps
    return Chosen(model=model, steps=steps if steps is not None else found, patches=tuple(patches))


def training_in(folder: Path) -> Training | None:
    """What the folder's training left; None if the folder is no training's.

    Raises BadConfig if the training has left no weights yet, or its run.json is damaged.
    """
    folder = folder.expanduser()
    file = folder / "run.json"
    if not file.is_file():
        return None
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{str(file)!r} is damaged: it is not JSON") from error
    if not isinstance(content, dict) or content.get("kind") != "training":
        return None
    settings = content.get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("model"), str):
        raise BadConfig(f"{str(file)!r} is damaged: it does not say which model was trained")
    places = (file.parent / name for name in _LEFT)
    weights = next((it for it in places if it.exists()), None)
    if weights is None:
        method = content.get("method", "rlcm")
        raise BadConfig(
            f"the training in {str(folder)!r} has left no weights yet; "
            f"go on with: plaudit train {method} --resume {folder}"
        )
    # Trainings of before there was R0 say no more than their settings.
    sampling = content.get("sampling") or {"steps": settings.get("steps")}
    patch = Patch(
        place=folder, weights=weights, shift=sampling.get("shift"), start=sampling.get("start", 1.0),
        sampling=sampling_from(sampling) if weights.name in (TOKEN_WEIGHTS, ADAPTER_FILE) else None,
        words=sampling_from(sampling["words"]) if sampling.get("words") else None,
    )  # fmt: skip
    return Training(model=settings["model"], steps=sampling.get("steps"), patch=patch)


def sampling_of(chosen: Chosen) -> Sampling | None:
    """How a model that draws token by token is sampled: as the last training over it, or its row, says, or plainly.

    None for a model that draws from noise.
    """
    if not draws_tokens(chosen.model):
        return None
    for patch in reversed(chosen.patches):
        if patch.sampling is not None:
            return patch.sampling
    row = GENERATORS.row_of(chosen.model)
    return sampling_from(row.facts if row is not None else {})


def plan_sampling_of(chosen: Chosen) -> PlanSampling:
    """How a model that may write plans is sampled: the picture as `sampling_of` says, the words as its training did.

    A training without words taught it to draw at once. Without a training over it, a row says if it writes plans, and a
    folder by its plan.json: published models are spoken to without.
    """
    image = sampling_of(chosen) or Sampling()
    for patch in reversed(chosen.patches):
        if patch.sampling is not None:
            return PlanSampling(words=patch.words or Sampling(), image=image, plan=patch.words is not None)
    row = GENERATORS.row_of(chosen.model)
    folder = Path(chosen.model).expanduser()
    plan = row.facts.get("plan", False) if row is not None else (folder / SETTINGS_FILE).is_file()
    return PlanSampling(image=image, plan=bool(plan))


def sampling_from(said: Mapping[str, Any]) -> Sampling:
    """The sampling that a row's facts, or a training's run.json, speak of; plain where they say nothing."""
    return Sampling(**{field.name: said[field.name] for field in fields(Sampling) if field.name in said})


def lay_over(generator: Any, patch: Patch) -> None:
    """Change the generator's network by the patch, in place. Raises BadConfig if it is not one that can be."""
    if patch.of_tokens or isinstance(generator, TokenGenerator | PlanGenerator):
        _take_transformer(generator, patch)
        return
    from diffusers import SD3Transformer2DModel, UNet2DConditionModel

    denoiser = generator.denoiser if isinstance(generator, LatentGenerator) else None
    if not isinstance(denoiser, UNet2DConditionModel | SD3Transformer2DModel):
        raise BadConfig(
            f"{str(patch.place)!r} is laid over a U-Net or Stable Diffusion 3's transformer, which "
            f"{type(generator).__name__} does not have; Stable Diffusion, XL, 3 and latent consistency models do"
        )
    if patch.whole:
        _take_whole(denoiser, patch)
    else:
        merge_lora(denoiser, patch.weights, scale=patch.scale)


def _take_transformer(generator: Any, patch: Patch) -> None:
    """Give a token model's transformer all weights of another of its kind, or add a LoRA to its own."""
    if not patch.of_tokens:
        raise BadConfig(
            f"{str(patch.place)!r} is of a model that draws from noise, and cannot be laid over one that draws token "
            "by token; choose another model"
        )
    if not isinstance(generator, TokenGenerator | PlanGenerator):
        raise BadConfig(
            f"{str(patch.place)!r} is of a model that draws token by token, and cannot be laid over "
            f"{type(generator).__name__}; choose another model"
        )
    transformer = generator.policy.transformer
    if not patch.whole:
        merge_adapter(transformer, patch.weights, scale=patch.scale)
        return
    try:
        weights = load_file(patch.weights)
    except (SafetensorError, OSError) as error:
        raise BadConfig(f"{patch.weights} is damaged or cut short: {error}") from error
    transformer.load_state_dict(fitting(weights, transformer.state_dict(), patch.weights, to="this model"))


def _take_whole(denoiser: Any, patch: Patch) -> None:
    """Give a denoiser all weights of another of its kind."""
    try:
        trained = type(denoiser).from_pretrained(
            str(patch.weights), torch_dtype=denoiser.dtype, use_safetensors=True, local_files_only=True
        )
        denoiser.load_state_dict(trained.state_dict())
    except OSError as error:
        raise BadConfig(f"{patch.weights} cannot be read: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:
        raise BadConfig(f"{patch.weights} does not fit this model's denoiser; it is another model's") from error


def _same(one: str | Path, other: str | Path) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _patch_at(place: str | Path, over: Training | None, scale: float) -> Patch:
    """The patch that a user named. Raises BadConfig if there is none."""
    path = Path(place)
    if not math.isfinite(scale):
        raise BadConfig(f"a LoRA's scale must be a finite number, got {scale}")
    if over is not None:
        return _scaled(replace(over.patch, place=path), scale)
    found = path.expanduser()
    if found.is_dir():
        held = [found / name for name in (LORA_FILE, ADAPTER_FILE) if (found / name).is_file()]
        if not held:
            raise BadConfig(f"{str(place)!r} is neither a training's folder nor one that holds {LORA_FILE}")
        found = held[0]
    if not found.is_file():
        raise BadConfig(f"there is no LoRA at {str(place)!r}; give a training's folder, or a file such as {LORA_FILE}")
    if found.suffix != ".safetensors":
        raise BadConfig(f"{str(place)!r} is not a safetensors file, and a LoRA is read from nothing else")
    return _scaled(Patch(place=path, weights=found), scale)


def _scaled(patch: Patch, scale: float) -> Patch:
    if patch.whole and scale != 1:
        raise BadConfig(f"{str(patch.place)!r} holds all of a network's weights, which take no scale; leave it out")
    return replace(patch, scale=scale)
