"""A frozen decoder whose backward pass keeps a third of the activations, at the same numbers.

Autograd keeps three full-size tensors for each "normalise, SiLU, convolve" of a decoder: what the norm saw, what
the SiLU saw, and what the convolution saw. The last serves only the gradient of weights, which are frozen here, and
the second is two cheap operations away from the first. A decoder holds most of a latent generator's activations, so
its gradient needs far less memory; recomputing whole blocks (checkpointing) saves more but runs every convolution
twice.
"""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

M = TypeVar("M", bound=nn.Module)


def make_lean(decoder: nn.Module) -> None:
    """Replace the norms and convolutions of a diffusers `Decoder`, in place; parameters and their names stay.

    Afterwards no gradient reaches the decoder's own weights. Doing it twice changes nothing.
    """
    for module in list(decoder.modules()):
        if isinstance(module, ResnetBlock2D) and module.time_emb_proj is None:
            _fuse(module, ("norm1", "norm2"), "nonlinearity")
    _fuse(decoder, ("conv_norm_out",), "conv_act")
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and child.padding_mode == "zeros":
                setattr(module, name, _of(_FrozenConv2d, child))


def _fuse(block: nn.Module, norms: tuple[str, ...], activation: str) -> None:
    """Let the block's norms apply the SiLU that follows them, and its activation do nothing."""
    followed_by_silu = isinstance(getattr(block, activation, None), nn.SiLU)
    if not followed_by_silu or any(type(getattr(block, name)) is not nn.GroupNorm for name in norms):
        return
    for name in norms:
        setattr(block, name, _of(_GroupNormSiLU, getattr(block, name)))
    setattr(block, activation, nn.Identity())


def _of(kind: type[M], module: nn.Module) -> M:
    """The same module, with the same parameters, under another class."""
    made = kind.__new__(kind)
    made.__dict__.update(module.__dict__)
    return made


class _FrozenConv2d(nn.Conv2d):
    """A convolution that keeps nothing but its weight for the gradient of its input."""

    def forward(self, input: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and input.requires_grad):
            return super().forward(input)
        out: Tensor = _Convolve.apply(input, self)  # type: ignore[no-untyped-call]
        return out


class _GroupNormSiLU(nn.GroupNorm):
    """Group normalisation with SiLU behind it, which keeps its input alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and input.requires_grad):
            return F.silu(super().forward(input))
        out: Tensor = _NormaliseActivate.apply(input, self)  # type: ignore[no-untyped-call]
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: nn.Conv2d) -> Tensor:
        ctx.shape, ctx.dtype, ctx.conv = x.shape, x.dtype, conv
        # Saved, not read later: the weights may be elsewhere by then (offloading).
        ctx.save_for_backward(conv.weight)
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        conv, (weight,) = ctx.conv, ctx.saved_tensors
        # No more than the input's shape is read as long as no gradient of the weight is asked for.
        shaped = slope.new_empty(1).expand(ctx.shape)
        # Under autocast the convolution ran in a narrower type than the weight's, which is the slope's.
        found = torch.ops.aten.convolution_backward(
            slope, shaped, weight.to(slope.dtype), None, conv.stride, conv.padding, conv.dilation, False, [0, 0],
            conv.groups, [True, False, False],
        )  # fmt: skip
        return found[0].to(ctx.dtype), None


class _NormaliseActivate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        x = x.contiguous()
        normal, mean, spread = _normalise(*_alike(x, norm.weight, norm.bias), norm)
        ctx.save_for_backward(x, mean, spread, norm.weight, norm.bias)
        ctx.norm = norm
        return F.silu(normal, inplace=True).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        kept, mean, spread, *own = ctx.saved_tensors
        x, weight, bias = _alike(kept, *own)
        slope = slope.contiguous().to(x.dtype)
        slope = torch.ops.aten.silu_backward(slope, _normalise(x, weight, bias, ctx.norm)[0])
        found = torch.ops.aten.native_group_norm_backward(
            slope, x, mean, spread, weight, *_sizes(x), ctx.norm.num_groups, [True, False, False]
        )
        return found[0].to(kept.dtype), None


def _alike(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All three in the wider of their types: GPUs' kernels take no mixture, and their autocast too widens norms."""
    dtype = torch.promote_types(x.dtype, weight.dtype)
    return x.to(dtype), weight.to(dtype), bias.to(dtype)


def _normalise(x: Tensor, weight: Tensor, bias: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised tensor, and each group's mean and reciprocal spread."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_group_norm(
        x, weight, bias, *_sizes(x), norm.num_groups, norm.eps
    )
    return found


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x[0, 0].numel()
