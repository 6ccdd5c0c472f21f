"""Weights at eight bits a number, for models that would not fit into the package otherwise.

A packed file holds every large matrix as whole numbers from -127 to 127 with a scale for each of its rows (the first
dimension), and the rest as it was. Before use it is unpacked into an ordinary float16 file, so nothing that loads a
model knows of it. A number moves by half a row's scale at most, 1/254 of the row's largest.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PLAIN, PACKED = ".safetensors", ".int8.safetensors"
LEAST = 16_384
"""numbers of a tensor that is worth it; smaller ones, such as codebooks and norms, stay exact"""
SCALE = ".row_scale"
"""after the name of a packed tensor: the name of its scales"""


def pack(file: Path) -> Path:
    """Put a packed file in the place of a safetensors file; returns its path."""
    from safetensors.torch import save_file

    tensors, metadata = _read(file)
    target = file.with_name(file.name.removesuffix(PLAIN) + PACKED)
    save_file(packed(tensors), target, metadata=metadata)
    file.unlink()
    return target


def unpack(file: Path, target: Path) -> None:
    """Write what is packed in a file as an ordinary one."""
    from safetensors.torch import save_file

    tensors, metadata = _read(file)
    save_file(unpacked(tensors), target, metadata=metadata)


def packed(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Large floating-point matrices as int8 with the scales of their rows (R,) float32 beside them."""
    import torch

    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < LEAST or not tensor.is_floating_point():
            found[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1) / 127
        # A row of zeros has no scale of its own, and needs none.
        whole = torch.round(rows / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None])
        found[name] = whole.to(torch.int8).view(tensor.shape)
        found[name + SCALE] = scale
    return found


def unpacked(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The same in float16, without the scales."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        if scale is not None:
            tensor = (tensor.float().flatten(1) * scale[:, None]).view(tensor.shape).half()
        found[name] = tensor
    return found


def _read(file: Path) -> "tuple[dict[str, Tensor], dict[str, str] | None]":
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
