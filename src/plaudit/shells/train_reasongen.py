"""`plaudit train reasongen`: a model that writes a plan and draws it, and a judge, in; a better model out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.training import Method, Workplace, load_judges, run
from plaudit.shells.training_options import TrainingOptions, recorded, task_from

if TYPE_CHECKING:
    from plaudit.core.team import Team
    from plaudit.generators.plan_policy import PlanSampling
    from plaudit.presets.reasongen import PlanTask
    from plaudit.presets.task import Task


@dataclass(frozen=True, kw_only=True)
class ReasonGenOptions(TrainingOptions):
    """All that `plaudit train reasongen` takes. What is left out is the preset's."""

    preset: str = "pocket-reasongen"
    """task with its model, rewards, prompts and settings (plaudit list presets)"""
    model: str = ""
    """model that writes plans, of the table (plaudit list models), its folder, or a training's; left out: the
    preset's"""
    prompts_per_update: int | None = None
    """prompts of an update that are learned from"""
    images_per_prompt: int | None = None
    """a group: responses to a prompt that are compared with each other, at least 2"""
    rounds: int | None = None
    """how often new prompts may be drawn for until all groups of an update differ in their rewards; 1: groups of equals
    stay"""

    direct: bool = False
    """write no plans: the picture follows the prompt"""
    word_temperature: float | None = None
    """of the plans that are learned from"""
    word_top_k: int | None = None
    """of these plans: only so many of the likeliest words; 0: all"""
    word_top_p: float | None = None
    """of these plans: only the likeliest words that hold this much probability together; 1: all"""
    guidance: float | None = None
    """classifier-free guidance of the pictures that are learned from; 1: none, which is on-policy"""
    temperature: float | None = None
    """of these pictures"""
    top_k: int | None = None
    """of these pictures: only so many of the likeliest tokens; 0: all"""
    top_p: float | None = None
    """of these pictures: only the likeliest tokens that hold this much probability together; 1: all"""
    look_guidance: float | None = None
    """guidance of the looks, and of whoever draws with what is left"""

    spread: Literal["group", "update"] | None = None
    """what advantages are scaled by: every group by its own spread, or all of an update's by theirs together, so that
    groups count by what is at stake in them"""
    advantage_clip: float | None = None
    """how many spreads better or worse than its group a response may count as"""
    balance: Literal["tokens", "images", "segments"] | None = None
    """what counts the same: every word and token, every response, or all words together and all tokens together"""
    word_weight: float | None = None
    """of the advantage in the loss of words"""
    token_weight: float | None = None
    """of the advantage in the loss of tokens"""
    clip: float | None = None
    """how far a ratio may move from 1 within an update"""
    learned: Literal["prompt", "drawn"] | None = None
    """whose words and tokens are made likelier: the plain policy's, or those of what was drawn from"""
    importance_cap: float | None = None
    """words and tokens count by how much likelier the policy finds them than they were drawn, at most so much; 0: all
    the same"""
    kl_weight: float | None = None
    """of the divergence from the model that training started from; 0: none"""
    passes: int | None = None
    """over the responses of an update"""
    steps_per_pass: int | None = None
    """optimiser steps in a pass; with 1 and one pass, nothing is ever clipped"""

    entropy_control: Literal["published", "pi", "none"] | None = None
    """who keeps the entropies: the paper's rule, ours, which answers the size of an error too, or nobody"""
    word_entropy: float | None = None
    """where the entropy of words is kept, nats"""
    token_entropy: float | None = None
    """where the entropy of tokens is kept, nats"""
    entropy_rate: float | None = None
    """how fast a controller answers"""
    entropy_limit: float | None = None
    """largest size of its coefficient"""

    weight_decay: float | None = None
    """AdamW's"""
    draw_batch_size: int | None = None
    """pictures drawn at once, half as many with guidance; drawing takes less memory than learning, and more at once are
    faster each, most of all on a GPU; left out: the preset's, or as many as --batch-size"""
    recompute: bool = False
    """keep no activations of calls with a gradient and make them again: less memory, about a third more time; so do
    the presets of Janus-Pro"""


SECTIONS = {
    "what to train, and on what": (
        "prompts", "preset", "model", "reward", "held_out", "prompts_file", "updates", "prompts_per_update",
        "images_per_prompt", "rounds", "seed",
    ),
    "how plans are written and pictures drawn": (
        "direct", "word_temperature", "word_top_k", "word_top_p", "guidance", "temperature", "top_k", "top_p",
        "look_guidance",
    ),
    "how rewards become a gradient": (
        "spread", "advantage_clip", "balance", "word_weight", "token_weight", "clip", "learned", "importance_cap",
        "kl_weight", "passes", "steps_per_pass",
    ),
    "how entropies are kept": ("entropy_control", "word_entropy", "token_entropy", "entropy_rate", "entropy_limit"),
    "how weights follow it": (
        "lr", "warmup", "decay", "decay_to", "weight_decay", "grad_clip", "ema", "rank", "alpha", "precision",
    ),
    "what is left behind": (
        "save_every", "keep", "stop_when_hacked", "hacked_margin", "report_to", "out", "resume", "json",
    ),
    "speed and memory": ("batch_size", "draw_batch_size", "recompute", "device"),
}  # fmt: skip
"""of the help page, with their flags"""


