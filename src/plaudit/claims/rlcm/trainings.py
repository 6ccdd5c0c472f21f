"""One training of the experiment in its folder: trained, looked at, resumed; finished, it is a result.

The result's folder is named after all that decides it, weights included, so that none is mistaken for another. Looks
draw the task's prompts with noises that never change and keep every image's scores; training stands still meanwhile,
and its clock too.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.claims.fingerprint import fingerprint
from plaudit.claims.held_folder import held
from plaudit.claims.kept_trainings import RESULT, Found, curves_of, keep_look, looks_in, updates_in
from plaudit.claims.rlcm.plan import Plan, Training, trainings
from plaudit.claims.work import Progress
from plaudit.generators.generator import StepPolicy
from plaudit.generators.policies import policy_of
from plaudit.generators.step_policy import draw_images
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora, without_lora
from plaudit.methods.rlcm import Rlcm
from plaudit.presets.rlcm import TASKS
from plaudit.presets.task import Task
from plaudit.rewards.reward import Reward
from plaudit.rewards.table import load_reward, load_rewards, read_spec
from plaudit.runs.files import read_json, write_json
from plaudit.runs.looks import sheet, spread_over
from plaudit.runs.records import opinions
from plaudit.runs.training import Keeping, train_in
from plaudit.suites.run import pocket

CURVE = ("queries", "reward", "seconds", "kl", "gradient_norm")
"""of an update's numbers, those that are kept"""
BATCH = 64
"""images drawn at once at a look"""
SHOWN = 8
"""of them kept as pictures"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trainings share."""

    plan: Plan
    sources: Mapping[str, Any]
    """names, revisions and checksums of the models and the rewards"""
    device: torch.device
    load_model: Callable[..., Any] = load_generator
    load_one: Callable[..., Reward] = load_reward


class Store:
    """The trainings' folders."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench

    def place(self, training: Training) -> Path:
        """Where the training lies, or will."""
        content = {name: value for name, value in asdict(training).items() if name != "name"}
        looks = [self.bench.plan.look_prompts, self.bench.plan.general_prompts]
        # Of the task but its model: a training here says its own.
        task = {name: value for name, value in asdict(task_of(training)).items() if name != "model"}
        key = fingerprint([content, looks, self.bench.sources, task])
        return self.folder / f"{training.name}-s{training.seed}-{key}"

    def read(self, training: Training) -> Found | None:
        """The finished training's result, None if it is not finished."""
        found: Found | None = read_json(self.place(training) / RESULT)
        return found

    def unfinished(self) -> list[Training]:
        """Those of the plan that are not finished."""
        return [training for training in trainings(self.bench.plan) if self.read(training) is None]


def task_of(training: Training) -> Task:
    """The preset of the training's task, with what the plan says over it."""
    task = TASKS[f"pocket-{training.task}"]()
    config = replace(
        task.config, updates=training.updates, seed=training.seed, kl_weight=training.kl_weight,
        prompts_per_update=training.prompts_per_update, images_per_prompt=4,
    )  # fmt: skip
    return replace(task, config=config)


def run(training: Training, store: Store) -> Iterator[Progress[Training]]:
    """Train to the end from where it stands, and leave result.json. Nothing happens if another process is at it."""
    place = store.place(training)
    with held(place) as alone:
        if not alone or store.read(training) is not None:
            return
        task, bench = task_of(training), store.bench
        policy = _policy(training, task, bench, steps=training.steps)
        trainer = Rlcm(
            policy, load_rewards(task.rewards, device=bench.device), task.prompts, task.config,
            reference=lambda: without_lora(policy.denoiser),
        )  # fmt: skip
        watch = _Watch(training, task, bench, place)
        keeping = Keeping(save_every=4, keep=1, look_every=training.look_every)
        for update in train_in(place, trainer, keeping, look=lambda done: watch.look(policy, done)):
            what = f"update {trainer.done}/{training.updates}, reward {update.reward:.3f}"
            yield Progress(training=training, done=trainer.done / training.updates, what=what)
        write_json(place / RESULT, _result(training, task, watch, policy))


