"""`plaudit train ar-grpo`: a model that draws token by token, rewards and real pictures in; a better model out."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.training import Method, Workplace, load_judges, run
from plaudit.shells.training_options import TrainingOptions, recorded, task_from

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from plaudit.core.team import Team
    from plaudit.generators.generator import Condition
    from plaudit.generators.token_policy import Sampling, TokenPolicy
    from plaudit.methods.ar_grpo_config import ArGrpoConfig
    from plaudit.presets.ar_grpo import ArTask
    from plaudit.presets.task import Task
    from plaudit.rewards.loo_fid import LeaveOneOutFID, LooFidSettings

NO_NET = "none"
LONG = 1000
"""pictures that take a while, and so are spoken of"""


@dataclass(frozen=True, kw_only=True)
class ArGrpoOptions(TrainingOptions):
    """All that `plaudit train ar-grpo` takes. What is left out is the preset's."""

    preset: str = "pocket-llamagen"
    """task with its model, rewards, real pictures and settings (plaudit list presets)"""
    model: str = ""
    """model that draws token by token, of the table (plaudit list models), its folder, or a training's; left out: the
    preset's"""
    prompts_per_update: int | None = None
    """prompts of an update; rounds go through all of them"""
    images_per_prompt: int | None = None
    """a group: pictures of a prompt that are compared with each other, at least 2"""
    instance_weight: float | None = None
    """of the rewards for each picture by itself"""

    distribution_weight: float | None = None
    """of LOO-FID, the reward for all pictures together; 0: it is measured only"""
    net: str | None = None
    """feature net that it sees pictures by, of the table or a folder; none: no LOO-FID"""
    reference: str | None = None
    """real pictures: a folder, a file of their statistics, or renders: the pocket world's own of the prompts"""
    start_images: int | None = None
    """pictures of the model before training that are remembered first"""
    memory_decay: float | None = None
    """how much of its memory an update leaves, from 0 to below 1"""
    covariance: Literal["full", "diagonal"] | None = None
    """compare all of it, or the variances alone, as the paper's code does"""
    form: Literal["potential", "second-order", "exact"] | None = None
    """the derivative of FID, the same with its second-order term, or FID without each picture"""
    shrinkage: float | None = None
    """share of what lies off the covariances' diagonals that is taken away"""

    guidance: float | None = None
    """classifier-free guidance of the pictures that are learned from; 1: none, which is on-policy"""
    temperature: float | None = None
    """of these pictures"""
    top_k: int | None = None
    """of these pictures: only so many of the likeliest tokens; 0: all"""
    top_p: float | None = None
    """of these pictures: only the likeliest tokens that hold this much probability together; 1: all"""
    look_guidance: float | None = None
    """guidance of the looks, and of whoever draws with what is left; left out: 1, or with --learned drawn that of
    --guidance"""

    spread: Literal["group", "update"] | None = None
    """what advantages are scaled by: every group by its own spread, or all of an update's by theirs together, so that
    groups count by what is at stake in them"""
    advantage_clip: float | None = None
    """how many spreads better or worse than its group a picture may count as, by either reward"""
    ratio: Literal["token", "sequence"] | None = None
    """what is clipped: every token's importance ratio, or a picture's, the geometric mean of its tokens'"""
    clip: float | None = None
    """how far a ratio may move from 1 within an update"""
    learned: Literal["prompt", "drawn"] | None = None
    """whose tokens are made likelier: the unguided policy's (the paper's way), or those of what was drawn from"""
    importance_cap: float | None = None
    """off-policy only: tokens count by how much likelier the policy finds them than they were drawn, at most so much;
    0: all the same"""
    kl_weight: float | None = None
    """of the divergence from the model that training started from, per token; 0: none"""
    entropy_target: float | None = None
    """where a controller keeps the entropy, as a share of the codebook's logarithm; 0: no controller"""
    entropy_rate: float | None = None
    """how fast it answers, per nat of error and update"""
    entropy_limit: float | None = None
    """largest size of its coefficient"""
    passes: int | None = None
    """over the pictures of an update"""
    steps_per_pass: int | None = None
    """optimiser steps in a pass; with 1 and one pass, nothing is ever clipped"""

    rank: int | None = None
    """no LoRA here: every weight is trained"""
    alpha: float | None = None
    """no LoRA here"""
    weight_decay: float | None = None
    """AdamW's"""
    draw_batch_size: int | None = None
    """pictures drawn at once, half as many with guidance; drawing takes less memory than learning, and more at once are
    faster each, most of all on a GPU; left out: the preset's, or as many as --batch-size"""
    recompute: bool = False
    """keep no activations of calls with a gradient and make them again: less memory, about a third more time"""


