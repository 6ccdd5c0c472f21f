"""`plaudit train rlcm`: a model and rewards in, a LoRA and a training's folder out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import Command
from plaudit.shells.training import Method, Workplace, load_judges, run
from plaudit.shells.training_options import TrainingOptions, recorded, task_from

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.core.team import Team
    from plaudit.presets.task import Task


@dataclass(frozen=True, kw_only=True)
class RlcmOptions(TrainingOptions):
    """All that `plaudit train rlcm` takes. What is left out is the preset's."""

    preset: str = "pocket-aesthetic"
    """task with its rewards, prompts and settings (plaudit list presets)"""
    model: str = ""
    """model of the table or a folder: a latent consistency model (RLCM), or a Stable Diffusion (DDPO, by DDIM); left
    out: the preset's"""
    prompts_per_update: int | None = None
    """prompts drawn for each update"""
    images_per_prompt: int | None = None
    """images of each of them"""

    steps: int | None = None
    """sampling steps of the policy; left out: the model's own"""
    eta: float = 1.0
    """DDIM only: noise of its steps, from a little above 0 to 1, as much as DDPM's"""
    keep_last_step: bool = False
    """train the last step too, as the paper's code does, though no image shows what it draws: it adds noise alone"""

    comparison: Literal["running", "batch", "group"] | None = None
    """an image's reward counts against those of its prompt's recent images (running, the paper's way), of the batch, or
    of its prompt's other images (group)"""
    buffer_size: int | None = None
    """running: rewards kept of each prompt"""
    min_count: int | None = None
    """running: of those, before a prompt is compared with itself and not with the batch"""
    advantage_clip: float | None = None
    """how many spreads better or worse than expected an image may count as"""
    objective: Literal["ppo", "rebel"] | None = None
    """clipped policy gradient, or REBEL's regression on the two images of a prompt"""
    clip: float | None = None
    """ppo: how far an action's log-probability may move within an update, in nats of the whole action"""
    rebel_scale: float | None = None
    """rebel: its eta; larger steps for smaller ones"""
    kl_weight: float | None = None
    """weight of the divergence from the model that training started from; 0: none"""
    passes: int | None = None
    """over the images of an update"""
    steps_per_pass: int | None = None
    """optimiser steps in a pass; with 1 and one pass, nothing is ever clipped"""

    weight_decay: float | None = None
    """AdamW's"""
    reward_threads: int | None = None
    """threads that ask rewards without a gradient while the next images are drawn; 0: none"""


SECTIONS = {
    "what to train, and on what": (
        "prompts", "preset", "model", "reward", "held_out", "prompts_file", "updates", "prompts_per_update",
        "images_per_prompt", "seed",
    ),
    "what of the model is trained": ("steps", "eta", "rank", "alpha", "keep_last_step", "precision"),
    "how rewards become a gradient": (
        "comparison", "buffer_size", "min_count", "advantage_clip", "objective", "clip", "rebel_scale", "kl_weight",
        "passes", "steps_per_pass",
    ),
    "how weights follow it": ("lr", "warmup", "decay", "decay_to", "weight_decay", "grad_clip", "ema"),
    "what is left behind": (
        "save_every", "keep", "stop_when_hacked", "hacked_margin", "report_to", "out", "resume", "json",
    ),
    "speed and memory": ("batch_size", "reward_threads", "device"),
}  # fmt: skip
"""of the help page, with their flags"""


def task_of(options: RlcmOptions) -> "Task":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.rlcm import TASKS

    said: dict[str, Any] = {"seed": options.seed, "keep_last_step": options.keep_last_step}
    preset = TASKS.get(options.preset)
    alone = options.images_per_prompt == 1 and options.comparison is None
    if alone and preset is not None and preset().config.comparison == "group":
        # A single image of a prompt has no others to be compared with.
        said["comparison"] = "batch"
    return task_from(options, TASKS, method="rlcm", said=said)


def set_up(options: RlcmOptions, task: "Task", team: "Team") -> Workplace:
    """The trainer, the rewards to watch, and what was loaded."""
    from plaudit.generators.policies import InBfloat16, policy_of
    from plaudit.generators.step_policy import draw_images
    from plaudit.generators.table import load_generator
    from plaudit.generators.trained_part import add_lora, train_all, without_lora
    from plaudit.methods.rlcm import Rlcm
    from plaudit.shells.drawing import device_of

    if not options.eta > 0:
        raise BadConfig(f"steps that draw nothing cannot be learned: eta must be above 0, got {options.eta:g}")
    reward, watched, sources = load_judges(options, task, team)
    generator = load_generator(task.model, device=device_of(options.device), steps=options.steps)
    policy = policy_of(generator, eta=options.eta)
    if task.rank:
        add_lora(policy.denoiser, rank=task.rank, alpha=task.alpha, seed=options.seed)
    else:
        train_all(policy.denoiser)
    if options.precision == "bfloat16":
        policy = InBfloat16(policy)
    reference = (lambda: without_lora(policy.denoiser)) if task.rank else None
    trainer = Rlcm(policy, reward, task.prompts, task.config, reference=reference, team=team)

    def draw(prompts: Sequence[str], keys: Sequence[tuple[int | str, ...]]) -> "Tensor":
        return draw_images(policy, policy.encode(prompts), keys, task.config.batch_size)

    return Workplace(
        trainer=trainer, watched=watched, sources=sources(), draw=draw, network=policy.denoiser, generator=generator,
        sampling={"steps": options.steps},
    )  # fmt: skip


def _presets() -> "Mapping[str, Callable[[], Task]]":
    from plaudit.presets.rlcm import TASKS

    return TASKS


METHOD = Method(name="rlcm", presets=_presets, task_of=task_of, set_up=set_up)


def _recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    return recorded(typed, RlcmOptions, method="rlcm")


COMMAND = Command(
    name="train rlcm",
    purpose=(
        "Train a few-step generator on rewards by policy gradient (Oertell et al. 2024): a latent consistency\n"
        "model, or a Stable Diffusion by DDIM (DDPO). An update draws images, judges them, compares them, and makes\n"
        "the steps of the better ones likelier. Any reward will do; it needs no gradient.\n\n"
        "Leaves a folder: a LoRA that diffusers and `plaudit generate --lora` read (or all weights, with --rank 0),\n"
        "metrics.jsonl, looks at fixed prompts, checkpoints and report.html. A stopped training goes on with\n"
        "--resume, and ends as if it had not been stopped.\n\n"
        "Several processes share the images of an update, and learn what one would:\n"
        "  torchrun --nproc-per-node 2 -m plaudit train rlcm ...\n"
        "  accelerate launch --multi_gpu --num_processes 2 --module plaudit train rlcm ..."
    ),
    examples="""
plaudit train rlcm --preset pocket-compression --updates 20
plaudit train rlcm "a red ring" "a blue star" --reward hps --held-out imagereward --stop-when-hacked 3
plaudit train rlcm --model pocket-lcm --steps 4 --lr 3e-4 --warmup 5 --decay cosine --ema 0.95
plaudit train rlcm --reward incompressibility --reward-threads 4 --report-to tensorboard
plaudit train rlcm --resume runs/2026-01-31-rlcm-pocket-compression
""",
    options=RlcmOptions,
    run=lambda options: run(options, METHOD),
    recorded=_recorded,
    sections=SECTIONS,
)
