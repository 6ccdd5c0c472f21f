"""What every `plaudit train` takes: flags and their help, what of them is recorded, and how they become a task.

A method's own options extend `TrainingOptions`, and name the fields of its config that they go over: a field of both
is such a one.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from plaudit.core.errors import BadConfig
from plaudit.shells.flags import WrongUsage, flag_of, nearest

if TYPE_CHECKING:
    import torch

    from plaudit.presets.task import Task

Precision = Literal["float32", "bfloat16"]
Options = TypeVar("Options", bound="TrainingOptions")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is the same for every method. What is left out is the preset's."""

    prompts: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "PROMPT"})
    """what to draw while training, each in quotes; left out: the preset's prompts"""
    preset: str = ""
    """task with its rewards, prompts and settings (plaudit list presets)"""
    model: str = ""
    """model of the table or a folder; left out: the preset's"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards and weights to train on, in place of the preset's; a reward of your own is my_module:MyReward, and
    options follow: smooth=4 (looks), cache, max=0.3, normalise, normalise=group"""
    held_out: str | None = None
    """reward that is measured and never trained on"""
    prompts_file: Path | None = field(default=None, metadata={"placeholder": "FILE", "flag": "--prompts"})
    """text file of more prompts to train on, one a line"""
    updates: int | None = None
    """updates to make"""
    seed: int = 0
    """decides prompts, noises and the LoRA's start"""

    rank: int | None = None
    """rank of the LoRA; 0 trains every weight, and leaves them in a folder of their own"""
    alpha: float | None = None
    """the LoRA's alpha, which over the rank is its scale (default: twice a rank that is given)"""
    precision: Precision | None = None
    """of the network's products: bfloat16 only where native; left out: bfloat16 on a GPU that has it, else float32"""

    lr: float | None = None
    """learning rate"""
    warmup: int | None = None
    """updates in which the rate rises to it"""
    decay: Literal["constant", "linear", "cosine"] | None = None
    """how the rate falls over the updates"""
    decay_to: float | None = None
    """share of the rate that it falls to"""
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
    """folder of the training (default: runs/<date>-<method>-<preset>)"""
    resume: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """go on with the training in this folder, with its own settings; updates, batch sizes and when to stop may be said
    anew, and are kept"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""

    batch_size: int | None = None
    """images through the network at once; gradients add up over an update, so that this changes speed and memory, not
    the result"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""


FREE = ("out", "resume", "device", "json", "report_to", "reward_threads")
"""flags that are not recorded: no weight depends on them"""
SAID_ANEW = ("updates", "stop_when_hacked", "batch_size", "draw_batch_size")
"""flags that may be said beside --resume, and are recorded then, for the next --resume: more updates than before train
on, 0 looks is never to stop, and other batch sizes change what is learned by rounding alone"""
FREE_ON_RESUME = ("resume", "device", "json", "report_to", "reward_threads", *SAID_ANEW)
"""flags that may be said beside --resume"""


def task_from(
    options: TrainingOptions, presets: "Mapping[str, Callable[[], Task]]", *, method: str, said: Mapping[str, Any] = {}
) -> "Task":
    """The preset with everything that was said over it; `said` goes over its config too.

    Raises WrongUsage for a preset that is not there, BadConfig for what cannot work.
    """
    if options.preset not in presets:
        hint = nearest(options.preset, presets) or f" Known: {', '.join(presets)}."
        raise WrongUsage(f"no preset of {method} is named {options.preset!r}.{hint}")
    task = presets[options.preset]()
    own = {name: getattr(options, name) for name in overrides(options, task.config)}
    over = {name: value for name, value in own.items() if value is not None} | dict(said)
    task = replace(task, config=replace(task.config, **over))
    if options.model:
        task = replace(task, model=options.model)
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


def overrides(options: TrainingOptions, config: Any) -> list[str]:
    """The flags that go over the config's fields: those that are called the same."""
    known = {it.name for it in fields(config)}
    return [it.name for it in fields(options) if it.name in known]


def with_model(options: Options, presets: "Mapping[str, Callable[[], Task]]") -> Options:
    """The options with the preset's model where none was said, so that it is recorded."""
    known = presets.get(options.preset)
    return options if options.model or known is None else replace(options, model=known().model)


def with_all_prompts(options: Options) -> Options:
    """The options with the file's prompts after the others. Raises BadConfig for an empty prompt or file."""
    from plaudit.shells.generate import read_prompts

    more = read_prompts(options.prompts_file) if options.prompts_file else ()
    prompts = tuple(prompt.strip() for prompt in (*options.prompts, *more))
    if not all(prompts):
        raise BadConfig(f"prompt {prompts.index('') + 1} of {len(prompts)} is empty; say what to draw")
    return replace(options, prompts=prompts, prompts_file=None)


def with_precision(options: Options, device: "torch.device") -> Options:
    """The options with the precision that this device suggests, so that a resumed training keeps it."""
    from plaudit.core.devices import has_fast_bfloat16

    if options.precision is not None:
        return options
    native = device.type != "cpu" and has_fast_bfloat16(device)
    return replace(options, precision="bfloat16" if native else "float32")


def decisive(options: TrainingOptions) -> dict[str, Any]:
    """What decides the result, as JSON types."""
    values = {name: value for name, value in asdict(options).items() if name not in (*FREE, "prompts_file")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def said_anew(options: TrainingOptions) -> dict[str, Any]:
    """Of the method's flags those that a resumed training records again, as JSON types."""
    return {name: value for name, value in decisive(options).items() if name in SAID_ANEW}


def recorded(typed: Mapping[str, Any], options: type[TrainingOptions], *, method: str) -> Mapping[str, Any]:
    """The settings of a training to go on with. Raises WrongUsage or BadConfig."""
    if not typed["resume"]:
        return {}
    from plaudit.runs.training_folder import TrainingFolder

    for known in fields(options):
        default = known.default
        value = tuple(typed[known.name]) if isinstance(typed[known.name], list) else typed[known.name]
        if known.name not in FREE_ON_RESUME and value != default:
            what = "prompts" if known.name == "prompts" else flag_of(known)
            raise WrongUsage(f"--resume goes on with a training's own settings; leave {what} out")
    manifest = TrainingFolder.open(typed["resume"]).manifest
    if manifest.get("method", "rlcm") != method:
        raise BadConfig(
            f"{str(typed['resume'])!r} is a training of another method; go on with: "
            f"plaudit train {manifest['method']} --resume {typed['resume']}"
        )
    settings: Mapping[str, Any] = manifest["settings"]
    return settings
