"""One training of the experiment in its folder: trained, looked at, resumed; then drawn from, measure by measure.

The folder is named after all that decides what is learned, weights included; a measure after all that decides it
besides. So none is mistaken for another, and measures can be added to trainings that are finished: their last
checkpoint stays. Several processes share the trainings between them. The model before training comes first: at which
guidance it is best decides what else is trained and drawn.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.claims.ar_grpo.measuring import TRAINING, Panel, found_of, measure_into, shown_sheet, timed
from plaudit.claims.ar_grpo.models import Bench, Work, config_of, content_of, set_up
from plaudit.claims.ar_grpo.plan import UNGUIDED, Best, Measure, Training, at_guidance, base, look, measures, trainings
from plaudit.claims.fingerprint import fingerprint
from plaudit.claims.held_folder import held
from plaudit.claims.kept_trainings import (
    RESULT,
    Found,
    curves_of,
    keep_look,
    looks_in,
    made_once,
    measured_in,
    read_training,
    updates_in,
)
from plaudit.claims.work import Progress
from plaudit.generators.token_policy import TokenPolicy
from plaudit.runs.files import write_json
from plaudit.runs.training import Keeping, train_in

SAVE_EVERY = 10
CURVE = (
    "reward", "entropy", "entropy_coefficient", "kl", "off_policy", "equal_groups", "distribution_distance",
    "gradient_norm", "rate", "seconds",
)  # fmt: skip
"""of an update's numbers, those that are kept"""


class Store:
    """The trainings' folders."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench
        self.panel = Panel(bench)
        self._best: Best | None = None

    def place(self, it: Training) -> Path:
        """Where the training lies, or will. Raises BadConfig if that hangs on the best guidance, not known yet."""
        bench, plan = self.bench, self.bench.plan
        best = self.best() if it.guided else None
        decisive: list[Any] = [content_of(it, bench, best), bench.sources.get("model")]
        if it.trained:
            looks = [plan.look_every, plan.look_images, plan.renders, bench.judged_by]
            decisive += [looks, bench.nets, bench.sources]
        return self.folder / f"{it.name}-s{it.seed}-{fingerprint(decisive)}"

    def measure_file(self, it: Training, measure: Measure) -> Path:
        """Where what a measure found lies, or will."""
        bench, plan = self.bench, self.bench.plan
        sizes = [plan.renders, plan.look_images]
        key = fingerprint([asdict(measure), sizes, bench.task.prompts, bench.judged_by, bench.nets, bench.sources])
        return self.place(it) / "measured" / f"{measure.name}-{key}.json"

    def best(self) -> Best | None:
        """Where the model before training has the lowest FID, by the net that decides, as a mean over seeds.

        None as long as it is not measured with every seed.
        """
        if self._best is None:
            plan, net = self.bench.plan, self.bench.nets[0]
            found = [self.measured(base(seed)) for seed in plan.seeds]
            wanted = {guidance: at_guidance(guidance) for guidance in plan.guidances}
            if any(name not in one for one in found for name in wanted.values()):
                return None
            fids = {
                guidance: float(np.mean([one[name]["fidelity"][net]["fid"] for one in found]))
                for guidance, name in wanted.items()
            }
            guided = [guidance for guidance in fids if guidance > UNGUIDED]
            self._best = Best(of_all=min(fids, key=fids.__getitem__), guided=min(guided, key=fids.__getitem__))
        return self._best

    def wanted(self, it: Training) -> list[Measure]:
        """The training's measures. Raises BadConfig if the best guidance decides them and is not known yet."""
        return list(measures(self.bench.plan, it, self.best() if it.trained else None))

    def measure_files(self, it: Training) -> dict[str, Path]:
        """Where what the training's measures found lies, or will, by their names. Raises BadConfig as `wanted`."""
        return {measure.name: self.measure_file(it, measure) for measure in self.wanted(it)}

    def measured(self, it: Training) -> dict[str, Found]:
        """What the measures found that are there, by their names. Raises BadConfig as `wanted`."""
        return measured_in(self.measure_files(it))

    def missing(self, it: Training) -> list[Measure]:
        """The measures that are not there yet. Raises BadConfig as `wanted`."""
        found = self.measured(it)
        return [measure for measure in self.wanted(it) if measure.name not in found]

    def read(self, it: Training) -> Found | None:
        """The training with all its measures, None if anything is missing."""
        if it.trained and self.best() is None:
            return None
        return read_training(self.place(it), self.measure_files(it))

    def real(self) -> Found:
        """What is said of real pictures; seen at the first call."""
        plan = self.bench.plan
        sizes = [plan.images, plan.renders, self.bench.judged_by, self.bench.nets, self.bench.task.prompts]
        file = self.folder / f"real-{fingerprint([sizes, self.bench.sources])}.json"
        return made_once(file, self.panel.real)

    def unfinished(self) -> list[Training]:
        """Those of the plan that something is missing of."""
        return [it for it in trainings(self.bench.plan) if self.read(it) is None]


