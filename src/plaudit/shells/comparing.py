"""Draws the systems of a comparison: loads each one's model, measures what it costs, keeps pictures as they come."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.shells.entrants import Entrant, without_reward
from plaudit.shells.options import DrawingOptions, decisive

if TYPE_CHECKING:
    import torch

    from plaudit.generators.generator import NoiseGenerator
    from plaudit.methods.records import Step
    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward
    from plaudit.runs.comparison import Cost, EntrantFolder
    from plaudit.shells.fitting import Fit
    from plaudit.suites.comparison_cost import Bidder, Metered, Pace
    from plaudit.suites.suite import Suite

SHORT = {"reno": 4, "best-of-n": 4, "evolve": 17, "none": 1}
"""pictures for each image in a calibration, by method"""


@dataclass(kw_only=True)
class Bench:
    """What all systems of a comparison share, and the model that is loaded at the moment."""

    suite: "Suite"
    board: bool
    """whether the suite knows no right and wrong, only rewards"""
    rewards: "WeightedSum"
    """with their weights: what methods follow"""
    specs: dict[str, str]
    """as they were named, by the names that they have in the sum"""
    held_out: "dict[str, Reward]"
    sources: dict[str, Any]
    """what each reward is, by its name"""
    device: "torch.device"
    images_per_prompt: int
    seed: int
    batch_size: int
    memory: float | None = None
    _loaded: "tuple[tuple[Any, ...], NoiseGenerator, dict[str, Any], Fit | None] | None" = field(
        default=None, repr=False
    )

    def options_for(self, entrant: Entrant, steps: int) -> DrawingOptions:
        """What `plaudit generate` would be told for the system, spelled out."""
        from plaudit.shells.drawing import spell_out

        reward = tuple(self.specs[name] for name in entrant.followed(list(self.specs)))
        options = DrawingOptions(
            model=entrant.model, method=entrant.method, sampling_steps=entrant.sampling_steps, seed=self.seed,
            reward=reward, steps=steps, batch_size=self.batch_size, memory=self.memory, device=str(self.device),
        )  # fmt: skip
        # Spelling out names the usual rewards where there are none; where nothing is followed none decides anything.
        return replace(spell_out(options), reward=reward)

    def model_for(
        self, entrant: Entrant, options: DrawingOptions
    ) -> "tuple[NoiseGenerator, dict[str, Any], Fit | None]":
        """The generator, where it comes from, and how it fits; the last one if it is the same."""
        from plaudit.shells.drawing import check_model, chosen_model, load_model
        from plaudit.shells.fitting import fit_memory, follows_gradient

        # What fits is planned for what is followed, and how.
        fitted = self.device.type != "cpu" or self.memory is not None
        planned = (follows_gradient(options), options.reward) if fitted else None
        key = (entrant.model, entrant.sampling_steps, planned)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next is loaded, so that two are never there at once
            check_model(options)
            fit = fit_memory(options, chosen_model(options), self.device, rewards_there=True)
            self._loaded = (key, *load_model(options, self.device, fit), fit)
        return self._loaded[1:]

    def all_rewards(self) -> "dict[str, Reward]":
        """Every reward that scores the pictures, by its name, raw."""
        return {name: reward for name, (_, reward) in self.rewards.raw_parts().items()} | self.held_out


def bidders_of(
    bench: Bench, entrants: Sequence[Entrant], *, equal: str, steps: int, rows: Sequence[int]
) -> "list[Bidder]":  # fmt: skip
    """Systems of one model with their paces, in seconds or forwards, measured on what would be drawn at once.

    Raises BadConfig for forwards of a model whose networks' passes cannot be counted.
    """
    from plaudit.suites.comparison_cost import LEAST_STEPS, Bidder

    paces = _seconds(bench, entrants, rows) if equal == "time" else [_forwards(bench, one) for one in entrants]
    return [
        Bidder(
            name=one.name, pace=pace, steps=one.steps or (1 if one.method == "none" else steps),
            kept=one.steps is not None, least=LEAST_STEPS.get(one.method, 1),
        )
        for one, pace in zip(entrants, paces, strict=True)
    ]  # fmt: skip


def draw_entrant(
    bench: Bench, entrant: Entrant, folder: "EntrantFolder", steps: int, rows: Sequence[int],
    seen: Callable[[int, float | None], None],
) -> None:  # fmt: skip
    """Draw those of the rows that the folder lacks; `seen` is told how many are there, and the share that is right."""
    from plaudit.methods.rows import prompts_of
    from plaudit.suites.run import draw_and_judge

    there = {one.row for one in folder.judged(rows)}
    left = [row for row in rows if row not in there]
    if not left:
        return
    options = bench.options_for(entrant, steps)
    generator, _, fit = bench.model_for(entrant, options)
    metered = _metered(bench, entrant, generator)
    # What reads the prompts again, the same ones, finds them read: it is no part of a picture's cost.
    metered.encode(prompts_of(left, bench.suite.texts(), bench.images_per_prompt))
    readings = _Readings(metered)
    batches = draw_and_judge(
        bench.suite, metered, left,
        draw=lambda texts, only: readings.watch(_start(bench, entrant, metered, _fitted(options, fit), texts, only)),
        images_per_prompt=bench.images_per_prompt, seed=bench.seed,
    )  # fmt: skip
    for number, (judged, images) in enumerate(batches):
        folder.keep(judged, images, readings.of_batch(number, len(judged)))
        done = folder.judged(rows)
        known = [bool(one.right) for one in done if one.right is not None]
        seen(len(done), sum(known) / len(known) if known else None)


class _Readings:
    """What each batch took. One is handed over when the next has begun, whose first step is not its own."""

    def __init__(self, metered: "Metered") -> None:
        from plaudit.suites.comparison_cost import Stopwatch

        self._metered, self._stopwatch = metered, Stopwatch()
        self._begun: list[Cost] = []

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """The same steps; the meters are read before each batch."""
        before = self._now()
        for step in self._stopwatch.watch(steps):
            if step.index == 0:
                self._begun.append(before)
            before = self._now()
            yield step

    def of_batch(self, number: int, images: int) -> "Cost":
        """What the batch of that number took, which kept so many images."""
        end = self._begun[number + 1] if number + 1 < len(self._begun) else self._now()
        return replace(end.less(self._begun[number]), images=images)

    def _now(self) -> "Cost":
        from plaudit.runs.comparison import Cost

        meters = self._metered
        return Cost(pictures=meters.pictures, seconds=self._stopwatch.seconds, forwards=meters.forwards)


def settings_for(bench: Bench, entrant: Entrant, steps: int) -> dict[str, Any]:
    """What decides a system's pictures, with all that was loaded for it."""
    options = bench.options_for(entrant, steps)
    _, source, _ = bench.model_for(entrant, options)
    followed = {name: bench.sources[name] for name in entrant.followed(list(bench.rewards.parts))}
    weights = {name: weight for name, (weight, _) in bench.rewards.parts.items()}
    return {
        "suite": bench.suite.name, "images_per_prompt": bench.images_per_prompt, **decisive(options),
        "sources": {
            "model": source, "rewards": [{"weight": weights[name], **it} for name, it in followed.items()],
            "held_out": None, **({"suite": dict(bench.suite.sources)} if bench.suite.sources else {}),
        },
    }  # fmt: skip