def task_of(options: ReasonGenOptions) -> "PlanTask":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.reasongen import TASKS, PlanTask

    task = task_from(options, TASKS, method="reasongen", said={"plan": False} if options.direct else {})
    assert isinstance(task, PlanTask)
    if not task.config.plan and (options.word_temperature or options.word_top_k or options.word_top_p):
        raise WrongUsage("without a plan no words are drawn; leave --word-temperature, -top-k and -top-p out")
    guidance = task.look_guidance if options.look_guidance is None else options.look_guidance
    return replace(task, look_guidance=guidance)


def set_up(options: ReasonGenOptions, task: "PlanTask", team: "Team") -> Workplace:
    """The trainer, the rewards to watch, and what was loaded."""
    from plaudit.generators.plan_training import PlansInBfloat16
    from plaudit.methods.drawn_at_once import drawn_at_once
    from plaudit.methods.reasongen import ReasonGen
    from plaudit.shells.plan_drawing import Drawing, load_trained, recorded_sampling, tell_untaught

    config = task.config
    if team.leads:
        tell_untaught(task)
    reward, watched, sources = load_judges(options, task, team)
    policy, start = load_trained(options, task, start=config.kl_weight > 0)
    generator: Any = policy
    if options.precision == "bfloat16":
        policy, start = PlansInBfloat16(policy), None if start is None else PlansInBfloat16(start)
    trainer = ReasonGen(policy, reward, task.prompts, config, start=start, team=team)
    final = look_sampling(task)
    at_once = drawn_at_once(config, guided=final.image.guided)
    drawing = Drawing(policy, final, batch_size=at_once, decoded=config.batch_size)
    return Workplace(
        trainer=trainer, watched=watched, sources=sources(), draw=drawing.images, network=policy.transformer,
        generator=generator, sampling=recorded_sampling(final), tell=drawing.plans if config.plan else None,
    )  # fmt: skip


def look_sampling(task: "PlanTask") -> "PlanSampling":
    """How what is left shall be drawn with: plainly, but for the guidance that was asked for."""
    from plaudit.generators.plan_policy import PlanSampling
    from plaudit.generators.token_policy import Sampling

    return PlanSampling(image=Sampling(guidance=task.look_guidance), plan=task.config.plan)


def _presets() -> "Mapping[str, Callable[[], Task]]":
    from plaudit.presets.reasongen import TASKS

    return TASKS


METHOD = Method(name="reasongen", presets=_presets, task_of=task_of, set_up=set_up)


def _recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return recorded(typed, ReasonGenOptions, method="reasongen")


COMMAND = Command(
    name="train reasongen",
    purpose=(
        "Train a model that writes a plan and then draws it by GRPO (ReasonGen-R1, Zhang et al. 2025): Janus.\n"
        "An update answers each prompt with a group of plans and pictures, judges the pictures, and makes the words\n"
        "and tokens of the better ones likelier. Groups whose pictures are all as good teach nothing: others are\n"
        "drawn in their place. Two controllers keep the entropy of words and of tokens. Rewards need no gradient.\n"
        "Teach it to plan first: plaudit train plans.\n\n"
        "Leaves a folder: the weights or a LoRA, metrics.jsonl, looks at fixed prompts with their plans, checkpoints\n"
        "and report.html. `plaudit generate --model DIR` draws with it and shows its plans. A stopped training\n"
        "goes on with --resume, and ends as if it had not been stopped.\n\n"
        "Several processes share the prompts of an update, and learn what one would:\n"
        "  torchrun --nproc-per-node 2 -m plaudit train reasongen ..."
    ),
    examples="""
plaudit train reasongen --updates 50
plaudit train reasongen --preset pocket-reasongen-direct         without plans
plaudit train reasongen --reward pocket-vqa-hard --rounds 4      right or wrong, and nothing between
plaudit train reasongen --entropy-control none                   what happens without
plaudit train reasongen --preset janus-pro-1b --model runs/taught --prompts my-prompts.txt
plaudit train reasongen --resume runs/2026-01-31-reasongen-pocket-reasongen
""",
    options=ReasonGenOptions,
    run=lambda options: run(options, METHOD),
    recorded=_recorded,
    sections=SECTIONS,
)
