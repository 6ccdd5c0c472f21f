"""`plaudit train plans`: described pictures and a model that draws token by token in; one that plans first out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import Command
from plaudit.shells.training import Method, Workplace, load_judges, run
from plaudit.shells.training_options import TrainingOptions, recorded, task_from

if TYPE_CHECKING:
    from plaudit.core.team import Team
    from plaudit.presets.reasongen import LessonsTask
    from plaudit.presets.task import Task


@dataclass(frozen=True, kw_only=True)
class PlansOptions(TrainingOptions):
    """All that `plaudit train plans` takes. What is left out is the preset's."""

    preset: str = "pocket-plans"
    """task with its model, lessons and settings, and rewards to watch (plaudit list presets)"""
    model: str = ""
    """model that may write plans, of the table (plaudit list models), its folder, or a training's; left out: the
    preset's"""
    lessons: str | None = None
    """described pictures: a JSONL file, a data set's folder or hub id, in the rows of ReasonGen-R1's data; or scenes:
    the pocket world's own"""
    count: int | None = None
    """lessons that are drawn, of scenes; or the most that are read; 0: all there are"""
    lessons_per_update: int | None = None
    """lessons of an update"""
    held_out_share: float | None = None
    """share of the lessons that are never learned from; looks tell what is lost on them"""
    drop: float | None = None
    """share of the lessons without prompt and plan, of which only the picture is learned: for guidance"""
    word_weight: float | None = None
    """of the cross-entropy of words"""
    token_weight: float | None = None
    """of the cross-entropy of the picture's tokens"""
    look_guidance: float | None = None
    """classifier-free guidance of the looks, and of whoever draws with what is left"""
    weight_decay: float | None = None
    """AdamW's"""
    draw_batch_size: int | None = None
    """pictures drawn at once, half as many with guidance; drawing takes less memory than learning, and more at once are
    faster each, most of all on a GPU; left out: the preset's, or as many as --batch-size"""
    recompute: bool = False
    """keep no activations of calls with a gradient and make them again: less memory, about a third more time; so do
    the presets of Janus-Pro"""


SECTIONS = {
    "what to teach, and by what": (
        "prompts", "preset", "model", "lessons", "count", "updates", "lessons_per_update", "held_out_share", "drop",
        "seed",
    ),
    "what counts": ("word_weight", "token_weight"),
    "how weights follow": (
        "lr", "warmup", "decay", "decay_to", "weight_decay", "grad_clip", "ema", "rank", "alpha", "precision",
    ),
    "what is watched": ("reward", "held_out", "prompts_file", "look_guidance"),
    "what is left behind": (
        "save_every", "keep", "stop_when_hacked", "hacked_margin", "report_to", "out", "resume", "json",
    ),
    "speed and memory": ("batch_size", "draw_batch_size", "recompute", "device"),
}  # fmt: skip
"""of the help page, with their flags"""


def task_of(options: PlansOptions) -> "LessonsTask":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.reasongen import LESSONS, LessonsTask

    task = task_from(options, LESSONS, method="plans")
    assert isinstance(task, LessonsTask)
    own: dict[str, Any] = {
        "lessons": options.lessons, "count": options.count,
        "look_guidance": options.look_guidance,
    }  # fmt: skip
    task = replace(task, **{name: value for name, value in own.items() if value is not None})
    if not task.lessons:
        raise BadConfig(
            f"{options.preset!r} brings no described pictures; name a file or a data set of them with --lessons"
        )
    if task.count < 0:
        raise BadConfig(f"--count is a number of lessons, 0 for all; got {task.count}")
    return task


def set_up(options: PlansOptions, task: "LessonsTask", team: "Team") -> Workplace:
    """The trainer, the rewards to watch, and what was loaded."""
    from plaudit.generators.plan_policy import PlanSampling
    from plaudit.generators.plan_training import PlansInBfloat16
    from plaudit.generators.token_policy import Sampling
    from plaudit.methods.drawn_at_once import drawn_at_once
    from plaudit.methods.plan_sft import PlanSft
    from plaudit.runs.plan_lessons import load_lessons
    from plaudit.shells.plan_drawing import Drawing, load_trained, recorded_sampling

    _, watched, sources = load_judges(options, task, team)
    policy, _ = load_trained(options, task)
    generator: Any = policy
    if options.precision == "bfloat16":
        policy = PlansInBfloat16(policy)
    lessons = load_lessons(task, policy)
    trainer = PlanSft(policy, lessons, task.config, team=team, shown=task.prompts)
    final = PlanSampling(image=Sampling(guidance=task.look_guidance))
    at_once = drawn_at_once(task.config, guided=final.image.guided)
    drawing = Drawing(policy, final, batch_size=at_once, decoded=task.config.batch_size)
    return Workplace(
        trainer=trainer, watched=watched, sources={**sources(), "lessons": task.lessons}, draw=drawing.images,
        network=policy.transformer, generator=generator, sampling=recorded_sampling(final), tell=drawing.plans,
        taught=lessons.prompts, follows=False,
    )  # fmt: skip


def _presets() -> "Mapping[str, Callable[[], Task]]":
    from plaudit.presets.reasongen import LESSONS

    return LESSONS


METHOD = Method(name="plans", presets=_presets, task_of=task_of, set_up=set_up)


def _recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return recorded(typed, PlansOptions, method="plans")


COMMAND = Command(
    name="train plans",
    purpose=(
        "Teach a model that draws token by token to write a plan first (ReasonGen-R1's first stage, Zhang et al.\n"
        "2025). A lesson is a prompt, a detailed caption as its plan, and the picture. Words and the picture's\n"
        "tokens are learned, the end of the plan too; a share of the lessons is read without prompt and plan, so\n"
        "that the result can be guided. Rewards are watched, not learned from.\n"
        "Then: plaudit train reasongen --model DIR.\n\n"
        "Leaves a folder as every training does: weights or a LoRA, metrics.jsonl, looks with plans, report.html."
    ),
    examples="""
plaudit train plans --updates 100
plaudit train plans --lessons rows.jsonl --preset janus-pro-1b-plans --out runs/taught
plaudit train plans --resume runs/2026-01-31-plans-pocket-plans
""",
    options=PlansOptions,
    run=lambda options: run(options, METHOD),
    recorded=_recorded,
    sections=SECTIONS,
)