def _fitted(options: DrawingOptions, fit: "Fit | None") -> DrawingOptions:
    return options if fit is None else replace(options, batch_size=fit.batch_size)


def _metered(bench: Bench, entrant: Entrant, generator: "NoiseGenerator") -> "Metered":
    from plaudit.suites.comparison_cost import Metered

    return Metered(generator, rewards=len(entrant.followed(list(bench.rewards.parts))))


def _start(
    bench: Bench, entrant: Entrant, generator: Any, options: DrawingOptions, texts: Sequence[str],
    only: Sequence[int] | None,
) -> "Iterator[Step]":  # fmt: skip
    """The system at work, a record a step."""
    from plaudit.shells.drawing import Workshop, start

    reward = _nothing_is_followed() if entrant.method == "none" else without_reward(bench.rewards, entrant.without)
    shop = Workshop(generator=generator, reward=reward, held_out=None, options=options, sources={})
    return start(shop, texts, images_per_prompt=bench.images_per_prompt, rows=only)


def _nothing_is_followed() -> "WeightedSum":
    """A sum that asks nobody: pictures are taken as they come."""
    from plaudit.rewards.mix import WeightedSum

    return WeightedSum({"nothing": (1.0, _Nothing())})


class _Nothing:
    """The same for every picture."""

    differentiable = True

    def __call__(self, images: "torch.Tensor", prompts: Sequence[str]) -> "torch.Tensor":
        return images.new_zeros(len(prompts))


