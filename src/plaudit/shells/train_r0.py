"""`plaudit train r0`: a many-step model and differentiable rewards in, a few-step generator out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from plaudit.shells.flags import Command, WrongUsage
from plaudit.shells.training import Method, Workplace, load_judges, run
from plaudit.shells.training_options import TrainingOptions, recorded, task_from

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.core.team import Team
    from plaudit.presets.task import Task


@dataclass(frozen=True, kw_only=True)
class R0Options(TrainingOptions):
    """All that `plaudit train r0` takes. What is left out is the preset's."""

    preset: str = "pocket-r0-plus"
    """task with its rewards, prompts and settings (plaudit list presets)"""
    model: str = ""
    """model of the table or a folder, of many steps: a Stable Diffusion 1, 2 or 3; left out: the preset's"""
    images_per_update: int | None = None
    """images of an update, each of a prompt drawn anew"""

    steps: tuple[str, ...] = field(default=(), metadata={"placeholder": "N"})
    """steps of the generator; of several counts every update draws one, and the generator learns them all"""
    shift: float | None = None
    """how much the steps crowd towards the noise, where a picture's layout is decided; 1: not at all"""
    start: float | None = None
    """the first step's place in the schedule; below 1, pure noise is taken for latents that hold a little already"""
    truncation: str | None = None
    """how far gradients reach back: one (R0+, a random step), all (R0), last:N or noised:N (DRaFT), tail (AlignProp),
    late:N (ReFL)"""
    eta: float | None = None
    """largest share of fresh noise in a step, from 0 to 1; every image's every step draws its own"""
    rule: Literal["interpolate", "ddim"] | None = None
    """how fresh noise is mixed in: by share, or as DDIM does"""

    normalise: Literal["latents", "pixels", "none"] | None = None
    """where every reward's gradient is given the same length; pixels passes the decoder once for all rewards"""
    conflicts: Literal["sum", "pcgrad"] | None = None
    """rewards that pull against each other: added up, or each without what is against another (pcgrad)"""
    guidance_weight: float | None = None
    """of the frozen model's own view of the prompt, beside the rewards' weights; 0: none"""
    guidance_low: float | None = None
    """the least noise that it looks through, as a place in the schedule between 0 and 1"""
    guidance_high: float | None = None
    """the most"""
    detail_weight: float | None = None
    """of the same at little noise alone, for detail that rewards at 224 pixels do not see; 0: none"""
    detail_high: float | None = None
    """the most noise that this looks through"""

    pull: float | None = None
    """decay towards the pretrained weights, as a share of what has moved per unit of learning rate; 0: none"""
    drift_limit: float | None = None
    """how far the weights may be from them at most, as a share of their norm; 0: as far as they go"""
    recompute: bool = False
    """keep no activations of calls with a gradient and make them again: less memory, about a third more time"""


SECTIONS = {
    "what to train, and on what": (
        "prompts", "preset", "model", "reward", "held_out", "prompts_file", "updates", "images_per_update", "seed",
    ),
    "how pictures are drawn": ("steps", "shift", "start", "truncation", "eta", "rule"),
    "how judges become a direction": (
        "normalise", "conflicts", "guidance_weight", "guidance_low", "guidance_high", "detail_weight", "detail_high",
    ),
    "what of the model is trained, and how far": ("rank", "alpha", "pull", "drift_limit", "precision"),
    "how weights follow": ("lr", "warmup", "decay", "decay_to", "grad_clip", "ema"),
    "what is left behind": (
        "save_every", "keep", "stop_when_hacked", "hacked_margin", "report_to", "out", "resume", "json",
    ),
    "speed and memory": ("batch_size", "recompute", "device"),
}  # fmt: skip
"""of the help page, with their flags"""


def task_of(options: R0Options) -> "Task":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.r0 import TASKS

    said: dict[str, Any] = {"seed": options.seed}
    preset = TASKS.get(options.preset)
    if preset is not None:
        config = preset().config
        said |= {"steps": _counts(options.steps) or config.steps, "recompute": options.recompute or config.recompute}
    return task_from(options, TASKS, method="r0", said=said)


