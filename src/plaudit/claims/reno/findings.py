"""From finished cells to the tables that say what they found about ReNO.

Pure functions of the cells; nothing here computes an image. Accuracy is the mean over the tasks' accuracies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaudit.claims.reno.cells import Bench, Cell, CellResult, Outcome, Variant
from plaudit.claims.reno.plan import (
    Plan,
    best_of,
    equal_time_step,
    hacking,
    left_out,
    main_prompts,
    reno,
    side_prompts,
)
from plaudit.suites.statistics import bootstrap_mean, paired_difference, share, win_share

Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """All outcomes of a plan, to be asked by variant, prompt and seed."""

    plan: Plan
    bench: Bench
    outcomes: Mapping[tuple[str, int, int], Outcome]
    """by variant's name, prompt, seed"""
    seconds: Mapping[str, float]
    """spent searching per image, by variant's name"""
    total_seconds: float

    def values(self, variant: Variant, prompts: Sequence[int], value: Callable[[Outcome], float]) -> Array:
        """(prompts, seeds) of one number per image."""
        return np.array(
            [[value(self.outcomes[variant.name, p, s]) for s in self.plan.seeds] for p in prompts],
            dtype=np.float64,
        )

    def right(self, variant: Variant, prompts: Sequence[int], checkpoint: int) -> Array:
        """(prompts, seeds) of 0 and 1: the judge's word on the best image at that step."""
        place = variant.checkpoints.index(checkpoint)
        return self.values(variant, prompts, lambda outcome: float(outcome.right[place]))

    def tasks(self, prompts: Sequence[int]) -> list[str]:
        """Each prompt's task."""
        return [self.bench.suite.prompts[p].request.task for p in prompts]

    def total(self, variant: Variant, prompts: Sequence[int], which: str) -> Array:
        """(prompts, seeds) of the sum that the variant optimises, "before" or "after"."""
        weights = {name: self.bench.rewards.parts[name][0] for name in variant.rewards}
        return self.values(variant, prompts, lambda o: sum(w * getattr(o, which)[name] for name, w in weights.items()))


def found_in(plan: Plan, bench: Bench, results: Mapping[Cell, CellResult]) -> Found:
    """The cells' outcomes by variant, prompt and seed."""
    outcomes = {
        (cell.variant.name, outcome.prompt, cell.seed): outcome
        for cell, result in results.items()
        for outcome in result.outcomes
    }
    names = {cell.variant.name for cell in results}
    seconds = {}
    for name in names:
        own = [(result, len(cell.prompts)) for cell, result in results.items() if cell.variant.name == name]
        seconds[name] = sum(r.search_seconds for r, _ in own) / sum(count for _, count in own)
    total = sum(result.seconds for result in results.values())
    return Found(plan=plan, bench=bench, outcomes=outcomes, seconds=seconds, total_seconds=total)


def tables(found: Found) -> dict[str, Any]:
    """What stands behind the claims."""
    return {
        "tasks": task_table(found),
        "time": time_table(found),
        "curves": curves(found),
        "left_out": left_out_table(found),
        "hacking": hacking_table(found) if found.plan.ablations else [],
    }


def task_table(found: Found) -> list[Row]:
    """Accuracy per task, and on seen and unseen combinations: at first, best of n, ReNO."""
    prompts = main_prompts(found.plan, found.bench.suite)
    all_prompts = found.bench.suite.prompts
    tasks = found.tasks(prompts)
    groups = {
        task: [p for p in prompts if all_prompts[p].request.task == task] for task in dict.fromkeys(sorted(tasks))
    }
    compared = {all_prompts[p].request.task for p in prompts if all_prompts[p].unseen}
    in_compared = [p for p in prompts if all_prompts[p].request.task in compared]
    groups["seen combinations"] = [p for p in in_compared if not all_prompts[p].unseen]
    groups["unseen combinations"] = [p for p in in_compared if all_prompts[p].unseen]
    usual, luck = reno(found.plan, found.bench), best_of(found.plan, found.bench)
    rows = []
    for name, group in groups.items():
        if group:
            before, after = (found.right(usual, group, step) for step in (0, usual.checkpoints[-1]))
            rows.append(
                {
                    "group": name,
                    "prompts": len(group),
                    "first": asdict(share(before)),
                    "best_of_n": asdict(share(found.right(luck, group, equal_time_step(found.plan)))),
                    "reno": asdict(share(after)),
                    "rise": asdict(paired_difference(after, before)),
                }
            )
    return rows


