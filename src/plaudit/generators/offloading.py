"""Weights that wait on the CPU and visit the device while they are used, with gradients.

Moving weights in and out around the forward pass alone saves nothing where gradients are on: autograd keeps the weights
that it saw, on the device, until the backward pass. Here a block runs on copies of its weights, and again on new copies
in the backward pass, and nothing else refers to those; so a block's weights are on the device only while it runs. The
weights at home never change place, so nothing is copied back. Images and gradients are exactly the same.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.denoising import Denoising
from plaudit.generators.recomputing import recomputed

HOME = torch.device("cpu")

_LISTS = (nn.ModuleList, nn.Sequential)


def offload_text_encoders(generator: LatentGenerator, *, device: torch.device | str | None = None) -> None:
    """Keep the text encoders on the CPU; `encode` brings them to the device, one of their blocks at a time.

    `device`: where the generator shall work, unless it stays where it is. Doing it twice changes nothing.
    """
    for encoder in generator.text_encoders:
        _check_weights(encoder)
        if is_offloaded(encoder):
            continue
        blocks = list(blocks_of(encoder))
        for block in blocks:
            _Visiting(block, apart=())
        # What is beside the blocks, embeddings above all, is there for as long as the encoder runs.
        _Visiting(encoder, apart=blocks)
    move_generator(generator, device or generator.device)


def offload_blocks(generator: LatentGenerator, *, device: torch.device | str | None = None) -> None:
    """Keep the blocks of denoiser and autoencoder on the CPU, but for the one that runs, forward or backward.

    Each block's activations are recomputed, which takes the place of the checkpointing that the families offer; what
    is outside the blocks (embeddings, first and last layers) stays on the device. Trained weights get their gradients
    at home. For speed weights at home are pinned where the device is a CUDA one, and copies do not wait; still every
    run of a block waits for its weights, so large batches pay less. Do not copy the generator (deepcopy) afterwards.
    `device`: where the generator shall work, unless it stays where it is. Doing it twice changes nothing.
    """
    generator.use_checkpointing(False)
    for network in (generator.denoiser, generator.vae):
        _check_weights(network)
        for block in blocks_of(network):
            if not is_offloaded(block):
                _Visiting(block, apart=())
    move_generator(generator, device or generator.device)


def stop_offloading(generator: LatentGenerator) -> None:
    """Everything is on the generator's device again, and stays there. Checkpointing is off until switched on."""
    for network in _networks(generator):
        for module in network.modules():
            if is_offloaded(module):
                del module.forward
    move_generator(generator, generator.device)


def is_offloaded(module: nn.Module) -> bool:
    """Whether the module's weights wait at home."""
    return isinstance(vars(module).get("forward"), _Visiting)


def offloaded_blocks(generator: LatentGenerator) -> list[nn.Module]:
    """All modules whose weights wait at home."""
    return [module for network in _networks(generator) for module in network.modules() if is_offloaded(module)]


def move_generator(generator: LatentGenerator, device: torch.device | str) -> None:
    """Let the generator work on `device`: its networks and its own tensors go there, offloaded weights only visit."""
    device = torch.device(device)
    for network in _networks(generator):
        at_home: set[int] = set()
        for module in network.modules():
            visiting = vars(module).get("forward")
            if isinstance(visiting, _Visiting):
                visiting.device = device
                for tensor in visiting.weights().values():
                    at_home.update((id(tensor), id(tensor.grad)))

        def place(tensor: Tensor, at_home: set[int] = at_home) -> Tensor:
            return _wait_for(tensor, device) if id(tensor) in at_home else tensor.to(device)

        # What Module.to does, tensor by tensor: a parameter stays the same object, for optimisers that know it.
        network._apply(place)
    _move_own_tensors(generator, device)


class _Visiting:
    """Stands in for a module's forward: runs the module on copies of its weights, and forgets them."""

    def __init__(self, module: nn.Module, *, apart: Sequence[nn.Module]) -> None:
        """`apart`: modules inside, whose weights it leaves to them."""
        self.device = HOME
        self.module, self.inside = module, _Plain(module)
        self._apart = {id(part) for part in apart}
        module.forward = self

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return recomputed(self._run, *inputs, draws=self.module.training, **named)

    def weights(self) -> dict[str, Tensor]:
        """The weights that visit, by their names below the module; those that are tied by the first name."""
        found: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self._weights_of(self.module, ""):
            found.setdefault(id(tensor), (name, tensor))
        return dict(found.values())

    def _weights_of(self, module: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for tensors in (module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            yield from ((prefix + name, tensor) for name, tensor in tensors)
        for name, child in module.named_children():
            if id(child) not in self._apart:
                yield from self._weights_of(child, f"{prefix}{name}.")

    def _run(self, *inputs: Any, **named: Any) -> Any:
        copies = {f"module.{name}": copied(tensor, self.device) for name, tensor in self.weights().items()}
        return torch.func.functional_call(self.inside, copies, inputs, named)


class _Plain(nn.Module):
    """Runs a module by its own forward, which no longer answers to its name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.run = module, module.forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(*inputs, **named)


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """A new copy on the device, even where the tensor is already there."""
    return tensor.to(device, non_blocking=True, copy=True)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """What visits one at a time: the first elements of lists on each way down that do not checkpoint parts of theirs.

    Recomputing inside a block would run after the block's weights are gone.
    """
    for child in module.children():
        is_element = isinstance(module, _LISTS) and not isinstance(child, _LISTS)
        if not is_element or _checkpoints(child):
            yield from blocks_of(child)
        elif any(True for _ in child.parameters()):
            yield child


def _checkpoints(module: nn.Module) -> bool:
    """Whether the module, or one inside, is where diffusers switches checkpointing."""
    return any("gradient_checkpointing" in vars(part) for part in module.modules())


def _check_weights(network: nn.Module) -> None:
    """Raises BadConfig if a network waits on the "meta" device, where it has no weights to bring."""
    if any(tensor.is_meta for tensor in network.parameters()):
        raise BadConfig(f"a {type(network).__name__} without weights (on the meta device) cannot be offloaded")


def _networks(generator: LatentGenerator) -> list[nn.Module]:
    tiny = generator.decoding.tiny
    return [generator.denoiser, generator.vae, *generator.text_encoders, *([] if tiny is None else [tiny])]


def _wait_for(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor at home, ready to visit the device."""
    tensor = tensor.to(HOME)
    return tensor.pin_memory() if device.type == "cuda" and not tensor.is_pinned() else tensor


def _move_own_tensors(owner: Any, device: torch.device) -> None:
    """What a generator holds beside its networks: times, sizes, conditions; also those of what is inside it."""
    for name, value in list(vars(owner).items()):
        if isinstance(value, (LatentGenerator, Denoising)):
            _move_own_tensors(value, device)
        elif not isinstance(value, nn.Module):
            setattr(owner, name, _moved(value, device))
    owner.device = device


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (list, tuple):
        return type(value)(_moved(part, device) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _moved(getattr(value, field.name), device) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value
