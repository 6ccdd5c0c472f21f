"""Before a run: what it will need of a GPU's memory, said on stderr, and what is done so that it fits."""

import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.shells.options import DrawingOptions
from plaudit.shells.planning import GB, in_gigabytes, in_words

if TYPE_CHECKING:
    import torch

    from plaudit.generators.memory_plan import CardPlan
    from plaudit.generators.memory_settings import MemorySettings
    from plaudit.generators.memory_simulation import Simulation
    from plaudit.generators.tuned import Chosen


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model is loaded and put to work, so that it fits a device."""

    device: "torch.device"
    settings: "MemorySettings"
    """with the networks' precision"""
    batch_size: int
    """images at once"""
    peak: int
    """bytes at most, of weights and activations, as planned"""

    @property
    def home(self) -> "torch.device":
        """Where weights are loaded; what waits on the CPU was never on the device."""
        import torch

        return torch.device("cpu") if self.settings.offload else self.device

    @property
    def dtype(self) -> "torch.dtype":
        """The networks' precision."""
        from plaudit.generators.memory import precision_on

        return precision_on(self.device, self.settings)

    def put_to_work(self, generator: Any) -> None:
        """Put the settings in force on a generator that was loaded at `home` in `dtype`."""
        from plaudit.generators.memory import save_memory

        save_memory(generator, self.settings, device=self.device)

    def record(self) -> dict[str, Any]:
        """What run.json keeps of it."""
        return {"settings": asdict(self.settings), "batch_size": self.batch_size, "planned_bytes": self.peak}


def fit_memory(
    options: DrawingOptions, chosen: "Chosen", device: "torch.device", *, images: int | None = None,
    rewards_there: bool = False,
) -> Fit | None:  # fmt: skip
    """What makes the run fit, told on stderr; None where there is nothing to fit, in no time.

    That is on a CPU, and for pocket models, unless --memory asks for it. `images`: how many are to be drawn, if fewer
    than a batch. `rewards_there`: the rewards' weights are on the device already, and so not in what is free of it.
    Raises BadConfig if nothing makes a single image fit.
    """
    if options.memory is not None and not 0 < options.memory < math.inf:
        raise BadConfig(f"--memory is a number of gigabytes, more than 0, got {options.memory:g}")
    from plaudit.core.devices import free_memory
    from plaudit.generators.table import draws_tokens

    if options.memory is not None and draws_tokens(chosen.model):
        raise BadConfig(
            f"--memory cannot be kept to: {chosen.model!r} draws token by token, and the memory of such models is not "
            "planned yet; leave it out, and take fewer images at once with --batch-size"
        )
    if options.memory is None and (device.type == "cpu" or _is_embedded(chosen.model)):
        return None
    if draws_tokens(chosen.model):
        print(
            f"plaudit: {chosen.model} draws token by token, and the memory of such models is not planned yet; take "
            "fewer images at once with --batch-size if it does not fit",
            file=sys.stderr,
        )
        return None
    free = free_memory(device)
    simulation = None if options.memory is None and free is None else _simulation(options, chosen, device)
    if simulation is None:
        return None
    there = simulation.reward_weights() if rewards_there else 0
    limits = [it for it in (options.memory, None if free is None else (free + there) / GB) if it is not None]
    card = _chosen(simulation, options, min(limits), images=images, shared=device.type != "cuda")
    if card.settings is None:
        raise BadConfig(_nothing_fits(simulation, options, min(limits), shared=device.type != "cuda"))
    print(f"plaudit: {_line(chosen.model, simulation, card, options)}", file=sys.stderr)
    return Fit(device=device, settings=card.settings, batch_size=card.batch_size, peak=card.peak)


def unplanned_precision(chosen: "Chosen", device: "torch.device") -> "torch.dtype | None":
    """The precision of a model that draws token by token, whose memory is not planned; of others None, the loader's.

    Pocket models are the same on every device.
    """
    from plaudit.generators.memory import precision_on
    from plaudit.generators.memory_settings import MemorySettings
    from plaudit.generators.table import draws_tokens

    if not draws_tokens(chosen.model) or _is_embedded(chosen.model):
        return None
    return precision_on(device, MemorySettings())


def _simulation(options: DrawingOptions, chosen: "Chosen", device: "torch.device") -> "Simulation | None":
    """The run without weights; None for a model that whoever loads it will refuse."""
    from plaudit.core.hub import HubFiles, hub_folder
    from plaudit.generators.memory import precision_on
    from plaudit.generators.memory_settings import MemorySettings
    from plaudit.generators.memory_simulation import Simulation
    from plaudit.generators.table import GENERATORS

    model, rewards = chosen.model, [*options.reward, *([options.held_out] if options.held_out else [])]
    # A pocket model is the same on every device.
    dtype: Any = "float32" if _is_embedded(model) else str(precision_on(device, MemorySettings()))[len("torch.") :]
    try:
        if GENERATORS.row_of(model) is None and not Path(model).expanduser().is_dir():
            # Its sizes are in its configs, which loading would fetch anyway.
            model = str(hub_folder(HubFiles(hub_id=model)))
        return Simulation(model, rewards, dtype, steps=chosen.steps)
    except PlauditError:
        return None


def _is_embedded(model: str) -> bool:
    """Whether it is a pocket model, which fits everything."""
    from plaudit.generators.table import GENERATORS
    from plaudit.pocket.folders import POCKET_MODELS

    row = GENERATORS.row_of(model)
    return row is not None and row.name in POCKET_MODELS


def _chosen(
    simulation: "Simulation", options: DrawingOptions, gigabytes: float, *, images: int | None, shared: bool
) -> "CardPlan":
    from plaudit.generators.memory_plan import card_plan

    wanted = max(1, min(options.batch_size, images or options.batch_size))
    found = card_plan(simulation, gigabytes, wanted=wanted, gradient=follows_gradient(options), shared=shared)
    if found.settings is None or found.batch_size < wanted:
        return found
    # More images at once than are planned for are never drawn, and the batch that was asked for stays.
    return replace(found, batch_size=options.batch_size)


def follows_gradient(options: DrawingOptions) -> bool:
    """Whether pictures are optimised by their gradient, and not only drawn."""
    return options.method in (None, "reno") and options.steps > 1


def _line(model: str, simulation: "Simulation", card: "CardPlan", options: DrawingOptions) -> str:
    settings = card.settings
    assert settings is not None
    images = "1 image" if card.batch_size == 1 else f"{card.batch_size} images"
    fewer = f", {images} at once in place of {options.batch_size}"
    without = [reward.name for reward in simulation.rewards if reward.kind in ("not counted", "weights alone")]
    return (
        f"{model} in {simulation.dtype} will use at most {in_gigabytes(card.peak)} of {card.gigabytes:.2f} GB "
        f"({in_words(settings)}{fewer if card.batch_size < options.batch_size else ''})"
        + (f"; what {' and '.join(without)} will use comes on top" if without else "")
    )


def _nothing_fits(simulation: "Simulation", options: DrawingOptions, gigabytes: float, *, shared: bool) -> str:
    from plaudit.generators.memory_plan import least_gigabytes

    least = least_gigabytes(simulation, gradient=follows_gradient(options), shared=shared)
    there = "--memory gives it" if options.memory == gigabytes else "this GPU has"
    return (
        f"{options.model} with its rewards needs {least:.2f} GB of memory even with all that saves some, and {there} "
        f"{gigabytes:.2f} GB; choose a smaller model, fewer rewards, or --device cpu"
    )
