"""One training of the experiment in its folder: trained, looked at, resumed; then drawn from, measure by measure.

The folder is named after all that decides what is learned, weights included; a measure after all that decides it
besides. So none is mistaken for another, and measures can be added to trainings that are finished: their last
checkpoint stays. Several processes share the trainings between them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
from plaudit.claims.r0.measuring import Draw, Judges, few_steps, measure_into, own_sampler, timed
from plaudit.claims.r0.models import Bench, Work, config_of, content_of, set_up, specs_of
from plaudit.claims.r0.plan import FEW, MODEL, Measure, Training, look, measures, trainings
from plaudit.claims.work import Progress
from plaudit.generators.denoising import denoising_of
from plaudit.rewards.table import read_spec
from plaudit.runs.files import write_json
from plaudit.runs.looks import sheet
from plaudit.runs.training import Keeping, train_in

SAVE_EVERY = 10
CURVE = ("reward", "seconds", "drift", "agreement", "saturated", "distance", "gradient_norm", "rate")
"""of an update's numbers, those that are kept where a method has them"""


class Store:
    """The trainings' folders."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench
        self.judges = Judges(bench, folder)

    def place(self, it: Training) -> Path:
        """Where the training lies, or will."""
        bench, plan = self.bench, self.bench.plan
        decisive: list[Any] = [content_of(it, bench), bench.sources.get("model")]
        if it.method != "none":
            decisive += [plan.look_every, plan.look_prompts, bench.judged_by, bench.sources.get("rewards")]
        key = fingerprint(decisive)
        return self.folder / f"{it.name}-s{it.seed}-{key}"

    def measure_file(self, it: Training, measure: Measure) -> Path:
        """Where what a measure found lies, or will."""
        bench = self.bench
        how = [bench.base_steps, bench.base_guidance] if measure.sampler == "guided" else []
        key = fingerprint([asdict(measure), how, bench.judged_by, bench.plan.renders, bench.sources])
        return self.place(it) / "measured" / f"{measure.name}-{key}.json"

    def wanted(self, it: Training) -> list[Measure]:
        """The training's measures."""
        return list(measures(self.bench.plan, it, self.bench.base_steps, self.bench.times))

    def measure_files(self, it: Training) -> dict[str, Path]:
        """Where what the training's measures found lies, or will, by their names."""
        return {measure.name: self.measure_file(it, measure) for measure in self.wanted(it)}

    def measured(self, it: Training) -> dict[str, Found]:
        """What the measures found that are there, by their names."""
        return measured_in(self.measure_files(it))

    def missing(self, it: Training) -> list[Measure]:
        """The measures that are not there yet."""
        found = self.measured(it)
        return [measure for measure in self.wanted(it) if measure.name not in found]

    def read(self, it: Training) -> Found | None:
        """The training with all its measures, None if anything is missing."""
        return read_training(self.place(it), self.measure_files(it))

    def real_file(self) -> Path:
        """Where the likeness of real pictures to real pictures lies."""
        plan = self.bench.plan
        sizes = [plan.prompts, plan.images, plan.renders, plan.several_prompts, plan.several_images]
        key = fingerprint([sizes, self.bench.sources.get("net")])
        return self.folder / f"real-{key}.json"

    def real(self) -> Found:
        """How like real pictures real pictures are; seen at the first call."""
        plan = self.bench.plan
        return made_once(self.real_file(), lambda: self.judges.real(plan.prompts, plan.images))

    def unfinished(self) -> list[Training]:
        """Those of the plan that something is missing of."""
        return [it for it in trainings(self.bench.plan) if self.read(it) is None]


def run(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """Train to the end from where it stands, and measure. Nothing happens if another process is at it."""
    place = store.place(it)
    with held(place) as alone:
        if not alone or store.read(it) is not None:
            return
        if it.method == "none":
            yield from _drawn_only(it, store)
        else:
            yield from _trained(it, store)


def _drawn_only(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """The pretrained model's measures, and how long drawing takes."""
    bench = store.bench
    yield from _drawn(it, store, store.missing(it), partial(_untrained, bench))
    wanted = next(measure for measure in store.wanted(it) if measure.name == FEW)
    few = few_steps(denoising_of(bench.load_model(MODEL, device=bench.device)), wanted)
    guided = own_sampler(bench.load_model(MODEL, device=bench.device, steps=bench.base_steps))
    draws: Mapping[str, Draw] = {"guided": guided, "few": few}
    seconds = timed(draws, times=bench.plan.timings, suite=store.judges.suite)
    write_json(store.place(it) / RESULT, {"training": asdict(it), "timing": seconds})
    yield Progress(training=it, done=1.0, what="timed")


def _drawn(
    it: Training, store: Store, wanted: Iterable[Measure], draw_for: Callable[[Measure], Draw]
) -> Iterator[Progress[Training]]:
    """Each of the measures, of pictures drawn as `draw_for` says."""
    for measure in wanted:
        file = store.measure_file(it, measure)
        measure_into(file, draw_for(measure), measure, seed=it.seed, judges=store.judges)
        yield Progress(training=it, done=1.0, what=f"drawn: {measure.name}")


def _untrained(bench: Bench, measure: Measure) -> Draw:
    generator = bench.load_model(MODEL, device=bench.device, steps=measure.steps)
    return own_sampler(generator) if measure.sampler == "guided" else few_steps(denoising_of(generator), measure)


def _trained(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """Updates, then measures."""
    place, work = store.place(it), set_up(it, store.bench)
    trainer = work.trainer
    keeping = Keeping(save_every=SAVE_EVERY, keep=1, look_every=store.bench.plan.look_every)
    for update in train_in(place, trainer, keeping, look=partial(_look, it, store, work)):
        what = f"update {trainer.done}/{trainer.total}, reward {update.reward:.3f}"
        yield Progress(training=it, done=trainer.done / trainer.total, what=what)
    write_json(place / RESULT, _result(it, store))
    with trainer.learner.averaged():
        yield from _drawn(it, store, store.missing(it), partial(few_steps, work.denoising))


def _look(it: Training, store: Store, work: Work, done: int) -> dict[str, float]:
    """Draw some of the suite's prompts with noises that never change; keep the scores, return their means."""
    judges, measure = store.judges, look(store.bench.plan, it, store.bench.times)
    with work.trainer.learner.averaged():
        drawn = judges.draw(few_steps(work.denoising, measure), measure, it.seed)
        drift = work.anchor.drift()
    found = {**judges.scores(drawn.images, drawn.places), "drift": drift}
    columns = min(8, len(drawn.images))
    shown = drawn.images[: len(drawn.images) // columns * columns].cpu()
    keep_look(store.place(it), done, found, sheet(shown, columns))
    means = {name: float(np.mean(values)) for name, values in found["rewards"].items()}
    return {**means, "accuracy": float(np.mean(found["right"])), "drift": drift}


def _result(it: Training, store: Store) -> dict[str, Any]:
    """The training as the findings need it, as JSON types."""
    place, bench = store.place(it), store.bench
    updates = updates_in(place)
    names = [name for name in CURVE if updates and name in updates[0]]
    specs = dict(map(read_spec, specs_of(it, bench)))
    return {
        "training": asdict(it),
        "config": asdict(config_of(it, bench)),
        "follows": [name for name, weight in specs.items() if weight],
        "curve": curves_of(updates, names),
        "looks": looks_in(place),
    }
