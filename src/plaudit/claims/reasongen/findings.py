"""From finished trainings to the numbers behind the claims.

Pure functions of the results; nothing here computes an image. Accuracies are means of the tasks' means, over prompts
with seeds averaged, as PocketEval counts them. Shape letters: P prompts, S seeds, I images of a prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.reasongen.plan import UNGUIDED, Plan, Training, drawn_how
from plaudit.claims.reasongen.variants import BASE, DIRECT, DIRECT_LESSONS, MAIN, SFT
from plaudit.suites.pocket_eval import EvalPrompt, pocket_eval_prompts
from plaudit.suites.statistics import Estimate, bootstrap_mean, paired_difference, share

Array = NDArray[np.float64]
Result = Mapping[str, Any]
RIGHT = "right"
"""among a picture's scores: the judge's word"""
KINDS = ("word", "token")
"""whose entropies are kept"""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Pictures that are compared: whose, and how they are drawn."""

    name: str
    plan: bool = True
    guidance: float = UNGUIDED
    temperature: float = 1.0

    @property
    def drawn(self) -> str:
        """The name of the measure that has them."""
        return drawn_how(self.plan, self.guidance, self.temperature)


BEFORE = Model(name=BASE, plan=False)
BEFORE_PLANNED = Model(name=BASE)
TAUGHT = Model(name=SFT)
TUNED = Model(name=MAIN)
TUNED_DIRECT = Model(name=DIRECT, plan=False)
TAUGHT_DIRECT = Model(name=DIRECT_LESSONS, plan=False)


