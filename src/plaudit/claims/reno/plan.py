"""What the reproduction of ReNO computes: which variants, on which prompts, with which seeds.

The main comparison (ReNO, best-of-n) runs on `main_prompts`; the ablations on the first `side_prompts` of them,
with ReNO's own cells there as their reference. Every chunk of prompts is spread over the tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from plaudit.claims.reno.cells import Bench, Cell, Variant
from plaudit.core.errors import BadConfig
from plaudit.suites.pocket_eval import PocketSuite

CHECKPOINTS = (0, 1, 2, 5, 10, 20, 30)
"""steps at which the best image so far is judged, besides the last"""

GOLDEN = 0.6180339887498949
"""multiples of it, modulo 1, spread evenly, however many are taken"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the experiment."""

    steps: int = 50
    """looks of ReNO at an image; the noise changes between them"""
    seeds: tuple[int, ...] = (0, 1, 2)
    main_prompts: int = 160
    side_prompts: int = 48
    chunk: int = 16
    """prompts of a cell, drawn as one batch"""
    trials: int | None = None
    """noises that best-of-n tries in the time ReNO takes; None: to be measured"""
    ablations: bool = True
    """one reward only, no penalty, ten times the step"""
    quick: bool = False

    def __post_init__(self) -> None:
        if self.side_prompts > self.main_prompts:
            raise BadConfig(f"ablations on {self.side_prompts} prompts need as many main ones, got {self.main_prompts}")
        if min(self.steps - 1, self.side_prompts, self.chunk, len(self.seeds)) < 1:
            raise BadConfig("a plan needs at least 2 steps, a prompt, a chunk of one and a seed")


def full() -> Plan:
    """Decides the claims; under an hour on two cores."""
    return Plan()


def quick() -> Plan:
    """A look in three minutes: one seed, few prompts, fewer steps; its intervals decide nothing."""
    return Plan(steps=30, seeds=(0,), main_prompts=16, side_prompts=8, chunk=8, quick=True)


def second(plan: Plan) -> Plan:
    """For another model: the claims that are about the model, on fewer prompts."""
    if plan.quick:
        return replace(plan, main_prompts=8, side_prompts=8, ablations=False)
    return replace(plan, main_prompts=96, side_prompts=32, ablations=False)


def main_prompts(plan: Plan, suite: PocketSuite) -> tuple[int, ...]:
    """Places in the suite, spread over its tasks; so is every stretch of them."""
    chosen = suite.spread(min(plan.main_prompts, len(suite.prompts)))
    order = sorted(range(len(chosen)), key=lambda place: place * GOLDEN % 1)
    return tuple(chosen[place] for place in order)


def side_prompts(plan: Plan, suite: PocketSuite) -> tuple[int, ...]:
    """Those of the ablations: the first of the main ones."""
    return main_prompts(plan, suite)[: plan.side_prompts]


def reno(plan: Plan, bench: Bench) -> Variant:
    """The method as published, with all rewards."""
    looks = plan.steps
    checkpoints = (*(step for step in CHECKPOINTS if step < looks - 1), looks - 1)
    return Variant(name="reno", rewards=tuple(bench.rewards.parts), looks=looks, checkpoints=checkpoints)


def best_of(plan: Plan, bench: Bench) -> Variant:
    """Best of n noises: judged after as many forwards as ReNO's, and after as much time."""
    ends = sorted({0, equal_forwards_step(plan), equal_time_step(plan)})
    return Variant(
        name="best-of-n",
        method="best-of-n",
        rewards=tuple(bench.rewards.parts),
        looks=ends[-1] + 1,
        checkpoints=tuple(ends),
    )


def equal_time_step(plan: Plan) -> int:
    """The step of best-of-n that ends ReNO's time."""
    assert plan.trials is not None, "how many noises fit into ReNO's time is measured first"
    return plan.trials - 1


def equal_forwards_step(plan: Plan) -> int:
    """The step of best-of-n that draws the last of as many images as ReNO does."""
    return plan.steps - 1


def left_out(plan: Plan, bench: Bench) -> dict[str, Variant]:
    """By reward: ReNO without it."""
    names = tuple(bench.rewards.parts)
    return {
        out: replace(reno(plan, bench), name=f"without-{out}", rewards=tuple(n for n in names if n != out))
        for out in names
    }


def hacking(plan: Plan, bench: Bench) -> dict[str, Variant]:
    """By name: ReNO with one reward only, without the penalty, and with ten times the step; if the plan has them."""
    if not plan.ablations:
        return {}
    usual = reno(plan, bench)
    variants = [replace(usual, name=f"only-{name}", rewards=(name,)) for name in bench.rewards.parts]
    variants.append(replace(usual, name="no-penalty", prior_weight=0.0))
    variants.append(replace(usual, name="big-step", lr_factor=10.0))
    return {variant.name: variant for variant in variants}


def cells(variant: Variant, plan: Plan, prompts: tuple[int, ...]) -> Iterator[Cell]:
    """Those of a variant on the prompts, all seeds."""
    for seed in plan.seeds:
        for start in range(0, len(prompts), plan.chunk):
            yield Cell(variant=variant, seed=seed, prompts=prompts[start : start + plan.chunk])


def all_cells(plan: Plan, bench: Bench) -> list[Cell]:
    """Everything there is to compute, what the claims share only once, the main comparison first."""
    main, side = main_prompts(plan, bench.suite), side_prompts(plan, bench.suite)
    found = [*cells(reno(plan, bench), plan, main), *cells(best_of(plan, bench), plan, main)]
    for variant in (*left_out(plan, bench).values(), *hacking(plan, bench).values()):
        found += cells(variant, plan, side)
    return found


def looks_with_cost(cell: Cell) -> float:
    """How much work a cell is, in forwards of one model on one image; a backward costs as much as two."""
    models = 1 + len(cell.variant.rewards)
    return cell.variant.looks * len(cell.prompts) * models * (3.0 if cell.variant.method == "reno" else 1.0)
