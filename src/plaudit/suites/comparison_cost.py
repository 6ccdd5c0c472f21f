"""What drawing costs, measured, and how many steps of a method the same cost pays for.

Two currencies. Seconds are a machine's own. Forwards are passes of one picture through one network: the generator's
denoiser, as often as it is asked for a picture (twice a step where guidance needs it), and every reward that a method
follows; a backward through them counts as two more. A model that draws token by token has no denoiser to count.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.decoding import LatentGenerator
from plaudit.generators.generator import Condition, NoiseGenerator
from plaudit.methods.records import Step

BACKWARD = 2
"""forwards that a backward costs as much as"""
ROUNDS = 3
"""of timing, after one that is thrown away, as the first waits for what is set up once"""
POPULATION = 8
"""candidates in a generation of evolution, as SearchConfig has them"""
LEAST_STEPS = {"reno": 2, "best-of-n": 1, "evolve": 1 + POPULATION}
"""pictures at least, by method: below, it is another method"""

SearchName = Literal["reno", "best-of-n", "evolve"]


class Metered:
    """A generator that counts what is asked of it, and remembers the last prompts that it read.

    So reading the prompts, all that are drawn, is no part of a picture's cost.
    """

    def __init__(self, generator: NoiseGenerator, *, rewards: int = 0) -> None:
        """`rewards`: how many networks judge every picture that is drawn; 0 where nothing is followed."""
        self._generator, self._rewards = generator, rewards
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self._prompts: tuple[str, ...] = ()
        self._condition: Condition | None = None
        self._network = generator.denoiser if isinstance(generator, LatentGenerator) else None
        self._passes = 0
        self.pictures = 0
        """drawn, whether kept or not"""
        self.forwards: int | None = 0 if self._network is not None else None
        """of networks, backwards among them; None where there is no denoiser"""

    def encode(self, prompts: Sequence[str]) -> Condition:
        """As the generator does, once for the same prompts in a row."""
        if self._condition is None or tuple(prompts) != self._prompts:
            self._prompts, self._condition = tuple(prompts), self._generator.encode(prompts)
        return self._condition

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """As the generator does."""
        self.pictures += len(noise)
        if self._network is None:
            return self._generator.sample(noise, condition)
        self._passes = 0
        hook = self._network.register_forward_pre_hook(self._count, with_kwargs=True)
        try:
            images = self._generator.sample(noise, condition)
        finally:
            hook.remove()
        # A method that wants gradients of the noise takes them: it goes back through everything once.
        share = 1 + BACKWARD * (torch.is_grad_enabled() and noise.requires_grad)
        assert self.forwards is not None
        self.forwards += share * (self._passes + self._rewards * len(noise))
        return images

    def _count(self, network: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = next(one for one in (*arguments, *named.values()) if isinstance(one, Tensor) and one.dim() > 0)
        self._passes += len(given)


class Stopwatch:
    """Time that steps took to make, without what their watcher does in between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seconds = 0.0

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The same steps. A GPU is waited for: its work on a step belongs to that step."""
        while True:
            started = self._clock()
            step = next(steps, None)
            if step is not None:
                step.images.flatten()[:1].cpu()
            self.seconds += self._clock() - started
            if step is None:
                return
            yield step


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What an image costs as a function of a method's steps, in seconds or in forwards."""

    base: float
    """the step that is there in any case"""
    step: float
    """each further one; 0 where nothing is searched, and steps mean nothing"""
    pictures: int = 1
    """that a further step draws"""

    def cost(self, pictures: int) -> float:
        """Of an image for which so many pictures are drawn."""
        return self.base + self.step * ((pictures - 1) // self.pictures)

    def pictures_for(self, budget: float, *, least: int = 1) -> int:
        """How many pictures come nearest to the budget, `least` at least."""
        if self.step <= 0:
            return 1
        return max(least, 1 + self.pictures * max(0, round((budget - self.base) / self.step)))


def pace_of(draw: Callable[[], Iterator[Step]], *, searches: SearchName | None, clock: Callable[[], float]) -> Pace:
    """A method's pace in seconds per image, from one short run of one batch that `draw` starts.

    Noise optimisation's last step has no backward, so that it is the one that is there in any case; of the others it is
    the first.
    """
    watch = Stopwatch(clock)
    spent, images = [0.0], 1
    for step in watch.watch(draw()):
        spent.append(watch.seconds)
        images = len(step.rows) if step.index == 0 else images
    took = [(after - before) / images for before, after in itertools.pairwise(spent)]
    if searches is None:
        return Pace(base=took[0], step=0.0)
    last = searches == "reno"
    # The first step of a run also waits for what the run sets up: of two or more, it is not what a further one costs.
    further = took[1:-1] if last and len(took) > 2 else took[:-1] if last else took[1:]
    if not further:
        raise BadConfig("a method's pace is that of its second step and those after it, and there was only one step")
    return Pace(
        base=took[-1] if last else took[0], step=statistics.median(further),
        pictures=POPULATION if searches == "evolve" else 1,
    )  # fmt: skip


def median_pace(paces: Sequence[Pace]) -> Pace:
    """The middle one of several measurements of one method, base and step apart."""
    return Pace(
        base=statistics.median(pace.base for pace in paces), step=statistics.median(pace.step for pace in paces),
        pictures=paces[0].pictures,
    )  # fmt: skip


def forwards_pace(passes: int, *, rewards: int, searches: SearchName | None) -> Pace:
    """The same in forwards, by counting: `passes` of the denoiser for a picture, and `rewards` that judge it."""
    if searches is None:
        return Pace(base=passes, step=0.0)
    look = passes + rewards
    if searches == "reno":
        return Pace(base=look, step=(1 + BACKWARD) * look)
    population = POPULATION if searches == "evolve" else 1
    return Pace(base=look, step=look * population, pictures=population)


@dataclass(frozen=True, kw_only=True)
class Bidder:
    """A system that is to get by with a budget."""

    name: str
    pace: Pace
    steps: int
    """pictures that it would draw for an image by itself"""
    kept: bool = False
    """whether those are said, and stay"""
    least: int = 1


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many pictures a system draws for each image, so that all cost the same."""

    name: str
    steps: int
    planned: float
    """what that costs, by its pace"""


@dataclass(frozen=True, kw_only=True)
class EqualCost:
    """A plan in which all systems cost the same, as nearly as whole steps allow."""

    budget: float
    reference: str
    """whose cost it is"""
    shares: tuple[Share, ...]


def equal_cost(bidders: Sequence[Bidder], *, budget: float | None = None, reference: str = "") -> EqualCost:
    """How many pictures each draws: the budget is the cost of the first that said its steps, or else of the dearest.

    A budget that is there already, with the name of whose it is, stays. One that only draws costs what it costs.
    Raises BadConfig if there is nobody.
    """
    if not bidders:
        raise BadConfig("there is no system whose cost could be equal to another's")
    if budget is None:
        costs = {one.name: one.pace.cost(one.steps) for one in bidders}
        said = next((one.name for one in bidders if one.kept), None)
        reference = said or max(costs, key=lambda name: costs[name])
        budget = costs[reference]
    shares = []
    for one in bidders:
        fixed = one.kept or one.name == reference or one.pace.step <= 0
        steps = one.steps if fixed else one.pace.pictures_for(budget, least=one.least)
        shares.append(Share(name=one.name, steps=steps, planned=one.pace.cost(steps)))
    return EqualCost(budget=budget, reference=reference, shares=tuple(shares))
