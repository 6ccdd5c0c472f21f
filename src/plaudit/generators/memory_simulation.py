"""A model without weights, run under one setting after another to see what each would keep in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.memory import save_memory
from plaudit.generators.memory_rewards import planned_reward
from plaudit.generators.memory_settings import MemorySettings, Offload, Precision
from plaudit.generators.memory_use import MemoryUse, memory_use
from plaudit.generators.offloading import blocks_of
from plaudit.generators.shapes.networks import Scale
from plaudit.generators.sizes_only import META, generator_without_weights
from plaudit.generators.table import GENERATORS

FEW_STEPS = 4
"""more are not run: their use is a straight line through that of two steps and of three"""
LARGER = 4
"""images; the peak of any number is on a straight line through that of one and of so many"""


class Simulation:
    """A generator and rewards on the "meta" device. Keeps what it has found."""

    def __init__(
        self,
        name_or_folder: str,
        rewards: Sequence[str],
        dtype: Precision,
        scale: Scale = "real",
        *,
        steps: int | None = None,
    ) -> None:
        """`rewards` as a user names them; `steps`: the row's unless given.

        Raises UnknownName or BadConfig for what cannot be planned.
        """
        self.dtype = dtype
        row = GENERATORS.row_of(name_or_folder)
        own = int(row.arguments.get("steps", 1)) if row is not None else 1
        self.steps = own if steps is None else steps
        few = (self.steps,) if self.steps <= FEW_STEPS else (2, 3)
        self._generators = {
            count: generator_without_weights(name_or_folder, dtype=getattr(torch, dtype), steps=count, scale=scale)
            for count in few
        }
        self.generator: LatentGenerator = self._generators[few[0]]
        self.rewards = tuple(planned_reward(name, scale) for name in rewards)
        self._found: dict[Any, MemoryUse] = {}
        self._weights: dict[Offload | None, tuple[int, int]] = {}

    @property
    def image_size(self) -> int:
        """Of the images drawn, in pixels a side."""
        found = next(iter(self._found.values()), None)
        return (found or self.use(MemorySettings(checkpointing=False), 1, gradient=False)).image_size

    def peak(self, settings: MemorySettings, batch_size: int, *, gradient: bool = True, lean: bool = True) -> int:
        """The most bytes that a step for so many images uses beside all weights."""
        if batch_size == 1:
            return self.use(settings, 1, gradient=gradient, lean=lean).peak
        one, several = (self.use(settings, count, gradient=gradient, lean=lean).peak for count in (1, LARGER))
        return one + (several - one) * (batch_size - 1) // (LARGER - 1)

    def weights(self, offload: Offload | None) -> tuple[int, int]:
        """The bytes of weights on the device in a step, and while prompts are read; rewards' included."""
        if offload not in self._weights:
            networks = (self.generator.denoiser, self.generator.vae)
            encoders = self.generator.text_encoders
            size = visiting_bytes if offload == "blocks" else bytes_of
            resident = sum(map(size, networks)) + self.reward_weights()
            if offload is None:
                resident += sum(map(bytes_of, encoders))
            visiting = max(map(visiting_bytes, encoders), default=0) if offload else 0
            self._weights[offload] = (resident, resident + visiting)
        return self._weights[offload]

    def reward_weights(self) -> int:
        """The bytes of the rewards' weights."""
        return sum(it.weights if it.network is None else bytes_of(it.network) for it in self.rewards)

    def use(self, settings: MemorySettings, batch_size: int, *, gradient: bool = True, lean: bool = True) -> MemoryUse:
        """What a step for so many images uses beside all weights, run as it is.

        Without `lean` the decoder is diffusers' own, which keeps more activations.
        """
        # Where weights wait does not change what is computed.
        settings = replace(settings, offload=None, dtype=None)
        key = (settings, batch_size, gradient, lean)
        if key not in self._found:
            uses = {}
            judges = [(it.reward, [it.network]) for it in self.rewards if it.reward is not None and it.network]
            for steps, generator in self._generators.items():
                with nullcontext() if lean else plain_decoder(generator.vae):
                    save_memory(generator, settings)
                    uses[steps] = memory_use(generator, batch_size=batch_size, rewards=judges, gradient=gradient)
            self._found[key] = _after(self.steps, uses)
        return self._found[key]


def bytes_of(module: nn.Module) -> int:
    """Of a module's weights and buffers; those that two modules share count once."""
    storages = {}
    for tensor in (*module.parameters(), *module.buffers()):
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())


def visiting_bytes(network: nn.Module) -> int:
    """The most bytes of a network's weights on the device where its blocks visit one at a time (`offloading`)."""
    blocks = [bytes_of(block) for block in blocks_of(network)]
    return bytes_of(network) - sum(blocks) + max(blocks, default=0)


def _after(steps: int, uses: Mapping[int, MemoryUse]) -> MemoryUse:
    """The use after so many steps, on the line through that of two numbers of steps."""
    if steps in uses:
        return uses[steps]
    (fewer, first), (more, second) = sorted(uses.items())
    times = (steps - fewer) // (more - fewer)

    def line(start: int, end: int) -> int:
        return start + (end - start) * times

    return replace(
        first,
        kept={name: line(first.kept[name], second.kept[name]) for name in first.kept},
        peak=line(first.peak, second.peak),
    )


@contextmanager
def plain_decoder(vae: Any) -> Iterator[None]:
    """Inside, an autoencoder decodes as diffusers has it, with the same weights and without our savings."""
    before = vae.decoder
    with META:
        plain = type(vae).from_config(vae.config).decoder
    plain.load_state_dict(before.state_dict(), assign=True)
    vae.decoder = plain.eval().requires_grad_(False)
    try:
        yield
    finally:
        vae.decoder = before
