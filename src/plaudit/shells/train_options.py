"""What `plaudit train rlcm` takes: its flags and their help, what of them is recorded, and how they become a task."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import WrongUsage, flag_of, nearest

if TYPE_CHECKING:
    import torch

    from plaudit.methods.rlcm import RlcmConfig
    from plaudit.presets.rlcm import Task

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class RlcmOptions:
    """All that `plaudit train rlcm` takes. What is left out is the preset's."""

    prompts: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "PROMPT"})
    """what to draw while training, each in quotes; left out: the preset's prompts"""
    preset: str = "pocket-aesthetic"
    """task with its rewards, prompts and settings (plaudit list presets)"""
    model: str = "pocket-base"
    """model of the table or a folder: a latent consistency model (RLCM), or a Stable Diffusion (DDPO, by DDIM)"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards and weights to train on, in place of the preset's; a reward of your own is my_module:MyReward, and
    options follow: smooth=4 (looks), cache, max=0.3, normalise, normalise=group"""
    held_out: str | None = None
    """reward that is measured and never trained on"""
    prompts_file: Path | None = field(default=None, metadata={"placeholder": "FILE", "flag": "--prompts"})
    """text file of more prompts to train on, one a line"""
    updates: int | None = None
    """updates to make"""
    prompts_per_update: int | None = None
    """prompts drawn for each update"""
    images_per_prompt: int | None = None
    """images of each of them"""
    seed: int = 0
    """decides prompts, noises and the LoRA's start"""

    steps: int | None = None
    """sampling steps of the policy; left out: the model's own"""
    eta: float = 1.0
    """DDIM only: noise of its steps, from a little above 0 to 1, as much as DDPM's"""
    rank: int | None = None
    """rank of the LoRA; 0 trains every weight, and leaves them in the folder unet"""
    alpha: float | None = None
    """the LoRA's alpha, which over the rank is its scale (default: twice a rank that is given)"""
    keep_last_step: bool = False
    """train the last step too, as the paper's code does, though no image shows what it draws: it adds noise alone"""
    precision: Precision | None = None
    """of the network's products: bfloat16 only where native; left out: bfloat16 on a GPU that has it, else float32"""

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

    lr: float | None = None
    """learning rate"""
    warmup: int | None = None
    """updates in which the rate rises to it"""
    decay: Literal["constant", "linear", "cosine"] | None = None
    """how the rate falls over the updates"""
    decay_to: float | None = None
    """share of the rate that it falls to"""
    weight_decay: float | None = None
    """AdamW's"""
    grad_clip: float | None = None
    """largest norm of the gradient"""
    ema: float | None = None
    """looks and result are a running average of the weights, of which an update leaves so much, as 0.99; 0: none"""

    save_every: int = 10
    """updates between two checkpoints, and between two looks at fixed prompts"""
    keep: int = 3
    """checkpoints that are kept, besides the best"""
    stop_when_hacked: int | None = field(default=None, metadata={"placeholder": "LOOKS"})
    """stop once the held-out reward has been lower than at its best for so many looks in a row, and the trained one
    higher; the result is then the best checkpoint's; left out or 0: never"""
    hacked_margin: float = 0.0
    """by how much the held-out reward must have fallen for that, in its own units"""
    report_to: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME"})
    """tensorboard and/or trackio get the numbers too (pip install 'plaudit[log]')"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of the training (default: runs/<date>-rlcm-<preset>)"""
    resume: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """go on with the training in this folder, with its own settings"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""

    batch_size: int | None = None
    """images through the network at once; gradients add up over an update, so that this changes speed and memory, not
    the result"""
    reward_threads: int | None = None
    """threads that ask rewards without a gradient while the next images are drawn; 0: none"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""


SECTIONS = {
    "preset": "what to train, and on what",
    "steps": "what of the model is trained",
    "comparison": "how rewards become a gradient",
    "lr": "how weights follow it",
    "save_every": "what is left behind",
    "batch_size": "speed and memory",
}
"""of the help page, each by the first of its flags"""

