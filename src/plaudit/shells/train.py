"""`plaudit train rlcm`: a model and rewards in, a LoRA and a training's folder out."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.shells.flags import Command, WrongUsage, flag_of, nearest

if TYPE_CHECKING:
    from plaudit.generators.generator import StepPolicy
    from plaudit.methods.rlcm import Rlcm, RlcmConfig, Update
    from plaudit.presets.rlcm import Task
    from plaudit.rewards.reward import Reward
    from plaudit.runs.looks import FixedLook
    from plaudit.runs.training_folder import TrainingFolder

LOOK_PROMPTS, LOOK_IMAGES = 6, 4
"""drawn at every look"""


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
    """rewards and weights to train on, in place of the preset's"""
    held_out: str | None = None
    """reward that is measured and never trained on"""
    prompts_file: Path | None = field(default=None, metadata={"placeholder": "FILE", "flag": "--prompts"})
    """text file of more prompts to train on, one a line"""
    steps: int | None = None
    """sampling steps of the policy; left out: the model's own"""
    updates: int | None = None
    """updates to make"""
    prompts_per_update: int | None = None
    """prompts drawn for each update"""
    images_per_prompt: int | None = None
    """images of each of them"""
    lr: float | None = None
    """learning rate"""
    kl_weight: float | None = None
    """weight of the divergence from the model that training started from"""
    rank: int | None = None
    """rank of the LoRA; 0 trains every weight"""
    seed: int = 0
    """decides prompts, noises and the LoRA's start"""
    batch_size: int | None = None
    """images through the network at once; changes speed and memory, not the result"""
    save_every: int = 10
    """updates between two checkpoints, and between two looks at fixed prompts"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of the training (default: runs/<date>-rlcm-<preset>)"""
    resume: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """go on with the training in this folder, with its own settings"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


FREE = ("out", "resume", "device", "json")
"""flags that are not recorded: no weight depends on them"""
FREE_ON_RESUME = ("resume", "device", "json", "updates")
"""flags that may be said beside --resume; more updates than before train on"""
OVERRIDES = ("updates", "prompts_per_update", "images_per_prompt", "lr", "kl_weight", "batch_size")
"""flags that go over the preset's config"""


def run(options: RlcmOptions) -> int:
    """Train, keeping everything."""
    options = _with_all_prompts(options)
    task = task_of(options)
    from plaudit.runs.training import Keeping, train_in
    from plaudit.runs.training_folder import TrainingFolder

    folder = TrainingFolder.open(options.resume) if options.resume else None
    trainer, look_of, sources = _set_up(options, task)
    if folder is None:
        typed = shlex.join(["plaudit", *sys.argv[1:]])
        folder = TrainingFolder.create(
            options.out, name=f"rlcm-{options.preset}", command=typed, settings=_decisive(options), sources=sources
        )
    elif folder.manifest["sources"] != json.loads(json.dumps(sources)):
        raise BadConfig(f"the model or a reward is not the one that {str(folder.path)!r} was begun with; start anew")
    keeping = Keeping(save_every=options.save_every, look_every=options.save_every)
    with _keeping_what_is_saved(folder), _bar(trainer.total, folder.saved()) as show:
        for update in train_in(folder.path, trainer, keeping, look=look_of(folder.path)):
            show(update)
    _finish(folder, trainer, rank=task.rank)
    _say(folder, as_json=options.json)
    return 0


def task_of(options: RlcmOptions) -> "Task":
    """The preset with everything that was said over it. Raises WrongUsage or BadConfig."""
    from plaudit.presets.rlcm import TASKS

    if options.preset not in TASKS:
        hint = nearest(options.preset, TASKS) or f" Known: {', '.join(TASKS)}."
        raise WrongUsage(f"no preset of rlcm is named {options.preset!r}.{hint}")
    task = TASKS[options.preset]()
    said = {name: getattr(options, name) for name in OVERRIDES if getattr(options, name) is not None}
    task = replace(task, config=_config(task.config, {**said, "seed": options.seed}))
    if options.reward:
        task = replace(task, rewards=options.reward, held_out=None)
    if options.held_out:
        task = replace(task, held_out=options.held_out)
    if options.rank is not None:
        task = replace(task, rank=options.rank, alpha=2.0 * options.rank)
    return replace(task, prompts=options.prompts) if options.prompts else task


def _config(config: "RlcmConfig", said: Mapping[str, Any]) -> "RlcmConfig":
    """The preset's config with what was said; a single image per prompt is compared with its batch."""
    if said.get("images_per_prompt") == 1 and config.comparison == "group":
        said = {**said, "comparison": "batch"}
    return replace(config, **said)


def _set_up(options: RlcmOptions, task: "Task") -> "tuple[Rlcm, Any, dict[str, Any]]":
    """The trainer, what makes its looks for a folder, and what was loaded."""
    from plaudit.generators.policies import policy_of
    from plaudit.generators.table import GENERATORS, load_generator
    from plaudit.generators.trained_part import add_lora, train_all, without_lora
    from plaudit.methods.rlcm import Rlcm
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.drawing import device_of
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    specs = [read_spec(spec) for spec in task.rewards]
    names = [name for name, _ in specs] + ([task.held_out] if task.held_out else [])
    if task.held_out and task.held_out.lower() in {name for name, _ in specs}:
        raise BadConfig(f"{task.held_out!r} cannot be trained on and held out at once")
    for table, name in ((GENERATORS, options.model), *((REWARDS, name) for name in names)):
        check_known(table, name)
    tell_licences(GENERATORS, [options.model])
    tell_licences(REWARDS, names)
    policy = policy_of(load_generator(options.model, device=device, steps=options.steps))
    if task.rank:
        add_lora(policy.denoiser, rank=task.rank, alpha=task.alpha, seed=options.seed)
    else:
        train_all(policy.denoiser)
    reward = load_rewards(task.rewards, device=device)
    reference = (lambda: without_lora(policy.denoiser)) if task.rank else None
    trainer = Rlcm(policy, reward, task.prompts, task.config, reference=reference)
    watched: dict[str, Reward] = {"reward": reward}
    if task.held_out:
        watched["held_out"] = load_reward(task.held_out, device=device)
    sources = {
        "model": source_of(GENERATORS, options.model),
        "rewards": [{"weight": weight, **source_of(REWARDS, name)} for name, weight in specs],
        "held_out": source_of(REWARDS, task.held_out) if task.held_out else None,
    }
    return trainer, lambda folder: look_at(folder, policy, task.prompts, watched, seed=options.seed), sources


