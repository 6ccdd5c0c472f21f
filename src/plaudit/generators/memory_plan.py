"""How much memory a model will need, before any weight is loaded: from configs alone, by running it without weights.

Every number but the allowance for the driver is counted on networks of the published sizes (`sizes_only`), not
estimated: weights by their sizes, activations by letting autograd keep them (`memory_use`).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.memory_rewards import PlannedReward
from plaudit.generators.memory_settings import PRESETS, MemorySettings, Precision
from plaudit.generators.memory_simulation import Simulation, bytes_of
from plaudit.generators.shapes.networks import Scale

GB = 2**30
ALLOWANCE = GB
"""bytes that no tensor of ours holds: the driver's context, kernels, the libraries' workspaces"""
USABLE = 0.95
"""of a card's memory; the allocator loses the rest between blocks of different sizes"""
LARGEST_BATCH = 64
ENOUGH = 4
"""images at once, beyond which a faster setting is worth more than a larger batch"""

BY_SPEED = (
    MemorySettings(checkpointing=False),
    MemorySettings(checkpointing=False, offload="text"),
    MemorySettings(),
    MemorySettings(offload="text"),
    MemorySettings(slicing=True, offload="text"),
    MemorySettings(slicing=True, offload="blocks"),
    MemorySettings(slicing=True, tiling=512, offload="text"),
    MemorySettings(slicing=True, tiling=512, offload="blocks"),
)
"""what can be done about memory, the least costly in time first; last what changes pictures"""


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """One network."""

    name: str
    kind: str
    """its class"""
    parameters: int | None
    """None: not known here"""
    bytes: int
    """of weights and buffers"""


@dataclass(frozen=True, kw_only=True)
class KeptForGradient:
    """What autograd keeps from drawing one image until its gradient is taken, in bytes."""

    dtype: Precision
    checkpointing: bool
    lean: bool
    """whether the decoder is the one that keeps fewer activations (plaudit.generators.lean_decoder)"""
    denoiser: int
    decoder: int
    rest: int

    @property
    def total(self) -> int:
        return self.denoiser + self.decoder + self.rest


@dataclass(frozen=True, kw_only=True)
class CardPlan:
    """How to run on a GPU of so much memory."""

    gigabytes: float
    settings: MemorySettings | None
    """the fastest that fit, and leave pictures as they are if any such do; None: nothing fits"""
    batch_size: int
    """the most images at once, at most 64"""
    peak: int
    """bytes at that batch, of weights and activations; 0 if nothing fits"""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What a model needs."""

    model: str
    dtype: Precision
    steps: int
    image_size: int
    batch_size: int
    settings: MemorySettings
    """of the peaks"""
    parts: tuple[PartSize, ...]
    rewards: tuple[PartSize, ...]
    """of what cannot be run without weights, kind says how far it is counted"""
    kept: tuple[KeptForGradient, ...]
    peak_generate: int
    """bytes to draw and judge a batch without gradients, with all weights"""
    peak_optimise: int
    """bytes of a step of noise optimisation, with all weights"""
    cards: tuple[CardPlan, ...]


def plan_memory(
    name_or_folder: str,
    *,
    rewards: Sequence[str] = (),
    batch_size: int = 1,
    dtype: Precision = "bfloat16",
    gigabytes: Sequence[float] = tuple(PRESETS),
    scale: Scale = "real",
) -> MemoryPlan:
    """The plan of a table row or of a folder in a published layout, for cards of so many gigabytes.

    `rewards`: as a user names them, counted in float32; their own weights are needed of pocket ones and folders only.
    Raises UnknownName or BadConfig for what cannot be planned.
    """
    if batch_size < 1:
        raise BadConfig(f"batch_size must be at least 1, got {batch_size}")
    simulation = Simulation(name_or_folder, rewards, dtype, scale)
    generator, settings = simulation.generator, MemorySettings(dtype=dtype)
    return MemoryPlan(
        model=name_or_folder,
        dtype=dtype,
        steps=simulation.steps,
        image_size=simulation.image_size,
        batch_size=batch_size,
        settings=settings,
        parts=tuple(_size(name, network) for name, network in networks_of(generator)),
        rewards=tuple(_reward_size(reward) for reward in simulation.rewards),
        kept=tuple(_kept(simulation, name_or_folder, scale)),
        peak_generate=peak_of(simulation, settings, batch_size, gradient=False),
        peak_optimise=peak_of(simulation, settings, batch_size),
        cards=tuple(card_plan(simulation, size) for size in gigabytes),
    )


def peak_of(
    simulation: Simulation,
    settings: MemorySettings,
    batch_size: int,
    *,
    gradient: bool = True,
    lean: bool = True,
) -> int:
    """The most bytes at once, with all weights that stay on the device: while prompts are read, or in a step."""
    resident, reading = simulation.weights(settings.offload)
    return max(reading, resident + simulation.peak(settings, batch_size, gradient=gradient, lean=lean))


def networks_of(generator: LatentGenerator) -> Iterator[tuple[str, nn.Module]]:
    """A generator's networks: text encoders by number, denoiser, autoencoder."""
    encoders = list(generator.text_encoders)
    for number, encoder in enumerate(encoders, start=1):
        yield f"text encoder{f' {number}' if len(encoders) > 1 else ''}", encoder
    yield "denoiser", generator.denoiser
    yield "autoencoder", generator.vae


