"""What a picture looks like to a network, as one row of numbers: the ground on which sets of pictures are compared.

A distance between two sets means something only if one network saw both in the same way. So a net carries a
fingerprint of its weights and of all that happens to a picture before it, and whoever keeps features keeps that too.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Dinov2Model

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.pocket.folders import pocket_folder
from plaudit.rewards.clip_towers import embed, read_preprocess
from plaudit.rewards.image_reward import ImageRewardModel
from plaudit.rewards.image_tower import load_image_tower
from plaudit.rewards.preprocess import Preprocess, fit_square, normalise

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""per-channel mean of ImageNet's training images, as DINOv2 (Oquab et al. 2023) and many others use it"""
IMAGENET_STD = (0.229, 0.224, 0.225)

_SEEN_BY = 1
"""counted up when resizing, or reading a net out, changes what comes out; part of every fingerprint"""
_SHAPE_OF_NET = ("hidden_act", "layer_norm_eps", "num_attention_heads", "image_size", "patch_size")
"""settings that change what equal weights compute"""


class FeatureNet(Protocol):
    """Describes pictures by numbers.

    images   (B, 3, H, W), floating point, in [0, 1], any H and W
    returns  (B, dimensions) float32, independent of the rest of the batch; attached to the graph of `images`

    A net resizes and normalises for itself; callers never preprocess. It follows the device of the images.
    """

    name: str
    dimensions: int

    @property
    def fingerprint(self) -> str:
        """The same for two nets only if they see every picture alike."""
        ...

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class ResizeThenCrop:
    """The short side resized, the centre of that square cut out, normalised: how DINOv2 was evaluated."""

    resize: int
    """short side before the cut, in pixels"""
    crop: int
    """side of the square that the net reads, in pixels"""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, crop, crop), float32, from images (B, 3, H, W) in [0, 1]."""
        square = fit_square(images.float(), self.resize, fit="crop-down")
        margin = (self.resize - self.crop) // 2
        return normalise(square[..., margin : margin + self.crop, margin : margin + self.crop], self.mean, self.std)


class FrozenNet:
    """A network with what it does to a picture first and how it is read out. Keeps the FeatureNet contract."""

    def __init__(
        self,
        name: str,
        model: Any,
        *,
        dimensions: int,
        preprocess: Callable[[Tensor], Tensor],
        read: Callable[[Any, Tensor], Tensor],
    ) -> None:
        """`preprocess`: a frozen dataclass; its settings count for the fingerprint. `read`: a function with a name."""
        self.name, self.dimensions = name, dimensions
        self.model = model.eval().requires_grad_(False)
        self._preprocess, self._read = preprocess, read

    def __call__(self, images: Tensor) -> Tensor:
        """Features (B, dimensions) float32 of images (B, 3, H, W) in [0, 1], with gradients."""
        if next(self.model.parameters()).device != images.device:
            self.model.to(images.device)
        return self._read(self.model, self._preprocess(images)).float()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a sha256 over weights, shape of the net, preprocessing and read-out."""
        settings = {name: getattr(self.model.config, name) for name in _SHAPE_OF_NET}
        said = [_SEEN_BY, self._read.__name__, repr(self._preprocess), settings]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            values = tensor.detach().float().cpu().contiguous()
            digest.update(f"{name}{tuple(values.shape)}".encode())
            digest.update(values.numpy().data)
        return digest.hexdigest()[:16]


def clip_embedding(model: Any, pixels: Tensor) -> Tensor:
    """(B, D): where a CLIP model puts the pictures beside texts, of whatever length that is."""
    return embed(model, pixels)


def dinov2_class_token(model: Any, pixels: Tensor) -> Tensor:
    """(B, D): the last layer's class token, normalised by that layer's norm (Stein et al. 2023 compare with these)."""
    seen: Tensor = model(pixel_values=pixels).pooler_output
    return seen


