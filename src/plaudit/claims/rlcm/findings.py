"""From finished trainings to the tables that say what they found about RLCM.

Pure functions of the results; nothing here computes an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaudit.claims.rlcm.plan import ABLATED, TASKS, Plan, Training
from plaudit.suites.statistics import bootstrap_mean, paired_difference

Array = NDArray[np.float64]
Result = Mapping[str, Any]
SMOOTHED = 3
"""updates over which a curve's reward is averaged before it is read"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """All results of a plan, to be asked by training and seed."""

    plan: Plan
    results: Mapping[tuple[str, int], Result]

    def each(self, name: str) -> list[Result]:
        """The training's results, by seed; the long ones have one."""
        return [self.results[name, seed] for seed in self.plan.seeds if (name, seed) in self.results]

    def scores(self, name: str, update: int, *, held_out: bool = False) -> Array:
        """(prompts, seeds) of the trained or the held-out reward at the look after so many updates."""
        which = "held_out" if held_out else "trained"
        found = [result["looks"][str(update)]["rewards"][result["rewards"][which]] for result in self.each(name)]
        return np.array(found, dtype=np.float64).T

    def right(self, name: str, update: int, where: str = "right") -> Array:
        """(prompts, seeds) of the judge's word on the task's prompts, or on the "general" ones."""
        return np.array([result["looks"][str(update)][where] for result in self.each(name)], dtype=np.float64).T

    def spread(self, name: str) -> float:
        """The standard deviation of the trained reward before training, 1 if all scores are the same."""
        return float(self.scores(name, 0).std()) or 1.0

    def last(self, name: str) -> int:
        """How many updates the training had."""
        return int(self.each(name)[0]["training"]["updates"])

    def seconds_per_update(self, name: str) -> float:
        """Mean over the training's updates and seeds."""
        return float(np.mean([np.mean(result["curve"]["seconds"]) for result in self.each(name)]))


def found_in(plan: Plan, results: Mapping[Training, Result]) -> Found:
    """The results by training's name and seed."""
    return Found(plan=plan, results={(it.name, it.seed): result for it, result in results.items()})


def time_ratio(diffusion: Result, consistency: Result) -> float:
    """DDPO's training time over the time in which RLCM has both DDPO's last reward and DDPO's gain; 0 if never.

    Rewards are running means over updates, as long as they are there.
    """
    theirs, own = smoothed(diffusion["curve"]["reward"]), smoothed(consistency["curve"]["reward"])
    wanted = max(theirs[-1], own[0] + theirs[-1] - theirs[0])
    reached = np.nonzero(own >= wanted)[0]
    if len(reached) == 0:
        return 0.0
    return float(sum(diffusion["curve"]["seconds"]) / sum(consistency["curve"]["seconds"][: reached[0] + 1]))


def smoothed(values: Sequence[float]) -> Array:
    """Each value averaged with up to two before it."""
    array = np.array(values, dtype=np.float64)
    return np.array([array[max(0, end - SMOOTHED) : end].mean() for end in range(1, len(array) + 1)])


def tables(found: Found) -> dict[str, Any]:
    """What stands behind the claims."""
    return {
        "tasks": [task_row(found, task) for task in TASKS],
        "curves": curves(found),
        "steps": step_rows(found),
        "horizons": horizon_rows(found),
        "long": long_rows(found),
    }


def task_row(found: Found, task: str) -> dict[str, Any]:
    """Start and end of both methods, at DDPO's number of queries and at the end; and what they took."""
    plan = found.plan
    row: dict[str, Any] = {"task": task, "queries": plan.diffusion_updates * plan.prompts_per_update * 4}
    for method, end in (("ddpo", plan.diffusion_updates), ("rlcm", plan.updates)):
        name = f"{method}-{task}"
        row[method] = {
            "start": asdict(bootstrap_mean(found.scores(name, 0))),
            "same_queries": asdict(bootstrap_mean(found.scores(name, plan.diffusion_updates))),
            "end": asdict(bootstrap_mean(found.scores(name, end))),
            "held_out_rise": asdict(
                paired_difference(found.scores(name, end, held_out=True), found.scores(name, 0, held_out=True))
            ),
            "right_start": float(found.right(name, 0).mean()),
            "right_end": float(found.right(name, end).mean()),
            "general_start": float(found.right(name, 0, "general").mean()),
            "general_end": float(found.right(name, end, "general").mean()),
            "seconds_per_update": found.seconds_per_update(name),
        }
    return row


