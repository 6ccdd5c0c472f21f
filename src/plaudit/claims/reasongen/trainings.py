"""One training of the experiment in its folder: trained, looked at, resumed; then drawn from, measure by measure.

The folder is named after all that decides what is learned, weights included; a measure after all that decides it
besides. So none is mistaken for another, and measures can be added to trainings that are finished: their last weights
stay. Several processes share the trainings between them. Who starts from another training's weights waits for them.
"""

from collections.abc import Iterator
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
    measured_in,
    read_training,
    updates_in,
)
from plaudit.claims.reasongen.measuring import Panel, ask_into, first_pictures, measure_into, timed
from plaudit.claims.reasongen.models import (
    Bench,
    Trainer,
    Weights,
    config_of,
    content_of,
    load_model,
    read_weights,
    save_weights,
    set_up,
)
from plaudit.claims.reasongen.plan import UNGUIDED, Asking, Measure, Training, drawn_how, look, measures, trainings
from plaudit.claims.reasongen.variants import MAIN
from plaudit.claims.work import Progress
from plaudit.core.errors import BadConfig
from plaudit.generators.plan_policy import PlanPolicy
from plaudit.methods.plan_sft import LessonUpdate
from plaudit.methods.plan_updates import PlanUpdate
from plaudit.runs.files import read_json, write_json
from plaudit.runs.training import Keeping, train_in

SAVE_EVERY = 10
WEIGHTS = "weights.safetensors"
"""of the transformer, averaged if an average is kept; there when the training is over"""
CURVE = (
    "reward", "reward_spread", "word_entropy", "token_entropy", "word_coefficient", "token_coefficient", "plan_words",
    "cut_plans", "rounds", "equal_groups", "idle_groups", "off_policy", "clipped", "word_loss", "token_loss",
    "gradient_norm", "rate", "seconds",
)  # fmt: skip
"""of an update's numbers, those that are kept where a training has them"""


class Store:
    """The trainings' folders."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench
        self.panel = Panel(bench)

    def place(self, it: Training) -> Path:
        """Where the training lies, or will."""
        bench, plan = self.bench, self.bench.plan
        decisive: list[Any] = [content_of(it, bench), bench.sources.get("model")]
        if it.trained:
            looks = [plan.look_every, plan.look_prompts, plan.look_images]
            decisive += [looks, bench.judged_by, bench.sources]
        if it.start is not None:
            decisive.append(self.place(it.start).name)
        return self.folder / f"{it.name}-s{it.seed}-{fingerprint(decisive)}"

    def weights(self, it: Training) -> Weights | None:
        """What the training left, None for the model before training. Raises BadConfig if it is not over."""
        if not it.trained:
            return None
        if not self.learned(it):
            raise BadConfig(f"{it.name} (seed {it.seed}) is not trained yet, and others start from its weights")
        return read_weights(self.place(it) / WEIGHTS)

    def learned(self, it: Training) -> bool:
        """Whether the training itself is over; its measures may be missing."""
        return not it.trained or (self.place(it) / WEIGHTS).is_file()

    def measure_file(self, it: Training, measure: Measure | Asking) -> Path:
        """Where what a measure found lies, or will."""
        bench = self.bench
        decisive: list[Any] = [asdict(measure)]
        if isinstance(measure, Measure):
            decisive += [bench.judged_by, bench.sources]
        return self.place(it) / "measured" / f"{measure.name}-{fingerprint(decisive)}.json"

    def wanted(self, it: Training) -> list[Measure | Asking]:
        """The training's measures."""
        plan = self.bench.plan
        return [*measures(plan, it, self.bench.guidance), Asking(questions=plan.questions)]

    def measure_files(self, it: Training) -> dict[str, Path]:
        """Where what the training's measures found lies, or will, by their names."""
        return {measure.name: self.measure_file(it, measure) for measure in self.wanted(it)}

    def measured(self, it: Training) -> dict[str, Found]:
        """What the measures found that are there, by their names."""
        return measured_in(self.measure_files(it))

    def missing(self, it: Training) -> list[Measure | Asking]:
        """The measures that are not there yet."""
        found = self.measured(it)
        return [measure for measure in self.wanted(it) if measure.name not in found]

    def read(self, it: Training) -> Found | None:
        """The training with all its measures, None if anything is missing."""
        return read_training(self.place(it), self.measure_files(it))

    def unfinished(self) -> list[Training]:
        """Those of the plan that something is missing of."""
        return [it for it in trainings(self.bench.plan) if self.read(it) is None]