def _size(name: str, network: nn.Module) -> PartSize:
    # A weight that two modules share is one.
    count = sum(weight.numel() for weight in network.parameters())
    return PartSize(name=name, kind=type(network).__name__, parameters=count, bytes=bytes_of(network))


def _reward_size(reward: PlannedReward) -> PartSize:
    if reward.network is not None:
        return _size(reward.name, reward.network)
    return PartSize(name=reward.name, kind=reward.kind, parameters=None, bytes=reward.weights)


def _kept(simulation: Simulation, name_or_folder: str, scale: Scale) -> Iterator[KeptForGradient]:
    """At two precisions with and without checkpointing, and with the decoder as its library has it."""
    other: Precision = "float32" if simulation.dtype != "float32" else "bfloat16"
    for each in (simulation, Simulation(name_or_folder, (), other, scale)):
        for checkpointing, lean in ((False, False), (False, True), (True, True)):
            kept = each.use(MemorySettings(checkpointing=checkpointing), 1, lean=lean).kept
            yield KeptForGradient(dtype=each.dtype, checkpointing=checkpointing, lean=lean, **kept)


def card_plan(
    simulation: Simulation,
    gigabytes: float,
    *,
    wanted: int = LARGEST_BATCH,
    gradient: bool = True,
    shared: bool = False,
) -> CardPlan:
    """For a device with so much memory: the fastest settings with room for enough images, else those for most.

    `wanted`: more images at once are of no use. `shared`: its memory is the CPU's own, where nothing is gained by
    letting weights wait there.
    """
    room = room_of(gigabytes)
    best = CardPlan(gigabytes=gigabytes, settings=None, batch_size=0, peak=0)
    for settings in ways_to_fit(simulation, shared=shared):
        if settings.tiling is not None and best.settings is not None:
            break
        batch = _largest_batch(simulation, settings, room, wanted=wanted, gradient=gradient)
        if batch > best.batch_size:
            peak = peak_of(simulation, settings, batch, gradient=gradient)
            settings = replace(settings, dtype=simulation.dtype)
            best = CardPlan(gigabytes=gigabytes, settings=settings, batch_size=batch, peak=peak)
        if best.batch_size >= min(ENOUGH, wanted):
            break
    return best


def room_of(gigabytes: float) -> int:
    """The bytes that weights and activations may take of a device's memory."""
    return int(USABLE * gigabytes * GB) - ALLOWANCE


def least_gigabytes(simulation: Simulation, *, gradient: bool = True, shared: bool = False) -> float:
    """The memory of the smallest device that one image at a time fits, with all that saves memory."""
    ways = ways_to_fit(simulation, shared=shared)
    peak = min(peak_of(simulation, settings, 1, gradient=gradient) for settings in ways)
    return (peak + ALLOWANCE) / USABLE / GB


def ways_to_fit(simulation: Simulation, *, shared: bool = False) -> Iterator[MemorySettings]:
    """Of BY_SPEED, those that are different for that model and device, in their order."""
    seen = set()
    for settings in BY_SPEED:
        if settings.tiling is not None and settings.tiling >= simulation.image_size:
            continue
        here = replace(settings, offload=None) if shared else settings
        if here not in seen:
            seen.add(here)
            yield here


def _largest_batch(simulation: Simulation, settings: MemorySettings, room: int, *, wanted: int, gradient: bool) -> int:
    """The most images, at most `wanted`, that fit into `room` bytes; 0 if not even one does."""
    fitting = itertools.takewhile(
        lambda batch: peak_of(simulation, settings, batch, gradient=gradient) <= room,
        range(1, min(wanted, LARGEST_BATCH) + 1),
    )
    return max(fitting, default=0)
