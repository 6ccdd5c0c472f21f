"""Counts the bytes of tensors: those that autograd keeps for the backward pass, and those alive at any time.

Counted are storages, each once however many tensors share it. A storage on the "meta" device has a size and no memory,
so that a model of any size can be counted on any machine, by running it; on other devices the same code measures.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512
"""bytes; CUDA's allocator gives out multiples of it"""


class Ledger(TorchDispatchMode):
    """While it is on, knows the bytes of all tensors made under it that are alive, and the most there ever were.

    Asked for a value, a tensor of the meta device says 0 or False: what a mask says of a prompt that is padded.
    """

    def __init__(self, device: torch.device) -> None:
        """`device`: tensors elsewhere, such as a scheduler's times on the CPU, are not counted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak = 0, 0
        self._type = device.type
        self._known: dict[int, weakref.ref[Any]] = {}

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Never count these, such as weights that were there before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            # No callback: whoever leaves them out keeps them alive.
            self._known[storage._cdata] = weakref.ref(storage)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False if args[0].dtype is torch.bool else 0
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and leaf.device.type == self._type:
                self._note(leaf)
        return made

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // BLOCK) * BLOCK
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, self._forget(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            del self._known[key]
            self.live -= size

        return forget


class Kept:
    """The bytes that autograd keeps for the backward pass of what runs inside, by the network that it belongs to."""

    def __init__(self, networks: Mapping[str, nn.Module], *, weights: Iterable[Tensor]) -> None:
        """`weights` are kept anyway, and not counted."""
        self._networks = dict(networks)
        self._left_out = {tensor.untyped_storage()._cdata for tensor in weights}
        self._known: dict[int, tuple[str, weakref.ref[Any]]] = {}
        self._now = "rest"

    def bytes(self) -> dict[str, int]:
        """What is kept at this moment, by network; "rest" belongs to none, such as a sampler's arithmetic."""
        found = dict.fromkeys((*self._networks, "rest"), 0)
        for network, reference in self._known.values():
            storage = reference()
            found[network] += 0 if storage is None else storage.nbytes()
        return found

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What runs inside is counted."""
        handles = [
            handle
            for name, model in self._networks.items()
            for handle in (
                model.register_forward_pre_hook(lambda *_, name=name: self._enter(name)),
                model.register_forward_hook(lambda *_: self._enter("rest")),
            )
        ]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> None:
        self._now = name

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._left_out and key not in self._known:
            # Forgotten when it dies: a later storage may have its address.
            self._known[key] = (self._now, weakref.ref(storage, lambda _: self._known.pop(key, None)))
        return tensor


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, attention without weights counts as the fused kernels of real devices do, which keep no table of scores.

    Left to itself the meta device keeps queries times keys, which would be most of a transformer's memory. A torch
    function mode would not do: it is off in the backward pass, where blocks are run again.
    """
    theirs = F.scaled_dot_product_attention

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **settings: Any
    ) -> Tensor:
        if not query.is_meta:
            return theirs(query, key, value, attn_mask, *args, **settings)
        made: Tensor = _Attention.apply(query, key, value, attn_mask)  # type: ignore[no-untyped-call]
        return made

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = theirs


class _Attention(torch.autograd.Function):
    """Keeps queries, keys, values, the result, and each query's sum of exponents."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, length, _ = query.shape
        # Laid out as the kernels do: a token's heads beside each other.
        made = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(batch, heads, length, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, made, sums, *([] if mask is None else [mask]))
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors[:3]
        # The kernels gather the queries' gradient in float32.
        gathered = torch.empty_like(query, dtype=torch.float32)
        found = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        del gathered, slope
        return (*found, None)