SECTIONS = {
    "what to train, and on what": (
        "prompts", "preset", "model", "reward", "held_out", "prompts_file", "updates", "prompts_per_update",
        "images_per_prompt", "instance_weight", "seed",
    ),
    "LOO-FID: pictures that are as a whole like real ones": (
        "distribution_weight", "net", "reference", "start_images", "memory_decay", "covariance", "form", "shrinkage",
    ),
    "how pictures are drawn": ("guidance", "temperature", "top_k", "top_p", "look_guidance"),
    "how rewards become a gradient": (
        "spread", "advantage_clip", "ratio", "clip", "learned", "importance_cap", "kl_weight", "entropy_target",
        "entropy_rate", "entropy_limit", "passes", "steps_per_pass",
    ),
    "how weights follow it": (
        "lr", "warmup", "decay", "decay_to", "weight_decay", "grad_clip", "ema", "rank", "alpha", "precision",
    ),
    "what is left behind": (
        "save_every", "keep", "stop_when_hacked", "hacked_margin", "report_to", "out", "resume", "json",
    ),
    "speed and memory": ("batch_size", "draw_batch_size", "recompute", "device"),
}  # fmt: skip
"""of the help page, with their flags"""


def task_of(options: ArGrpoOptions) -> "ArTask":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.ar_grpo import TASKS, ArTask

    if options.rank or options.alpha is not None:
        raise WrongUsage("train ar-grpo trains every weight and lays no LoRA over them; leave --rank and --alpha out")
    task = task_from(options, TASKS, method="ar-grpo")
    assert isinstance(task, ArTask)
    own = {name: getattr(options, name) for name in ("net", "reference", "start_images")}
    said = {name: value for name, value in own.items() if value is not None}
    if options.net == NO_NET:
        said |= {"net": "", "reference": "", "start_images": 0}
    task = replace(task, memory=_memory(options, task.memory), **said)
    if task.start_images < 0 or task.start_images == 1:
        raise BadConfig(f"start_images is 0 (none) or at least 2, got {task.start_images}")
    if task.net and not task.reference:
        raise BadConfig(
            f"LOO-FID on {task.net} compares with real pictures, and {options.preset!r} brings none: name a folder or "
            "a file of their statistics with --reference, or do without by --net none"
        )
    if not task.net and task.config.instance_weight == 0:
        raise BadConfig("there is nothing to follow: --instance-weight is 0 and there is no --net for LOO-FID")
    return task


def _memory(options: ArGrpoOptions, memory: "LooFidSettings") -> "LooFidSettings":
    own = {
        "covariance": options.covariance, "form": options.form, "decay": options.memory_decay,
        "shrinkage": options.shrinkage,
    }  # fmt: skip
    said: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    if options.covariance == "diagonal" and options.form is None and memory.form == "second-order":
        # Which only whole covariances have.
        said["form"] = "potential"
    return replace(memory, **said)


def set_up(options: ArGrpoOptions, task: "ArTask", team: "Team") -> Workplace:
    """The trainer, the rewards to watch, and what was loaded."""
    from plaudit.generators.table import load_token_policy
    from plaudit.generators.token_policy import check_guidable
    from plaudit.generators.token_rollout import draw_pictures
    from plaudit.generators.token_training import TokensInBfloat16, frozen_start
    from plaudit.generators.trained_part import train_all
    from plaudit.methods.ar_grpo import ArGrpo, Judges
    from plaudit.methods.drawn_at_once import drawn_at_once
    from plaudit.shells.drawing import device_of

    device, config = device_of(options.device), task.config
    reward, watched, sources = load_judges(options, task, team)
    generator: Any = load_token_policy(task.model, device=device)
    policy: TokenPolicy = generator
    final = look_sampling(config, options.look_guidance)
    for sampling in (config.sampling(), final):
        check_guidable(policy, sampling)
    if team.leads and config.instance_weight and (number := next(filter(str.isdecimal, task.prompts), None)):
        print(
            f"plaudit: {number!r} is a class's number, of which a reward that reads prompts knows nothing; it does of "
            "names, where a model's folder has class_names in its config.json",
            file=sys.stderr,
        )
    if options.recompute:
        generator.use_checkpointing()
    train_all(policy.transformer)
    start = frozen_start(policy) if config.kl_weight > 0 else None
    if options.precision == "bfloat16":
        policy, start = TokensInBfloat16(policy), None if start is None else TokensInBfloat16(start)
    judged, told = load_distribution(options, task, policy, device, speaks=team.leads)
    trainer = ArGrpo(
        policy, Judges(pictures=reward, together=judged), task.prompts, config, start=start, team=team
    )  # fmt: skip

    at_once = drawn_at_once(config, guided=final.guided)

    def draw(prompts: Sequence[str], keys: Sequence[tuple[int | str, ...]]) -> "Tensor":
        return draw_pictures(policy, policy.encode(prompts), keys, final, batch_size=at_once, decoded=config.batch_size)

    return Workplace(
        trainer=trainer, watched=watched, sources={**sources(), "distribution": told}, draw=draw,
        network=policy.transformer, generator=generator, sampling=asdict(final),
        # With LOO-FID alone the rewards of pictures are there to be looked at.
        follows=task.config.instance_weight != 0,
    )  # fmt: skip