def curves(found: Found) -> list[dict[str, Any]]:
    """Reward by queries and by seconds, mean and extremes over the seeds."""
    rows = []
    for task in TASKS:
        for method in ("rlcm", "ddpo"):
            results = found.each(f"{method}-{task}")
            rewards = np.array([smoothed(result["curve"]["reward"]) for result in results])
            seconds = np.array([np.cumsum(result["curve"]["seconds"]) for result in results])
            rows.append(
                {
                    "task": task,
                    "method": method,
                    "queries": list(results[0]["curve"]["queries"]),
                    "seconds": seconds.mean(axis=0).tolist(),
                    "reward": rewards.mean(axis=0).tolist(),
                    "low": rewards.min(axis=0).tolist(),
                    "high": rewards.max(axis=0).tolist(),
                }
            )
    return rows


def steps_scores(found: Found, steps: int, *, tuned: bool) -> Array:
    """(prompts, seeds) of the ablated task's reward, drawn in so many steps by the model before or after training."""
    name = f"rlcm-{ABLATED}"
    rows = []
    for result in found.each(name):
        trained = result["rewards"]["trained"]
        if steps == found.plan.horizon:
            rows.append(result["looks"][str(found.last(name) if tuned else 0)]["rewards"][trained])
        else:
            rows.append(result["steps"][str(steps)]["rewards" if tuned else "untuned"][trained])
    return np.array(rows, dtype=np.float64).T


def step_rows(found: Found) -> list[dict[str, Any]]:
    """The tuned model in other numbers of steps than it was tuned in."""
    rows = []
    for steps in (*sorted(found.plan.other_steps), found.plan.horizon):
        results = found.each(f"rlcm-{ABLATED}")
        rows.append(
            {
                "steps": steps,
                "untuned": asdict(bootstrap_mean(steps_scores(found, steps, tuned=False))),
                "tuned": asdict(bootstrap_mean(steps_scores(found, steps, tuned=True))),
                "right": float(np.mean([result["steps"][str(steps)]["right"] for result in results])),
                "general": float(np.mean([result["steps"][str(steps)]["general"] for result in results])),
            }
        )
    return rows


def horizon_rows(found: Found) -> list[dict[str, Any]]:
    """Trained with other horizons: where it ends, and what an update takes."""
    named = {horizon: f"horizon-{horizon}" for horizon in found.plan.horizons}
    rows = []
    for horizon, name in {found.plan.horizon: f"rlcm-{ABLATED}", **named}.items():
        rows.append(
            {
                "horizon": horizon,
                "start": asdict(bootstrap_mean(found.scores(name, 0))),
                "end": asdict(bootstrap_mean(found.scores(name, found.last(name)))),
                "seconds_per_update": found.seconds_per_update(name),
            }
        )
    return rows


def long_rows(found: Found) -> list[dict[str, Any]]:
    """What a training that goes on too long does, with and without the divergence in the loss."""
    rows = []
    for name in ("long", "long-with-kl"):
        result = found.each(name)[0]
        trained, held_out = result["rewards"]["trained"], result["rewards"]["held_out"]
        looks = sorted(result["looks"], key=int)
        rows.append(
            {
                "name": name,
                "updates": [int(look) for look in looks],
                "trained": [float(np.mean(result["looks"][look]["rewards"][trained])) for look in looks],
                "held_out": [float(np.mean(result["looks"][look]["rewards"][held_out])) for look in looks],
                "right": [float(np.mean(result["looks"][look]["right"])) for look in looks],
                "general": [float(np.mean(result["looks"][look]["general"])) for look in (looks[0], looks[-1])],
            }
        )
    return rows