def run(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """Train to the end from where it stands, and measure. Nothing happens if another process is at it.

    Raises BadConfig if it starts from a training that is not over.
    """
    place = store.place(it)
    with held(place) as alone:
        if not alone or store.read(it) is not None:
            return
        if not store.learned(it):
            yield from _trained(it, store)
        policy = load_model(store.bench, store.weights(it))
        if read_json(place / RESULT) is None:
            write_json(place / RESULT, _result(it, store, policy))
        for measure in store.missing(it):
            _measure(it, store, policy, measure)
            yield Progress(training=it, done=1.0, what=f"drawn: {measure.name}")


def _measure(it: Training, store: Store, policy: PlanPolicy, measure: Measure | Asking) -> None:
    file = store.measure_file(it, measure)
    if isinstance(measure, Asking):
        ask_into(file, policy, measure, store.bench)
    else:
        measure_into(file, policy, measure, seed=it.seed, panel=store.panel)


def _trained(it: Training, store: Store) -> Iterator[Progress[Training]]:
    """The updates; afterwards the weights are there."""
    place, bench = store.place(it), store.bench
    weights = None if it.start is None else store.weights(it.start)
    trainer, policy = set_up(it, bench, weights)
    keeping = Keeping(save_every=SAVE_EVERY, keep=1, look_every=bench.plan.look_every)
    for update in train_in(place, trainer, keeping, look=partial(_look, it, store, trainer, policy)):
        what = f"update {trainer.done}/{trainer.total}, {_told(update)}"
        yield Progress(training=it, done=trainer.done / trainer.total, what=what)
    with trainer.learner.averaged():
        save_weights(policy, place / WEIGHTS)


def _told(update: PlanUpdate | LessonUpdate) -> str:
    if isinstance(update, LessonUpdate):
        return f"loss of words {update.word_loss:.3f}, of tokens {update.token_loss:.3f}"
    return f"reward {update.reward:.3f}, entropies {update.word_entropy:.3f} and {update.token_entropy:.3f}"


def _look(it: Training, store: Store, trainer: Trainer, policy: PlanPolicy, done: int) -> dict[str, float]:
    """Draw some prompts with numbers that never change; keep what is said, return its means."""
    panel, measure = store.panel, look(store.bench.plan, it)
    with trainer.learner.averaged():
        drawn = panel.draw(policy, measure, it.seed)
    found = panel.say(drawn, measure)
    keep_look(store.place(it), done, found, first_pictures(drawn.images, measure.images))
    means = {name: float(np.mean(values)) for name, values in found["rewards"].items()}
    means |= {"accuracy": float(np.mean(found["right"])), "distance": float(np.mean(found["distance"]))}
    if found["plans"] is not None:
        means |= {name: float(np.mean(found["plans"][name])) for name in ("readable", "meets")}
    return means


def _result(it: Training, store: Store, policy: PlanPolicy) -> dict[str, Any]:
    """The training as the findings need it, as JSON types."""
    place, bench = store.place(it), store.bench
    result: dict[str, Any] = {"training": asdict(it)}
    config = config_of(it, bench)
    if config is not None:
        result |= {"config": asdict(config), "curve": curves_of(updates_in(place), CURVE), "looks": looks_in(place)}
    if it.name == MAIN:
        ways = [
            Measure(name=drawn_how(plan, UNGUIDED), guidance=UNGUIDED, plan=plan, images=1, prompts=None)
            for plan in (True, False)
        ]
        texts = [prompt.text for prompt in store.panel.suite.prompts[:: len(store.panel.suite.prompts) // 60]]
        result["timing"] = timed(policy, texts, ways, times=bench.plan.timings)
    return result