def _policy(training: Training, task: Task, bench: Bench, *, steps: int) -> StepPolicy:
    """The model with an untrained LoRA."""
    policy = policy_of(bench.load_model(training.model, device=bench.device, steps=steps))
    add_lora(policy.denoiser, rank=task.rank, alpha=task.alpha, seed=training.seed)
    return policy


def _result(training: Training, task: Task, watch: "_Watch", tuned: StepPolicy) -> dict[str, Any]:
    """All that the findings need, as JSON types."""
    looks = looks_in(watch.place)
    steps: dict[str, Any] = {str(training.steps): looks[str(training.updates)]}
    for number in training.other_steps:
        other = _policy(training, task, watch.bench, steps=number)
        untuned = watch.measure(other, general=False)
        other.denoiser.load_state_dict(tuned.denoiser.state_dict())
        steps[str(number)] = {**watch.measure(other, general=True), "untuned": untuned["rewards"]}
    return {
        "training": asdict(training),
        "rewards": {"trained": read_spec(task.rewards[0])[0], "held_out": task.held_out},
        "curve": curves_of(updates_in(watch.place), CURVE),
        "looks": looks,
        "steps": steps,
    }


class _Watch:
    """Draws the task's prompts, and some of PocketEval's, with fixed noises, and keeps every image's scores."""

    def __init__(self, training: Training, task: Task, bench: Bench, place: Path) -> None:
        self.training, self.place, self.bench = training, place, bench
        self._prompts = spread_over(task.prompts, bench.plan.look_prompts)
        names = [read_spec(task.rewards[0])[0], *([task.held_out] if task.held_out else [])]
        self._rewards = {name: bench.load_one(name, device=bench.device) for name in names}
        self._suite = pocket()
        self._general = self._suite.spread(bench.plan.general_prompts)

    def look(self, policy: StepPolicy, done: int) -> dict[str, float]:
        """Measure, keep, and return the means for the log."""
        found, images = self._measured(policy, general=done in (0, self.training.updates))
        shown = images[:SHOWN].cpu()
        keep_look(self.place, done, found, sheet(shown, len(shown)))
        return {name: sum(values) / len(values) for name, values in found["rewards"].items()}

    def measure(self, policy: StepPolicy, *, general: bool) -> Found:
        """Scores of every image: under each reward, and by the judge where it knows the prompt."""
        return self._measured(policy, general=general)[0]

    def _measured(self, policy: StepPolicy, *, general: bool) -> tuple[Found, Tensor]:
        """The scores, and the images (P, 3, H, W) of the task's prompts."""
        started = time.monotonic()
        images = self._drawn(policy, self._prompts)
        seconds = (time.monotonic() - started) / len(images)
        with torch.no_grad():
            rewards = {name: reward(images, self._prompts).tolist() for name, reward in self._rewards.items()}
        found: Found = {"rewards": rewards, "right": _right(self._prompts, images), "draw_seconds": seconds}
        if general:
            chosen = [self._suite.prompts[place] for place in self._general]
            drawn = self._drawn(policy, [prompt.text for prompt in chosen])
            found["general"] = [verdict.right for verdict in self._suite.judge(drawn.cpu(), chosen)]
        return found, images

    def _drawn(self, policy: StepPolicy, prompts: Sequence[str]) -> Tensor:
        keys: list[tuple[int | str, ...]] = [(self.training.seed, "look", place) for place in range(len(prompts))]
        with torch.no_grad():
            return draw_images(policy, policy.encode(prompts), keys, BATCH)


def _right(prompts: Sequence[str], images: Tensor) -> list[bool] | None:
    """The judge's word on each image; None if it does not know the prompts."""
    found = []
    for prompt, image in zip(prompts, images.cpu(), strict=True):
        said = opinions(prompt, image[None])
        if said is None:
            return None
        found.append(said[0].right)
    return found