def _counts(typed: Sequence[str]) -> tuple[int, ...]:
    for text in typed:
        if not str(text).isdecimal():
            raise WrongUsage(f"--steps takes whole numbers, got {text!r}")
    return tuple(int(text) for text in typed)


def set_up(options: R0Options, task: "Task", team: "Team") -> Workplace:
    """The trainer, the rewards to watch, and what was loaded."""
    import torch

    from plaudit.generators.denoising import DenoisingInBfloat16, denoising_of
    from plaudit.generators.table import load_generator
    from plaudit.methods.anchor import begin
    from plaudit.methods.denoising_walk import draw_few_steps
    from plaudit.methods.r0 import R0
    from plaudit.shells.drawing import device_of

    reward, watched, sources = load_judges(options, task, team)
    generator = load_generator(task.model, device=device_of(options.device))
    denoising = denoising_of(generator)
    start = begin(generator, denoising, rank=task.rank, alpha=task.alpha, seed=options.seed)
    if options.precision == "bfloat16":
        denoising = DenoisingInBfloat16(denoising)
        start = replace(start, frozen=DenoisingInBfloat16(start.frozen))
    trainer = R0(denoising, reward, task.prompts, task.config, start=start, team=team)
    steps, size = task.config.steps[-1], task.config.batch_size

    def draw(prompts: Sequence[str], keys: Sequence[tuple[int | str, ...]]) -> "Tensor":
        condition = denoising.encode(prompts)
        grid = denoising.grid(steps, task.config.shift, task.config.start)
        parts = [slice(at, at + size) for at in range(0, len(keys), size)]
        return torch.cat([draw_few_steps(denoising, keys[at], condition[at], grid=grid) for at in parts])

    return Workplace(
        trainer=trainer, watched=watched, sources=sources(), draw=draw, network=denoising.denoiser,
        generator=generator,
        sampling={"steps": steps, "guidance": 1.0, "shift": task.config.shift, "start": task.config.start},
    )  # fmt: skip


def _presets() -> "Mapping[str, Callable[[], Task]]":
    from plaudit.presets.r0 import TASKS

    return TASKS


METHOD = Method(name="r0", presets=_presets, task_of=task_of, set_up=set_up)


def _recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return recorded(typed, R0Options, method="r0")


COMMAND = Command(
    name="train r0",
    purpose=(
        "Make a few-step generator of a many-step diffusion model by rewards alone (R0 and R0+, Luo et al. 2025).\n"
        "No pictures, no teacher to imitate: a model draws in 4 steps without guidance, and its weights follow the\n"
        "gradients of several rewards and of the pretrained model's own view of the prompt, held near where they\n"
        "began. Rewards must be differentiable; for others there is train rlcm.\n\n"
        "Leaves a folder: the weights (all of them, or a LoRA with --rank N) as diffusers reads them, the sampler's\n"
        "settings, metrics.jsonl, looks at fixed prompts, checkpoints and report.html. `plaudit generate --model DIR`\n"
        "draws with it. A stopped training goes on with --resume, and ends as if it had not been stopped.\n\n"
        "Several processes share the images of an update, and learn what one would:\n"
        "  torchrun --nproc-per-node 2 -m plaudit train r0 ..."
    ),
    examples="""
plaudit train r0 --updates 50
plaudit train r0 --truncation all --reward hps imagereward --held-out pickscore --stop-when-hacked 3
plaudit train r0 --steps 1 2 4 --rank 32 --lr 1e-3
plaudit train r0 --preset sd15 --model SG161222/Realistic_Vision_V5.1_noVAE --prompts my-prompts.txt
plaudit train r0 --resume runs/2026-01-31-r0-pocket-r0-plus
""",
    options=R0Options,
    run=lambda options: run(options, METHOD),
    recorded=_recorded,
    sections=SECTIONS,
)