def blip_class_token(model: Any, pixels: Tensor) -> Tensor:
    """(B, D): the class token of BLIP's vision tower after its last norm, as its text encoder looks at it.

    Not the library's pooled output, which that norm has gone over twice.
    """
    seen: Tensor = model(pixel_values=pixels).last_hidden_state[:, 0]
    return seen


def load_clip_features(
    folder: str | Path,
    *,
    name: str,
    weights: str = "model.safetensors",
    sha256: str | None = None,
    device: torch.device | str | None = None,
) -> FrozenNet:
    """The image tower of a CLIPModel's folder. Raises BadConfig as `load_image_tower`, which reads the weights."""
    model = load_image_tower(Path(folder), weights=weights, sha256=sha256).to(device)
    preprocess = read_preprocess(Path(folder), int(model.config.image_size))
    dimensions = int(model.config.projection_dim)
    return FrozenNet(name, model, dimensions=dimensions, preprocess=preprocess, read=clip_embedding)


def load_pocket_features(name: str, *, device: torch.device | str | None = None) -> FrozenNet:
    """The image tower of a pocket model in CLIP's format."""
    return load_clip_features(pocket_folder(name), name=name, device=device)


def load_image_reward_features(folder: str | Path, *, name: str, device: torch.device | str | None = None) -> FrozenNet:
    """The image tower of an ImageReward folder. Raises BadConfig if the folder does not hold one."""
    whole = ImageRewardModel.from_pretrained(folder)
    tower = whole.visual_encoder.to(device)
    dimensions = int(tower.config.hidden_size)
    preprocess = Preprocess(size=whole.image_size)
    return FrozenNet(name, tower, dimensions=dimensions, preprocess=preprocess, read=blip_class_token)


def load_pocket_image_reward_features(name: str, *, device: torch.device | str | None = None) -> FrozenNet:
    """The image tower of a pocket model in ImageReward's format."""
    return load_image_reward_features(pocket_folder(name), name=name, device=device)


def load_dinov2_features(folder: str | Path, *, name: str, device: torch.device | str | None = None) -> FrozenNet:
    """A Dinov2Model's folder. Raises BadConfig if files or weights are missing."""
    folder = Path(folder)
    for needed in ("config.json", "model.safetensors"):
        if not (folder / needed).is_file():
            raise BadConfig(f"{folder} is not a DINOv2 folder: it has no {needed}")
    model, report = Dinov2Model.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    if report["missing_keys"]:
        # The library would fill them with random numbers.
        raise BadConfig(f"{folder} lacks {len(report['missing_keys'])} weights of its config.json's model")
    dimensions = int(model.config.hidden_size)
    preprocess = _dinov2_preprocess(folder)
    return FrozenNet(name, model.to(device), dimensions=dimensions, preprocess=preprocess, read=dinov2_class_token)


def load_folder(folder: Path, *, device: torch.device | str | None = None) -> FrozenNet:
    """The net of a folder in one of the two formats, as its config.json says. Raises UnknownName for another."""
    config = folder / "config.json"
    kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
    if kind == "clip":
        return load_clip_features(folder, name=folder.name, device=device)
    if kind == "dinov2":
        return load_dinov2_features(folder, name=folder.name, device=device)
    raise UnknownName(f"{folder} holds no feature net: its config.json must say model_type 'clip' or 'dinov2'")


def _dinov2_preprocess(folder: Path) -> ResizeThenCrop:
    """What the folder's preprocessor_config.json says; DINOv2's own where it says nothing."""
    file = folder / "preprocessor_config.json"
    said = json.loads(file.read_text()) if file.is_file() else {}
    return ResizeThenCrop(
        resize=int(said.get("size", {}).get("shortest_edge", 256)),
        crop=int(said.get("crop_size", {}).get("height", 224)),
        mean=tuple(said.get("image_mean", IMAGENET_MEAN)),
        std=tuple(said.get("image_std", IMAGENET_STD)),
    )
