"""What a training of the experiment needs: the model before it, whom it follows, and the method over it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from plaudit.claims.ar_grpo.plan import Best, Plan, Training
from plaudit.claims.fingerprint import decisive
from plaudit.claims.precision import told_precision
from plaudit.claims.scored_pictures import judged_by, trained_on
from plaudit.core.errors import BadConfig
from plaudit.generators.table import load_token_policy
from plaudit.generators.token_policy import TokenPolicy
from plaudit.generators.token_rollout import draw_pictures
from plaudit.generators.token_training import TokensInBfloat16, frozen_start
from plaudit.methods.ar_grpo import ArGrpo, Judges
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.presets.ar_grpo import ArTask
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet, features_of
from plaudit.rewards.feature_table import load_feature_net
from plaudit.rewards.loo_fid import LeaveOneOutFID, LooFidSettings
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.reward import Reward
from plaudit.rewards.table import load_reward, load_rewards

NETS = ("pocket-imagereward", "pocket-pickscore")
"""that measure: the first, which shares nothing with the net of the training, decides; the second is its relative"""
BATCH = 64
"""pictures drawn at once; does not change them"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trainings share."""

    plan: Plan
    task: ArTask
    """the preset; ablations change it"""
    sources: Mapping[str, Any]
    """names, revisions and checksums of the model, the rewards and the feature nets"""
    device: torch.device
    nets: tuple[str, ...] = NETS
    load_policy: Callable[..., TokenPolicy] = load_token_policy
    load_one: Callable[..., Reward] = load_reward
    load_many: Callable[..., WeightedSum] = load_rewards
    load_net: Callable[..., FeatureNet] = load_feature_net

    def __post_init__(self) -> None:
        if self.task.net in self.nets:
            raise BadConfig(f"{self.task.net} is what LOO-FID is trained on; measure with other feature nets")
        if self.task.rank:
            raise BadConfig(f"the claims are about all weights in training; the preset says a LoRA of {self.task.rank}")

    @property
    def trained(self) -> list[str]:
        """The names of the rewards that the preset is trained on."""
        return trained_on(self.task)

    @property
    def judged_by(self) -> list[str]:
        """The names of all rewards that pictures are scored by; the last one is trained on by nothing."""
        return judged_by(self.task)

    @property
    def start_images(self) -> int:
        """Pictures of the model before training that LOO-FID begins with."""
        wanted = self.plan.start_images
        return self.task.start_images if wanted is None else wanted


@dataclass(frozen=True, kw_only=True)
class Work:
    """A model in training, or ready to be drawn from."""

    trainer: ArGrpo
    policy: TokenPolicy = field(repr=False)
    """for drawing, in float32"""


def config_of(it: Training, bench: Bench, best: Best | None) -> ArGrpoConfig:
    """The training's whole config: the preset's, the plan's updates, the variant's changes.

    Raises BadConfig if it is guided and the best guidance is not known.
    """
    usual: ArGrpoConfig = bench.task.config
    updates = usual.updates if bench.plan.updates is None else bench.plan.updates
    changes = dict(it.changes)
    if it.guided:
        if best is None:
            raise BadConfig("the best guidance is not known before the untrained model is measured with every seed")
        changes["guidance"] = best.guided
    return replace(usual, updates=updates, seed=it.seed, **changes)


def memory_of(it: Training, bench: Bench) -> LooFidSettings:
    """How the training's LOO-FID remembers and compares."""
    return replace(bench.task.memory, **it.memory)


def content_of(it: Training, bench: Bench, best: Best | None) -> dict[str, Any]:
    """All that decides what the training learns, but the weights that it starts from."""
    task = bench.task
    if not it.trained:
        return {"trained": False, "seed": it.seed, "prompts": task.prompts}
    return {
        "config": decisive(config_of(it, bench, best)),
        "memory": asdict(memory_of(it, bench)),
        "rewards": task.rewards,
        "prompts": task.prompts,
        "net": task.net,
        "start_images": bench.start_images,
        "renders": bench.plan.training_renders,
        **told_precision(bench.plan.precision),
    }


def set_up(it: Training, bench: Bench, best: Best | None, *, net: FeatureNet, reference: FeatureSet) -> Work:
    """The model with the method over it, at its start; all of its transformer's weights are trained.

    `net` sees for LOO-FID, and `reference` is what it sees in real pictures. Raises BadConfig.
    """
    task, config = bench.task, config_of(it, bench, best)
    policy = bench.load_policy(task.model, device=bench.device)
    trained = _precisely(policy, bench)
    start = _precisely(frozen_start(policy), bench) if config.kl_weight else None
    together = LeaveOneOutFID(
        net, reference, start=pictures_before(trained, bench, config, net), settings=memory_of(it, bench)
    )
    policy.transformer.requires_grad_(True)
    judges = Judges(pictures=bench.load_many(task.rewards, device=bench.device), together=together)
    return Work(trainer=ArGrpo(trained, judges, task.prompts, config, start=start), policy=policy)


def pictures_before(policy: TokenPolicy, bench: Bench, config: ArGrpoConfig, net: FeatureNet) -> FeatureSet | None:
    """What the net sees in pictures that the policy draws as it will in training, classes in turn; None for none."""
    classes, count = bench.task.prompts, bench.start_images
    if not count:
        return None

    condition = policy.encode([classes[row % len(classes)] for row in range(count)])
    keys: list[tuple[int | str, ...]] = [(config.seed, "start", row) for row in range(count)]
    drawn = draw_pictures(policy, condition, keys, config.sampling(), batch_size=BATCH)
    return features_of(drawn.split(BATCH), net, images=f"{count} pictures before training")


def _precisely(policy: TokenPolicy, bench: Bench) -> TokenPolicy:
    return TokensInBfloat16(policy) if bench.plan.precision == "bfloat16" else policy