def look_sampling(config: "ArGrpoConfig", guidance: float | None) -> "Sampling":
    """How what is left shall be drawn with: as the policy that was taught, which is unguided unless that was said."""
    from plaudit.generators.token_policy import Sampling

    taught = config.sampling() if config.learned == "drawn" else Sampling()
    return taught if guidance is None else replace(taught, guidance=guidance)


def load_distribution(
    options: ArGrpoOptions, task: "ArTask", policy: "TokenPolicy", device: "torch.device", *, speaks: bool
) -> "tuple[LeaveOneOutFID | None, dict[str, Any] | None]":
    """LOO-FID as the task says, and what of it is recorded; neither if the task has no net."""
    if not task.net:
        return None, None
    from plaudit.rewards.feature_statistics import features_of
    from plaudit.rewards.feature_table import FEATURE_NETS, load_feature_net
    from plaudit.rewards.loo_fid import LeaveOneOutFID
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.licences import tell_licences
    from plaudit.suites.reference_sets import reference_features

    check_known(FEATURE_NETS, task.net)
    if speaks:
        tell_licences(FEATURE_NETS, [task.net])
    condition = policy.encode(task.prompts)
    net = load_feature_net(task.net, device=device)
    reference = reference_features(task.reference, net, prompts=task.prompts)
    start = None
    # A training that goes on remembers what it saw.
    if task.start_images and not (options.resume and _has_a_checkpoint(options.resume)):
        if speaks and task.start_images >= LONG:
            print(f"plaudit: drawing {task.start_images} pictures for LOO-FID to begin with", file=sys.stderr)
        start = features_of(_before_training(policy, condition, task), net, images="of the model before training")
    told = {
        "name": "LOO-FID",
        "weight": task.config.distribution_weight,
        "net": {**source_of(FEATURE_NETS, task.net), "fingerprint": net.fingerprint},
        "reference": {"pictures": reference.images, "count": reference.moments.count},
    }
    return LeaveOneOutFID(net, reference, start=start, settings=task.memory), told


def _has_a_checkpoint(folder: Path) -> bool:
    from plaudit.runs.training_folder import TrainingFolder

    return TrainingFolder.open(folder).saved() > 0


def _before_training(policy: "TokenPolicy", condition: "Condition", task: "ArTask") -> "Iterator[Tensor]":
    """Pictures of the prompts in turns, drawn as those that will be learned from, some at a time."""
    import torch

    from plaudit.generators.token_rollout import draw_pictures
    from plaudit.methods.drawn_at_once import drawn_at_once

    config = task.config
    at_once = drawn_at_once(config, guided=config.sampling().guided)
    for numbers in torch.arange(task.start_images).split(at_once):
        rows = (numbers % len(task.prompts)).to(policy.device)
        keys = [(config.seed, "start", number) for number in numbers.tolist()]
        yield draw_pictures(
            policy, condition[rows], keys, config.sampling(), batch_size=at_once, decoded=config.batch_size
        )


def _presets() -> "Mapping[str, Callable[[], Task]]":
    from plaudit.presets.ar_grpo import TASKS

    return TASKS


METHOD = Method(name="ar-grpo", presets=_presets, task_of=task_of, set_up=set_up)


def _recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return recorded(typed, ArGrpoOptions, method="ar-grpo")


COMMAND = Command(
    name="train ar-grpo",
    purpose=(
        "Train a model that draws token by token by GRPO (Baran et al. 2026): LlamaGen, or VQGAN.\n"
        "An update draws a group of pictures of each prompt, judges every picture by itself and all of them together,\n"
        "and makes the tokens of the better ones likelier. LOO-FID judges them together: how much closer to real\n"
        "pictures the set is with a picture than without, so that variety is not traded for scores. Rewards need no\n"
        "gradient. Every weight is trained, and drawing without guidance, at half the cost, is what is taught.\n\n"
        "Leaves a folder: transformer.safetensors, metrics.jsonl, looks at fixed prompts, checkpoints and\n"
        "report.html. `plaudit generate --model DIR` draws with it. A stopped training goes on with --resume, and\n"
        "ends as if it had not been stopped.\n\n"
        "Several processes share the prompts of an update, and learn what one would:\n"
        "  torchrun --nproc-per-node 2 -m plaudit train ar-grpo ..."
    ),
    examples="""
plaudit train ar-grpo --updates 50
plaudit train ar-grpo --reward hps imagereward --held-out pickscore --stop-when-hacked 3
plaudit train ar-grpo --net none --kl-weight 0.05       rewards of single pictures only
plaudit train ar-grpo --covariance diagonal             LOO-FID as the paper's code has it
plaudit train ar-grpo --preset llamagen --reference my-photos --start-images 2000
plaudit train ar-grpo --resume runs/2026-01-31-ar-grpo-pocket-llamagen
""",
    options=ArGrpoOptions,
    run=lambda options: run(options, METHOD),
    recorded=_recorded,
    sections=SECTIONS,
)