def warm_up(bench: Bench, entrant: Entrant, rows: Sequence[int]) -> None:
    """The system at work once, unmeasured: what is set up once is set up, and what cannot work says so."""
    _measured(bench, entrant, rows)


def _seconds(bench: Bench, entrants: Sequence[Entrant], rows: Sequence[int]) -> "list[Pace]":
    """Medians over rounds, the systems in turn, so that another program on the machine slows all of them."""
    from plaudit.suites.comparison_cost import ROUNDS, median_pace

    rounds = [[_measured(bench, entrant, rows) for entrant in entrants] for _ in range(ROUNDS)]
    paces = [median_pace([one[place] for one in rounds]) for place in range(len(entrants))]
    for entrant, pace in zip(entrants, paces, strict=True):
        print(f"plaudit: {entrant.name}: {_in_words(pace, entrant.method)}", file=sys.stderr)
    return paces


def _measured(bench: Bench, entrant: Entrant, rows: Sequence[int]) -> "Pace":
    from plaudit.methods.rows import prompts_of
    from plaudit.suites.comparison_cost import pace_of

    options = bench.options_for(entrant, SHORT[entrant.method])
    generator, _, fit = bench.model_for(entrant, options)
    options = _fitted(options, fit)
    metered = _metered(bench, entrant, generator)
    texts, batch = bench.suite.texts(), list(rows)[: options.batch_size]
    metered.encode(prompts_of(batch, texts, bench.images_per_prompt))
    return pace_of(
        lambda: _start(bench, entrant, metered, options, texts, batch), searches=_search(entrant), clock=time.monotonic
    )


def _search(entrant: Entrant) -> Any:
    """The method as the cost knows it: None for one that only draws."""
    return None if entrant.method == "none" else entrant.method


def _forwards(bench: Bench, entrant: Entrant) -> "Pace":
    import torch

    from plaudit.suites.comparison_cost import Metered, forwards_pace

    options = bench.options_for(entrant, SHORT[entrant.method])
    generator, _, _ = bench.model_for(entrant, options)
    metered = Metered(generator)
    with torch.no_grad():
        metered.sample(
            torch.zeros(1, *metered.noise_shape, device=metered.device), metered.encode(bench.suite.texts()[:1])
        )
    if metered.forwards is None:
        raise BadConfig(
            f"the passes of {entrant.model!r}, which draws token by token, cannot be held against those of a denoiser; "
            "take --equal time"
        )
    followed = len(entrant.followed(list(bench.rewards.parts)))
    return forwards_pace(metered.forwards, rewards=followed, searches=_search(entrant))


def _in_words(pace: "Pace", method: str) -> str:
    if method == "none":
        return f"{pace.base:.3g} s an image"
    what = {"reno": "a step", "best-of-n": "a picture", "evolve": f"a generation of {pace.pictures}"}[method]
    return f"{pace.step:.3g} s {what}"
