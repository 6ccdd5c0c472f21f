"""A stand-in for a device without float64: tensors that say they are elsewhere, and compute on the CPU.

Elsewhere is "cpu:0", which any machine has, and which is not "cpu". As on a real one, float64 there is a TypeError, and
a CPU's tensor of more than one number among its own a RuntimeError.
"""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

ELSEWHERE = torch.device("cpu", 0)
BETWEEN = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default)


class Elsewhere(torch.Tensor):
    """A tensor of that device, with its numbers on the CPU."""

    @staticmethod
    def __new__(cls, numbers):
        if numbers.dtype == torch.float64:
            raise TypeError("this device has no float64")
        settings = {"strides": numbers.stride(), "storage_offset": numbers.storage_offset(), "dtype": numbers.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, numbers.size(), device=ELSEWHERE, **settings)
        made.numbers = numbers
        return made

    def tolist(self):
        return self.numbers.tolist()

    def __repr__(self):
        return f"Elsewhere({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class NoFloat64(TorchDispatchMode):
    """While entered, that device can be made tensors on."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func, args, kwargs):
    flat, shape = tree_flatten((args, kwargs))
    mine = [it for it in flat if isinstance(it, Elsewhere)]
    asked = kwargs.get("device")
    stays = bool(mine) if asked is None else asked == ELSEWHERE
    if mine and func not in BETWEEN:
        indices = tree_flatten(args[1])[0] if func in INDEXED else []
        for it in flat:
            foreign = isinstance(it, torch.Tensor) and not isinstance(it, Elsewhere) and it.dim() > 0
            if foreign and not any(it is one for one in indices):
                raise RuntimeError(f"{func} of tensors of two devices")
    plain_args, plain = tree_unflatten([it.numbers if isinstance(it, Elsewhere) else it for it in flat], shape)
    if asked is not None:
        plain["device"] = torch.device("cpu")
    # So far down, nothing looks at the mark of what is conjugate only when it is read.
    func = torch.ops.aten._conj_physical.default if func is torch.ops.aten._conj.default else func
    found = func(*plain_args, **plain)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if not stays:
        return found

    def placed(tensor):
        same = [it for it in mine if it.numbers is tensor]
        return same[0] if same else Elsewhere(tensor)

    return tree_map_only(torch.Tensor, placed, found)


def move(module: nn.Module) -> None:
    """Put a module's weights and buffers on that device."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and not isinstance(weight, Elsewhere):
                part._parameters[name] = nn.Parameter(Elsewhere(weight.detach()), requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None and not isinstance(buffer, Elsewhere):
                part._buffers[name] = Elsewhere(buffer)