FREE = ("out", "resume", "device", "json", "report_to", "reward_threads")
"""flags that are not recorded: no weight depends on them"""
FREE_ON_RESUME = ("resume", "device", "json", "report_to", "reward_threads", "updates", "stop_when_hacked")
"""flags that may be said beside --resume; more updates than before train on, and 0 looks is never to stop"""
OVERRIDES = (
    "updates", "prompts_per_update", "images_per_prompt", "comparison", "buffer_size", "min_count", "advantage_clip",
    "objective", "clip", "rebel_scale", "kl_weight", "passes", "steps_per_pass", "lr", "warmup", "decay", "decay_to",
    "weight_decay", "grad_clip", "ema", "batch_size", "reward_threads",
)  # fmt: skip
"""flags that go over the preset's config"""


def task_of(options: RlcmOptions) -> "Task":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.rlcm import TASKS

    if options.preset not in TASKS:
        hint = nearest(options.preset, TASKS) or f" Known: {', '.join(TASKS)}."
        raise WrongUsage(f"no preset of rlcm is named {options.preset!r}.{hint}")
    task = TASKS[options.preset]()
    said = {name: getattr(options, name) for name in OVERRIDES if getattr(options, name) is not None}
    said |= {"seed": options.seed, "keep_last_step": options.keep_last_step}
    task = replace(task, config=_config(task.config, said))
    if options.reward:
        task = replace(task, rewards=options.reward, held_out=None)
    if options.held_out:
        task = replace(task, held_out=options.held_out)
    if options.rank is not None:
        task = replace(task, rank=options.rank, alpha=2.0 * options.rank)
    if options.alpha is not None:
        task = replace(task, alpha=options.alpha)
    if options.stop_when_hacked and not task.held_out:
        raise BadConfig("--stop-when-hacked watches a held-out reward; name one with --held-out")
    return replace(task, prompts=options.prompts) if options.prompts else task


def _config(config: "RlcmConfig", said: Mapping[str, Any]) -> "RlcmConfig":
    """The preset's config with what was said; a single image per prompt is compared with its batch."""
    if said.get("images_per_prompt") == 1 and config.comparison == "group":
        said = {"comparison": "batch", **said}
    return replace(config, **said)


def with_all_prompts(options: RlcmOptions) -> RlcmOptions:
    """The options with the file's prompts after the others. Raises BadConfig for an empty prompt or file."""
    from plaudit.shells.generate import read_prompts

    more = read_prompts(options.prompts_file) if options.prompts_file else ()
    prompts = tuple(prompt.strip() for prompt in (*options.prompts, *more))
    if not all(prompts):
        raise BadConfig(f"prompt {prompts.index('') + 1} of {len(prompts)} is empty; say what to draw")
    return replace(options, prompts=prompts, prompts_file=None)


def with_precision(options: RlcmOptions, device: "torch.device") -> RlcmOptions:
    """The options with the precision that this device suggests, so that a resumed training keeps it."""
    from plaudit.core.devices import has_fast_bfloat16

    if options.precision is not None:
        return options
    native = device.type != "cpu" and has_fast_bfloat16(device)
    return replace(options, precision="bfloat16" if native else "float32")


def decisive(options: RlcmOptions) -> dict[str, Any]:
    """What decides the result, as JSON types."""
    values = {name: value for name, value in asdict(options).items() if name not in (*FREE, "prompts_file")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a training to go on with."""
    if not typed["resume"]:
        return {}
    from plaudit.runs.training_folder import TrainingFolder

    for known in fields(RlcmOptions):
        default = known.default
        value = tuple(typed[known.name]) if isinstance(typed[known.name], list) else typed[known.name]
        if known.name not in FREE_ON_RESUME and value != default:
            what = "prompts" if known.name == "prompts" else flag_of(known)
            raise WrongUsage(f"--resume goes on with a training's own settings; leave {what} out")
    settings: Mapping[str, Any] = TrainingFolder.open(typed["resume"]).manifest["settings"]
    return settings
