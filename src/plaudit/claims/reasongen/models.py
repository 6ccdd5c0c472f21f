"""What a training of the experiment needs: the model that it starts from, what it learns from, the method over it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from plaudit.claims.fingerprint import decisive
from plaudit.claims.pocket_models import understood
from plaudit.claims.precision import told_precision
from plaudit.claims.reasongen.plan import Plan, Training
from plaudit.claims.reasongen.variants import Variant, variant_named
from plaudit.claims.scored_pictures import judged_by, trained_on
from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.generators.plan_policy import PlanPolicy
from plaudit.generators.plan_training import PlansInBfloat16, frozen_plan_start
from plaudit.generators.table import load_plan_policy
from plaudit.generators.trained_part import train_all
from plaudit.methods.plan_sft import Lessons, PlanSft, PlanSftConfig
from plaudit.methods.reasongen import ReasonGen
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.presets.reasongen import LessonsTask, PlanTask
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.reward import Reward
from plaudit.rewards.table import load_reward, load_rewards
from plaudit.runs.plan_lessons import load_lessons

HELD_OUT = ("pickscore",)
"""rewards that are watched besides the one that the preset holds out"""
Config = ReasonGenConfig | PlanSftConfig
Trainer = ReasonGen | PlanSft
Weights = Mapping[str, Tensor]
"""of a policy's transformer, by their names"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trainings share."""

    plan: Plan
    tasks: Mapping[str, PlanTask]
    """the presets, by the way of a variant; ablations change them"""
    sources: Mapping[str, Any]
    """names, revisions and checksums of the model and the rewards"""
    device: torch.device
    guidance: float
    """with which the table of models draws the model, beside none"""
    load_policy: Callable[..., PlanPolicy] = load_plan_policy
    load_one: Callable[..., Reward] = load_reward
    load_many: Callable[..., WeightedSum] = load_rewards
    load_lessons: Callable[[LessonsTask, PlanPolicy], Lessons] = load_lessons
    ask: Callable[..., list[bool]] = understood
    """whether so many questions about pictures are answered right, the same ones every time"""

    def __post_init__(self) -> None:
        models = {task.model for task in self.tasks.values()}
        if len(models) > 1:
            raise BadConfig(f"the claims are about one model, and the presets name {', '.join(sorted(models))}")
        for task in self.tasks.values():
            if task.rank:
                raise BadConfig(
                    f"the claims are about all weights in training; the preset says a LoRA of {task.rank}"
                )  # fmt: skip

    @property
    def task(self) -> PlanTask:
        """The preset of rewards after plans."""
        return self.tasks["rewards"]

    @property
    def model(self) -> str:
        """Whom all trainings start from."""
        return self.task.model

    @property
    def trained(self) -> list[str]:
        """The names of the rewards that the preset is trained on."""
        return trained_on(self.task)

    @property
    def judged_by(self) -> list[str]:
        """The names of all rewards that pictures are scored by; those behind the first are trained on by nothing."""
        return list(dict.fromkeys([*judged_by(self.task), *HELD_OUT]))

    def lessons(self, it: Training) -> LessonsTask:
        """The lessons that a training is given, by its seed."""
        task = self.tasks["lessons"]
        assert isinstance(task, LessonsTask)
        count = task.count if self.plan.lessons is None else self.plan.lessons
        config = config_of(it, self)
        return replace(task, count=count, config=config)


def config_of(it: Training, bench: Bench) -> Config | None:
    """The training's whole config: its preset's, the plan's updates, the variant's changes; None if there is none."""
    variant = variant_named(it.name)
    if variant.way == "none":
        return None
    usual: Config = bench.tasks[variant.way].config
    wanted = bench.plan.lesson_updates if variant.way == "lessons" else bench.plan.updates
    updates = usual.updates if wanted is None else wanted
    return replace(usual, updates=updates, seed=it.seed, **variant.changes)


def rewards_of(variant: Variant, bench: Bench) -> tuple[str, ...]:
    """What a training by rewards follows, as NAME:WEIGHT."""
    return bench.tasks[variant.way].rewards if variant.rewards is None else variant.rewards


def content_of(it: Training, bench: Bench) -> dict[str, Any]:
    """All that decides what the training learns, but the weights that it starts from."""
    variant, config = variant_named(it.name), config_of(it, bench)
    if config is None:
        return {"trained": False, "seed": it.seed}
    if variant.way == "lessons":
        task = bench.lessons(it)
        told = {"lessons": task.lessons, "count": task.count, "without_plans": variant.without_plans}
    else:
        told = {"rewards": rewards_of(variant, bench), "prompts": bench.tasks[variant.way].prompts}
    return {"config": decisive(config), **told_precision(bench.plan.precision), **told}


def load_model(bench: Bench, weights: Weights | None = None) -> PlanPolicy:
    """The model, with these weights in its transformer if there are any."""
    policy = bench.load_policy(bench.model, device=bench.device)
    if weights is not None:
        policy.transformer.load_state_dict(weights)
    return policy


def save_weights(policy: PlanPolicy, file: Path) -> None:
    """Keep the transformer's weights as they are now."""
    state = policy.transformer.state_dict()
    write_whole(file, save({name: weight.detach().cpu().clone().contiguous() for name, weight in state.items()}))


def read_weights(file: Path) -> Weights:
    """What `save_weights` kept."""
    return load_file(str(file))


def set_up(it: Training, bench: Bench, weights: Weights | None) -> tuple[Trainer, PlanPolicy]:
    """The method over the model at its start, and the model in float32; all of its transformer's weights are trained.

    `weights`: that it starts from, if not the model's own. Raises BadConfig.
    """
    variant, config = variant_named(it.name), config_of(it, bench)
    policy = load_model(bench, weights)
    if isinstance(config, PlanSftConfig):
        lessons = bench.load_lessons(bench.lessons(it), policy)
        if variant.without_plans:
            lessons = replace(lessons, plans=("",) * len(lessons))
        train_all(policy.transformer)
        return PlanSft(_precisely(policy, bench), lessons, config), policy
    assert isinstance(config, ReasonGenConfig), "the model before training is not set up"
    start = _precisely(frozen_plan_start(policy), bench) if config.kl_weight > 0 else None
    train_all(policy.transformer)
    reward = bench.load_many(rewards_of(variant, bench), device=bench.device)
    trained = _precisely(policy, bench)
    return ReasonGen(trained, reward, bench.tasks[variant.way].prompts, config, start=start), policy


def _precisely(policy: PlanPolicy, bench: Bench) -> PlanPolicy:
    return PlansInBfloat16(policy) if bench.plan.precision == "bfloat16" else policy