def run(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """Train to the end from where it stands, and measure. Nothing happens if another process is at it.

    Raises BadConfig if the best guidance decides what is trained or drawn, and is not known yet.
    """
    place = store.place(it)
    with held(place) as alone:
        if alone and store.read(it) is None:
            yield from _trained(it, store) if it.trained else _drawn_only(it, store)


def _drawn_only(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """The measures of the model before training, and how long drawing takes."""
    bench = store.bench
    policy = bench.load_policy(bench.task.model, device=bench.device)
    yield from _drawn(it, store, store.missing(it), policy)
    # The time is the same at any guidance but none.
    guidances = {"unguided": UNGUIDED, "guided": max(bench.plan.guidances)}
    seconds = timed(policy, bench.task.prompts, guidances, times=bench.plan.timings)
    write_json(store.place(it) / RESULT, {"training": asdict(it), "timing": seconds})
    yield Progress(training=it, done=1.0, what="timed")


def _drawn(it: Training, store: Store, wanted: Iterable[Measure], policy: TokenPolicy) -> Iterator[Progress[Training]]:
    """Each of the measures, of the policy's pictures."""
    for measure in wanted:
        measure_into(store.measure_file(it, measure), policy, measure, seed=it.seed, panel=store.panel)
        yield Progress(training=it, done=1.0, what=f"drawn: {measure.name}")


def _trained(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """Updates, then measures."""
    place, bench, panel = store.place(it), store.bench, store.panel
    missing, net = store.missing(it), bench.task.net
    work = set_up(
        it, bench, store.best(), net=panel.net(net), reference=panel.real_features(net, TRAINING)
    )  # fmt: skip
    trainer = work.trainer
    keeping = Keeping(save_every=SAVE_EVERY, keep=1, look_every=bench.plan.look_every)
    for update in train_in(place, trainer, keeping, look=partial(_look, it, store, work)):
        what = f"update {trainer.done}/{trainer.total}, reward {update.reward:.3f}, entropy {update.entropy:.3f}"
        yield Progress(training=it, done=trainer.done / trainer.total, what=what)
    write_json(place / RESULT, _result(it, store))
    with trainer.learner.averaged():
        yield from _drawn(it, store, missing, work.policy)


def _look(it: Training, store: Store, work: Work, done: int) -> dict[str, float]:
    """Draw some of each class with numbers that never change; keep what is said, return its means."""
    panel, measure = store.panel, look(store.bench.plan)
    with work.trainer.learner.averaged():
        drawn = panel.draw(work.policy, measure, it.seed)
    found, _ = found_of(drawn, measure, panel)
    keep_look(store.place(it), done, found, shown_sheet(drawn.images, measure.images, panel.classes))
    decides = store.bench.nets[0]
    means = {name: float(np.mean(values)) for name, values in found["rewards"].items()}
    return {
        **means,
        "accuracy": float(np.mean(found["right"])),
        "fid": found["fidelity"][decides]["fid"],
        "distance": float(np.mean(found["distance"][decides])),
        "entropy": found["entropy"],
    }


def _result(it: Training, store: Store) -> dict[str, Any]:
    """The training as the findings need it, as JSON types."""
    place, bench = store.place(it), store.bench
    return {
        "training": asdict(it),
        "config": asdict(config_of(it, bench, store.best())),
        "curve": curves_of(updates_in(place), CURVE),
        "looks": looks_in(place),
    }