def time_table(found: Found) -> Row:
    """Seconds per image, as the cells took them."""
    return {
        "trials": found.plan.trials,
        "steps": found.plan.steps,
        "reno_seconds": found.seconds["reno"],
        "best_of_n_seconds": found.seconds["best-of-n"],
    }


def curves(found: Found) -> list[Row]:
    """Accuracy of the best image so far after so many updates (or noises), per variant."""
    plan, bench = found.plan, found.bench
    main, side = main_prompts(plan, bench.suite), side_prompts(plan, bench.suite)
    usual = reno(plan, bench)
    wanted = [(usual, "main", main), (best_of(plan, bench), "main", main), (usual, "side", side)]
    wanted += [(variant, "side", side) for variant in hacking(plan, bench).values()]
    return [
        {
            "variant": variant.name,
            "prompts": where,
            "steps": list(variant.checkpoints),
            "accuracy": [
                asdict(bootstrap_mean(found.right(variant, prompts, step), strata=found.tasks(prompts)))
                for step in variant.checkpoints
            ],
        }
        for variant, where, prompts in wanted
    ]


def left_out_table(found: Found) -> list[Row]:
    """For each reward left out: how many images improve under it, by how much, and the accuracy's rise."""
    side = side_prompts(found.plan, found.bench.suite)
    rows = []
    for name, variant in left_out(found.plan, found.bench).items():
        before, after = scores_of(found, variant, side, name)
        first, last = (found.right(variant, side, step) for step in (0, variant.checkpoints[-1]))
        rows.append(
            {
                "reward": name,
                "improved": asdict(win_share(after, before)),
                "before": float(before.mean()),
                "after": float(after.mean()),
                "accuracy_rise": asdict(paired_difference(last, first, strata=found.tasks(side))),
            }
        )
    return rows


def hacking_table(found: Found) -> list[Row]:
    """For each variant: what it gained under its own rewards and under all, and what the judge says."""
    plan, bench = found.plan, found.bench
    side = side_prompts(plan, bench.suite)
    usual = reno(plan, bench)
    every = {"reno": usual, **hacking(plan, bench)}
    rows = []
    for name, variant in every.items():
        first, last = (found.right(variant, side, step) for step in (0, variant.checkpoints[-1]))
        # The sum over all rewards, whichever of them were optimised.
        whole = replace(variant, rewards=usual.rewards)
        rows.append(
            {
                "variant": name,
                "first": asdict(bootstrap_mean(first, strata=found.tasks(side))),
                "accuracy": asdict(bootstrap_mean(last, strata=found.tasks(side))),
                "accuracy_rise": asdict(paired_difference(last, first, strata=found.tasks(side))),
                "own_rise": _rise(found, variant, side),
                "all_rise": _rise(found, whole, side),
                "deviation": float(found.values(variant, side, lambda o: o.deviation).mean()),
                "last_deviation": float(found.values(variant, side, lambda o: o.last_deviation).mean()),
                "skipped": int(found.values(variant, side, lambda o: float(o.skipped)).sum()),
            }
        )
    return rows


def scores_of(found: Found, variant: Variant, prompts: Sequence[int], reward: str) -> tuple[Array, Array]:
    """(prompts, seeds) of one reward's raw scores: of the first images, and of the best."""
    before = found.values(variant, prompts, lambda outcome: outcome.before[reward])
    after = found.values(variant, prompts, lambda outcome: outcome.after[reward])
    return before, after


def _rise(found: Found, variant: Variant, prompts: Sequence[int]) -> float:
    """How far the sum rose, in standard deviations of the first images' sums: comparable between sums."""
    before, after = (found.total(variant, prompts, which) for which in ("before", "after"))
    spread = float(before.std())
    return float((after - before).mean()) / spread if spread > 0 else 0.0