@dataclass(frozen=True, kw_only=True)
class Found:
    """All results of a plan, to be asked by model and seed."""

    plan: Plan
    results: Mapping[tuple[str, int], Result]
    rewards: Sequence[str]
    """names of those that pictures were scored by; the first is trained on, the others by nothing"""
    guidance: float
    """beside none"""

    def seeds(self, name: str) -> list[int]:
        """Those that the training was made with."""
        return [seed for seed in self.plan.seeds if (name, seed) in self.results]

    def each(self, name: str, seeds: Iterable[int] | None = None) -> list[Result]:
        """The training's results, by seed; of all its seeds, or these."""
        return [self.results[name, seed] for seed in (self.seeds(name) if seeds is None else seeds)]

    def measured(self, model: Model, seeds: Iterable[int] | None = None) -> list[Result]:
        """What was found of the model's pictures, by seed."""
        return [it["measured"][model.drawn] for it in self.each(model.name, seeds)]

    def images(self, model: Model) -> int:
        """Of each prompt."""
        return int(self.measured(model)[0]["measure"]["images"])

    def prompts(self) -> list[EvalPrompt]:
        """Those that every model was asked for."""
        every = pocket_eval_prompts()
        return [every[index] for index in self.measured(BEFORE)[0]["prompts"]]

    def scores(
        self, model: Model, what: str, *, seeds: Iterable[int] | None = None, images: int | None = None
    ) -> Array:
        """(P, S * I) of a reward's raw scores or of RIGHT; of the first images of each prompt, or all."""
        found = []
        for one in self.measured(model, seeds):
            values = one[RIGHT] if what == RIGHT else one["rewards"][what]
            found.append(np.array(values, dtype=np.float64).reshape(len(one["prompts"]), -1)[:, :images])
        return np.concatenate(found, axis=1)

    def plans(self, model: Model, what: str, seeds: Iterable[int] | None = None) -> Array:
        """(P, S * I) of what is said of plans, by the names in a PlanVerdict; not a number where nothing is."""
        found = [
            np.array(one["plans"][what], dtype=np.float64).reshape(len(one["prompts"]), -1)
            for one in self.measured(model, seeds)
        ]
        return np.concatenate(found, axis=1)

    def distances(self, model: Model, *, seeds: Iterable[int] | None = None) -> Array:
        """(P, S) the distance between pictures of one prompt."""
        return np.array([one["distance"] for one in self.measured(model, seeds)], dtype=np.float64).T

    def understood(self, name: str, seeds: Iterable[int] | None = None) -> Array:
        """(Q, S) whether each of Q questions was answered right."""
        return np.array([it["measured"]["understanding"]["right"] for it in self.each(name, seeds)], dtype=np.float64).T

    def last_third(self, name: str, what: str) -> list[Array]:
        """By seed, a number of the updates (n,) over the last third of a training."""
        courses = [np.array(it["curve"][what], dtype=np.float64) for it in self.each(name)]
        return [course[-max(1, len(course) // 3) :] for course in courses]

    def target(self, kind: str) -> float:
        """The preset's, of the entropy of words or tokens, nats."""
        return float(self.each(MAIN)[0]["config"][f"{kind}_entropy"])

    def off_target(self, name: str, kind: str) -> list[float]:
        """By seed, how far an entropy was from its target in an update of the last third, on average, in its share."""
        target = self.target(kind)
        return [float(np.abs(course / target - 1).mean()) for course in self.last_third(name, f"{kind}_entropy")]

    def seconds(self, plan: bool) -> list[float]:
        """Of a picture, every time it was taken."""
        return [value for it in self.each(MAIN) for value in it["timing"][drawn_how(plan, UNGUIDED)]]


def found_in(
    plan: Plan, results: Iterable[tuple[Training, Result]], *, rewards: Sequence[str], guidance: float
) -> Found:
    """The results by training's name and seed."""
    return Found(
        plan=plan, results={(it.name, it.seed): result for it, result in results}, rewards=rewards, guidance=guidance
    )  # fmt: skip


def accuracy(found: Found, model: Model) -> Estimate:
    """The mean of the tasks' accuracies."""
    return bootstrap_mean(found.scores(model, RIGHT), strata=_tasks(found.prompts()))


def accuracy_by_task(found: Found, model: Model) -> dict[str, Estimate]:
    """Of each task that there are prompts of, over its prompts."""
    right, tasks = found.scores(model, RIGHT), _tasks(found.prompts())
    return {
        task: share(right[[one == task for one in tasks]]) for task in dict.fromkeys(tasks)
    }  # fmt: skip


def accuracy_unseen(found: Found, model: Model, *, unseen: bool = True) -> Estimate | None:
    """Of prompts for combinations that no training showed; or of the other prompts of the same tasks. None: no such."""
    rows = _rows(found.prompts(), unseen)
    return share(found.scores(model, RIGHT)[rows]) if rows else None


def gain(found: Found, model: Model, over: Model, what: str = RIGHT) -> Estimate:
    """How much higher a model's scores are than another's from the same random numbers, over prompts.

    Over the seeds and images that both have.
    """
    ours, theirs = _pair(found, model, over, what)
    return paired_difference(ours, theirs, strata=_tasks(found.prompts()))


def gain_unseen(found: Found, model: Model, over: Model) -> Estimate | None:
    """The same of the accuracy of prompts for combinations that no training showed; None if there are none."""
    rows, prompts = _rows(found.prompts(), True), found.prompts()
    if not rows:
        return None
    ours, theirs = _pair(found, model, over, RIGHT)
    return paired_difference(ours[rows], theirs[rows], strata=_tasks([prompts[row] for row in rows]))


def mean_of(found: Found, model: Model, what: str) -> Estimate:
    """The mean of a reward, or of RIGHT, over prompts."""
    return bootstrap_mean(found.scores(model, what), strata=_tasks(found.prompts()))


def plans_mean(found: Found, model: Model, what: str) -> Estimate | None:
    """The mean of what is said of plans, over the prompts of which anything is; None if nothing is."""
    means, tasks = _means(found.plans(model, what), _tasks(found.prompts()))
    return bootstrap_mean(means, strata=tasks) if len(means) else None


def split_by_plan(found: Found, model: Model) -> dict[str, Estimate | None]:
    """The accuracy of pictures whose plan meets the prompt, and of the others; None where there are none."""
    right, meets = found.scores(model, RIGHT), found.plans(model, "meets") > 0
    sides = {"met": meets, "missed": ~meets}
    return {name: _share_of(right, chosen) for name, chosen in sides.items()}


def distance_gain(found: Found, model: Model, over: Model) -> Estimate:
    """How much further apart a model's pictures of a prompt are than another's, over prompts."""
    seeds = _both(found, model.name, over.name)
    return paired_difference(
        *(found.distances(it, seeds=seeds) for it in (model, over)), strata=_tasks(found.prompts())
    )  # fmt: skip


def understanding_gain(found: Found, name: str) -> Estimate:
    """How many more questions a training's model answers than the one before training, as a share, over questions."""
    seeds = _both(found, name, BASE)
    return paired_difference(*(found.understood(it, seeds) for it in (name, BASE)))


def planning_costs(found: Found) -> Estimate:
    """How many times as long a picture takes with its plan as without, over all times that it was taken."""
    return over_seeds(
        [slow / fast for slow, fast in zip(found.seconds(True), found.seconds(False), strict=True)]
    )  # fmt: skip


def _pair(found: Found, model: Model, over: Model, what: str) -> tuple[Array, Array]:
    seeds = _both(found, model.name, over.name)
    images = min(found.images(it) for it in (model, over))
    ours, theirs = (found.scores(it, what, seeds=seeds, images=images) for it in (model, over))
    return ours, theirs


def _both(found: Found, name: str, other: str) -> list[int]:
    return [seed for seed in found.seeds(name) if (other, seed) in found.results]


def _tasks(prompts: Sequence[EvalPrompt]) -> list[str]:
    return [prompt.request.task for prompt in prompts]


def _rows(prompts: Sequence[EvalPrompt], unseen: bool) -> list[int]:
    """Places of prompts for unseen combinations, or of the other prompts of tasks that have such."""
    tasks = {prompt.request.task for prompt in prompts if prompt.unseen}
    return [place for place, it in enumerate(prompts) if it.request.task in tasks and it.unseen == unseen]


def _means(values: Array, tasks: Sequence[str]) -> tuple[Array, list[str]]:
    """Of each row (P, n) the mean of its numbers, with its task; rows without any are left out."""
    rows = [place for place in range(len(values)) if not np.isnan(values[place]).all()]
    means = np.array([np.nanmean(values[place]) for place in rows], dtype=np.float64)
    return means, [tasks[place] for place in rows]


def _share_of(right: Array, chosen: NDArray[np.bool_]) -> Estimate | None:
    hits = [values[own] for values, own in zip(right, chosen, strict=True) if own.any()]
    return share(hits) if hits else None