def look_at(folder: Path, policy: "StepPolicy", prompts: Any, watched: Any, *, seed: int) -> "FixedLook":
    """A look at the first of the prompts, spread over the list, with noises that never change."""
    import torch

    from plaudit.core.random_streams import noise_for
    from plaudit.generators.step_policy import own_draws, rollout
    from plaudit.runs.looks import FixedLook

    stride = max(1, len(prompts) // LOOK_PROMPTS)
    shown = tuple(prompts[::stride][:LOOK_PROMPTS])
    texts = [prompt for prompt in shown for _ in range(LOOK_IMAGES)]
    condition = policy.encode(texts)
    keys: list[tuple[int | str, ...]] = [(seed, "look", place) for place in range(len(texts))]

    def draw() -> "torch.Tensor":
        with torch.no_grad():
            noise = noise_for(keys, policy.noise_shape).to(policy.device)
            taken = rollout(policy, noise, condition, own_draws(keys, policy.noise_shape))
            return policy.decode(taken.states[:, -1])

    return FixedLook(folder=folder, draw=draw, prompts=shown, scores=watched)


def _finish(folder: "TrainingFolder", trainer: "Rlcm", *, rank: int) -> None:
    """Leave the LoRA where diffusers and `generate --lora` find it, and the report."""
    from plaudit.generators.trained_part import save_lora
    from plaudit.runs.training_report import write_training_report

    if rank:
        save_lora(trainer.policy.denoiser, folder.path)
    folder.set_status("finished")
    write_training_report(folder)


def _with_all_prompts(options: RlcmOptions) -> RlcmOptions:
    """The options with the file's prompts after the others. Raises BadConfig for an empty prompt or file."""
    from plaudit.shells.generate import read_prompts

    more = read_prompts(options.prompts_file) if options.prompts_file else ()
    prompts = tuple(prompt.strip() for prompt in (*options.prompts, *more))
    if not all(prompts):
        raise BadConfig(f"prompt {prompts.index('') + 1} of {len(prompts)} is empty; say what to draw")
    return replace(options, prompts=prompts, prompts_file=None)


def _decisive(options: RlcmOptions) -> dict[str, Any]:
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


@contextmanager
def _keeping_what_is_saved(folder: "TrainingFolder") -> Iterator[None]:
    """A stop that the user can mend says what is kept and how to go on."""
    from plaudit.shells.cli import what_failed

    try:
        yield
    except (KeyboardInterrupt, OSError, PlauditError) as error:
        with suppress(OSError):
            folder.set_status("stopped")
        reason = "stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error).rstrip(".")
        reason = what_failed(error) if isinstance(error, OSError) else reason
        raise PlauditError(
            f"{reason}; {folder.saved()} updates are kept in {str(folder.path)!r}. "
            f"Go on with: plaudit train rlcm --resume {shlex.quote(str(folder.path))}"
        ) from error


@contextmanager
def _bar(total: int, done: int) -> "Iterator[Callable[[Update], None]]":
    """A bar of updates on stderr, with the reward of the last. Shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("reward {task.fields[reward]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("training", total=total, completed=done, reward="...")
        yield lambda update: progress.update(task, completed=update.index + 1, reward=f"{update.reward:.3f}")


def summary(folder: "TrainingFolder") -> dict[str, Any]:
    """What came of a training: the first and the last of each metric of the looks, and where it lies."""
    looks = [line for line in folder.lines() if any(name.startswith("look_") for name in line)]
    names = [name for name in looks[0] if name.startswith("look_")] if looks else []
    return {
        "folder": str(folder.path),
        "report": str(folder.report),
        "status": folder.manifest["status"],
        "updates": folder.saved(),
        "before": {name[5:]: looks[0][name] for name in names},
        "after": {name[5:]: looks[-1][name] for name in names},
    }


def _say(folder: "TrainingFolder", *, as_json: bool) -> None:
    told = summary(folder)
    if as_json:
        from plaudit.runs.files import finite

        print(json.dumps(finite(told), ensure_ascii=False))
        return
    for name, before in told["before"].items():
        print(f"{name:<12}{before:.4g} -> {told['after'][name]:.4g}")
    print(f"report: {told['report']}")


RLCM = Command(
    name="train rlcm",
    purpose=(
        "Train a few-step generator on rewards by policy gradient (Oertell et al. 2024): a latent consistency model,\n"
        "or a Stable Diffusion by DDIM (DDPO). Leaves a LoRA that diffusers reads, a log, checkpoints and report.html."
    ),
    examples="""
plaudit train rlcm --preset pocket-compression --updates 20
plaudit train rlcm "a red ring" "a blue star" --reward hps --held-out imagereward
plaudit train rlcm --resume runs/2026-01-31-rlcm-pocket-compression
""",
    options=RlcmOptions,
    run=run,
    recorded=recorded,
)
