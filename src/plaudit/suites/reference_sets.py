"""Sets of pictures to compare with: renders of PocketEval's prompts or of others, or a folder of one's own."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.pocket.prompts import Request, parse
from plaudit.pocket.render import render
from plaudit.pocket.scenes import MAX_OBJECTS, Scene, Thing, draw_scene
from plaudit.pocket.truth import failures
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import SAMPLE, FeatureSet, features_of, read_features
from plaudit.suites.pocket_eval import pocket_eval_prompts, spread_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
BATCH_SIZE = 64

RENDERS = "renders"
"""stands for pictures of the prompts themselves"""
MANY = 2048
"""renders, where nobody says how many"""

_STREAM = 553_002
"""keeps these scenes apart from those of other uses of the same seed"""
_STREAM_OF_PROMPTS = 553_003
"""keeps scenes that a training is led by apart from those that it is measured with, of whatever seed"""
_TRIES = 20_000
"""scenes drawn for a request; the rarest that can be met takes some hundreds"""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Pictures that can be gone through, again and again."""

    description: str
    """in a phrase, for the statistics file"""
    batches: Callable[[], Iterator[Tensor]]
    """images (B, 3, H, W) in [0, 1]; of one size within a batch"""
    groups: tuple[int, ...] | None = None
    """one label per image, in order: which show the same prompt or class"""

    def features(self, net: FeatureNet, *, sample: int = SAMPLE) -> FeatureSet:
        """What the net sees in them."""
        return features_of(self.batches(), net, images=self.description, groups=self.groups, sample=sample)


def pocket_renders(
    *, images_per_prompt: int = 4, num_prompts: int | None = None, seed: int = 0, batch_size: int = BATCH_SIZE
) -> ImageSet:
    """Rendered scenes, 64 x 64, each all that one of PocketEval's prompts asks for and otherwise as chance has it.

    `num_prompts` takes about so many, every task in its proportion; None takes all 553. A group is a prompt. Prompts
    about held-out combinations are among them, as they are among those that models are asked for. Raises BadConfig for
    counts below 1.
    """
    for name, count in (("images per prompt", images_per_prompt), ("prompts", num_prompts), ("batch size", batch_size)):
        if count is not None and count < 1:
            raise BadConfig(f"{name} must be at least 1, got {count}")
    prompts = pocket_eval_prompts() if num_prompts is None else spread_of(num_prompts)
    rows = [(prompt, image) for prompt in prompts for image in range(images_per_prompt)]

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            yield render([scene_for(p.request, np.random.default_rng((_STREAM, seed, p.index, i))) for p, i in part])

    return ImageSet(
        description=f"{len(rows)} renders of {len(prompts)} of PocketEval's prompts, seed {seed}",
        batches=batches,
        groups=tuple(prompt.index for prompt, _ in rows),
    )


def renders_of(
    prompts: Sequence[str], *, images: int | None = None, seed: int = 0, batch_size: int = BATCH_SIZE
) -> ImageSet:
    """Rendered scenes, 64 x 64, each all that one of the prompts asks for; none that `pocket_renders` draws.

    At least `images`, equally many of every prompt; a group is a prompt. Raises BadConfig for a prompt that is not
    about the pocket world, or asks for more than its scenes hold.
    """
    if not prompts:
        raise BadConfig("there is no prompt to draw a reference of")
    requests = [_request_of(prompt) for prompt in prompts]
    each = math.ceil((MANY if images is None else images) / len(prompts))
    if each < 1 or batch_size < 1:
        raise BadConfig(f"images and batch size must be at least 1, got {images} and {batch_size}")
    rows = [(prompt, image) for prompt in range(len(prompts)) for image in range(each)]

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            yield render(
                [scene_for(requests[p], np.random.default_rng((_STREAM_OF_PROMPTS, seed, p, i))) for p, i in part]
            )

    return ImageSet(
        description=f"{len(rows)} renders of {len(prompts)} prompts, seed {seed}",
        batches=batches,
        groups=tuple(prompt for prompt, _ in rows),
    )


def reference_features(named: str, net: FeatureNet, *, prompts: Sequence[str]) -> FeatureSet:
    """What the net sees in the pictures of that name: "renders" of the prompts, a folder's, or a statistics file's.

    Raises BadConfig if they cannot be had, and for a file that another net made.
    """
    if named == RENDERS:
        return renders_of(prompts).features(net)
    if Path(named).expanduser().is_dir():
        return picture_folder(named).features(net)
    return read_features(Path(named).expanduser(), net)


def _request_of(prompt: str) -> Request:
    request = parse(prompt)
    if request is None:
        raise BadConfig(
            f"{prompt!r} is not about the pocket world's shapes and colours, so there are no renders of it; give real "
            "pictures in a folder, or a file of their statistics"
        )
    things = sum(wanted.count for wanted in request.wanted)
    if things > MAX_OBJECTS or (len(request.wanted) > 1 and things > len(request.wanted)):
        raise BadConfig(
            f"{prompt!r} asks for {things} things; scenes hold up to {MAX_OBJECTS} equal ones, or one each of two"
        )
    return request


def scene_for(request: Request, rng: np.random.Generator) -> Scene:
    """A scene that is all the request asks for; what it leaves open is drawn as in training scenes.

    Raises BadConfig if none is found.
    """
    things = sum(wanted.count for wanted in request.wanted)
    kind = "one" if things == 1 else "count" if len(request.wanted) == 1 else "pair"
    for _ in range(_TRIES):
        drawn = draw_scene(rng, kind=kind)
        if len(drawn.things) != things:
            continue
        scene = replace(
            drawn,
            things=tuple(itertools.starmap(_as_wanted, zip(drawn.things, _each_wanted(request), strict=True))),
        )
        if not failures(scene, request):
            return scene
    raise BadConfig(f"no scene is all of {request}")


def picture_folder(folder: str | Path, *, batch_size: int = BATCH_SIZE) -> ImageSet:
    """The pictures in a folder and the folders below it, by name; those of one folder below are a group.

    Raises BadConfig if there are none, or one that cannot be read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise BadConfig(f"there is no folder {str(folder)!r}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise BadConfig(f"{str(folder)!r} holds no pictures ({', '.join(SUFFIXES)})")
    parents = [file.parent for file in files]
    places = {parent: place for place, parent in enumerate(dict.fromkeys(parents))}
    return ImageSet(
        description=f"{len(files)} pictures of the folder {folder.resolve().name}",
        batches=lambda: _equal_sizes(files, batch_size),
        groups=tuple(places[parent] for parent in parents) if len(places) > 1 else None,
    )


def _equal_sizes(files: Sequence[Path], batch_size: int) -> Iterator[Tensor]:
    """Batches of neighbours, cut where the size changes."""
    waiting: list[Tensor] = []
    for image in map(_read, files):
        if waiting and (len(waiting) == batch_size or image.shape != waiting[0].shape):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(image)
    yield torch.stack(waiting)


def _read(file: Path) -> Tensor:
    """The picture, (3, H, W) float32 in [0, 1]."""
    try:
        return read_image(file)
    except BadConfig as error:
        raise BadConfig(f"{error}; mend it or take it away") from error


def _each_wanted(request: Request) -> list[tuple[str, str | None]]:
    """Shape and colour of every object asked for."""
    return [(wanted.shape, wanted.colour) for wanted in request.wanted for _ in range(wanted.count)]


def _as_wanted(thing: Thing, wanted: tuple[str, str | None]) -> Thing:
    shape, colour = wanted
    return replace(thing, shape=shape, colour=colour or thing.colour)
