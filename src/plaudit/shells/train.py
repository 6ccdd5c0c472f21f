"""`plaudit train rlcm`: a model and rewards in, a LoRA and a training's folder out; on one process or several."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.shells.flags import Command
from plaudit.shells.train_options import (
    SECTIONS,
    RlcmOptions,
    decisive,
    recorded,
    task_of,
    with_all_prompts,
    with_precision,
)

if TYPE_CHECKING:
    from plaudit.core.team import Team
    from plaudit.methods.rlcm import Rlcm, Update
    from plaudit.presets.rlcm import Task
    from plaudit.rewards.reward import Reward
    from plaudit.runs.looks import FixedLook
    from plaudit.runs.training import Keeping
    from plaudit.runs.training_folder import TrainingFolder

LOOK_PROMPTS, LOOK_IMAGES = 6, 4
"""drawn at every look"""


def run(options: RlcmOptions) -> int:
    """Train, keeping everything."""
    options = with_all_prompts(options)
    task = task_of(options)
    from plaudit.core.team import join_team, leave_team
    from plaudit.runs.trackers import check_trackers
    from plaudit.shells.drawing import device_of

    keeping = _keeping(options)
    check_trackers(options.report_to)
    team = join_team(on_cpu=options.device == "cpu")
    options = with_precision(options, device_of(options.device))
    # The leader first: what must be downloaded is there when the others look for it.
    with team.together():
        made = _set_up(options, task, team) if team.leads else None
    with team.together():
        trainer, watched, sources = made or _set_up(options, task, team)
    folder = _folder_for(options, sources, team)
    with _keeping_what_is_saved(folder, leads=team.leads):
        _train(folder, trainer, watched, keeping, options)
        with team.together():
            if team.leads:
                _finish(folder, trainer, keeping)
    if team.leads:
        _say(folder, as_json=options.json)
    leave_team()
    return 0


def _keeping(options: RlcmOptions) -> "Keeping":
    from plaudit.runs.training import Keeping

    return Keeping(
        save_every=options.save_every,
        look_every=options.save_every,
        keep=options.keep,
        stop_when_hacked=options.stop_when_hacked or 0,
        hacked_margin=options.hacked_margin,
    )


def _set_up(options: RlcmOptions, task: "Task", team: "Team") -> "tuple[Rlcm, dict[str, Reward], dict[str, Any]]":
    """The trainer, the rewards to watch, and what was loaded."""
    from plaudit.generators.policies import InBfloat16, policy_of
    from plaudit.generators.table import GENERATORS, load_generator
    from plaudit.generators.trained_part import add_lora, train_all, without_lora
    from plaudit.methods.rlcm import Rlcm
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.drawing import device_of
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    if not options.eta > 0:
        raise BadConfig(f"steps that draw nothing cannot be learned: eta must be above 0, got {options.eta:g}")
    specs = [read_spec(spec) for spec in task.rewards]
    held_names = [read_spec(task.held_out)[0]] if task.held_out else []
    names = [name for name, _ in specs] + held_names
    if set(held_names) & {name for name, _ in specs}:
        raise BadConfig(f"{task.held_out!r} cannot be trained on and held out at once")
    for table, name in ((GENERATORS, options.model), *((REWARDS, name) for name in names)):
        check_known(table, name)
    if team.leads:
        tell_licences(GENERATORS, [options.model])
        tell_licences(REWARDS, names)
    policy = policy_of(load_generator(options.model, device=device, steps=options.steps), eta=options.eta)
    if task.rank:
        add_lora(policy.denoiser, rank=task.rank, alpha=task.alpha, seed=options.seed)
    else:
        train_all(policy.denoiser)
    if options.precision == "bfloat16":
        policy = InBfloat16(policy)
    reward = load_rewards(task.rewards, device=device)
    reference = (lambda: without_lora(policy.denoiser)) if task.rank else None
    trainer = Rlcm(policy, reward, task.prompts, task.config, reference=reference, team=team)
    # With normalised parts as at the start: a look is to be compared with the looks before it.
    watched: dict[str, Reward] = {"reward": reward.fresh()}
    if task.held_out:
        watched["held_out"] = load_reward(task.held_out, device=device)
    sources = {
        "model": source_of(GENERATORS, options.model),
        "rewards": [{"weight": weight, **source_of(REWARDS, name)} for name, weight in specs],
        "held_out": source_of(REWARDS, held_names[0]) if held_names else None,
    }
    return trainer, watched, sources


def _folder_for(options: RlcmOptions, sources: dict[str, Any], team: "Team") -> "TrainingFolder":
    """The training's folder: the one to go on in, or a new one, which the leader makes and all open."""
    from plaudit.runs.training_folder import TrainingFolder

    folder = None
    with team.together():
        if options.resume:
            folder = TrainingFolder.open(options.resume)
            if folder.manifest["sources"] != json.loads(json.dumps(sources)):
                raise BadConfig(
                    f"the model or a reward is not the one that {str(folder.path)!r} was begun with; start anew"
                )
        elif team.leads:
            typed = shlex.join(["plaudit", *sys.argv[1:]])
            folder = TrainingFolder.create(
                options.out, name=f"rlcm-{options.preset}", command=typed, settings=decisive(options), sources=sources
            )
        if folder is not None and team.leads:
            folder.manifest["processes"] = team.size
            folder.set_status("running")
    path = team.hear_leader(str(folder.path) if folder else None)
    return folder or TrainingFolder.open(Path(str(path)))


def _train(
    folder: "TrainingFolder", trainer: "Rlcm", watched: "dict[str, Reward]", keeping: "Keeping", options: RlcmOptions
) -> None:
    """All updates; the leader also looks, shows and reports."""
    from plaudit.runs.trackers import reporting_to
    from plaudit.runs.training import train_in

    leads = trainer.team.leads
    look = look_at(folder.path, trainer, watched) if leads else None
    with (
        reporting_to(options.report_to if leads else (), folder) as trackers,
        _bar(trainer.total, folder.saved(), shown=leads) as show,
    ):
        for update in train_in(folder.path, trainer, keeping, look=look, team=trainer.team, listeners=trackers):
            show(update)


def look_at(folder: Path, trainer: "Rlcm", watched: "dict[str, Reward]") -> "FixedLook":
    """A look at the first of the prompts, spread over the list, with noises that never change.

    Of the averaged weights, if an average is kept.
    """
    import torch

    from plaudit.core.random_streams import noise_for
    from plaudit.generators.step_policy import own_draws, rollout
    from plaudit.runs.looks import FixedLook

    policy, size = trainer.policy, trainer.config.batch_size
    stride = max(1, len(trainer.prompts) // LOOK_PROMPTS)
    shown = trainer.prompts[::stride][:LOOK_PROMPTS]
    condition = policy.encode([prompt for prompt in shown for _ in range(LOOK_IMAGES)])
    keys: list[tuple[int | str, ...]] = [(trainer.config.seed, "look", place) for place in range(len(condition))]

    def draw() -> "torch.Tensor":
        found = []
        with torch.no_grad(), trainer.learner.averaged():
            for at in range(0, len(keys), size):
                part = keys[at : at + size]
                noise = noise_for(part, policy.noise_shape).to(policy.device)
                taken = rollout(policy, noise, condition[at : at + size], own_draws(part, policy.noise_shape))
                found.append(policy.decode(taken.states[:, -1]))
        return torch.cat(found)

    return FixedLook(folder=folder, draw=draw, prompts=shown, scores=watched, batch_size=size)


def _finish(folder: "TrainingFolder", trainer: "Rlcm", keeping: "Keeping") -> None:
    """Leave the weights where diffusers and `generate --lora` find them, and the report."""
    from plaudit.generators.trained_part import has_lora, save_all, save_lora
    from plaudit.runs.model_card import write_model_card
    from plaudit.runs.training_report import write_training_report

    folder.manifest.pop("ended_early", None)
    folder.manifest["weights_of"] = trainer.done
    hacked = keeping.hacking_in(folder.lines())
    if hacked is not None:
        best = folder.best()
        folder.manifest["ended_early"] = str(hacked)
        if best is not None:
            trainer.load(best.tensors)
            folder.manifest["weights_of"] = trainer.done
            folder.manifest["ended_early"] += f"; the weights left are those after {trainer.done} updates"
    with trainer.learner.averaged():
        save = save_lora if has_lora(trainer.policy.denoiser) else save_all
        save(trainer.policy.denoiser, folder.path)
    folder.set_status("finished")
    write_training_report(folder)
    write_model_card(folder, prompts=trainer.prompts, config=trainer.config)


@contextmanager
def _keeping_what_is_saved(folder: "TrainingFolder", *, leads: bool) -> Iterator[None]:
    """A stop that the user can mend says what is kept and how to go on."""
    from plaudit.shells.cli import what_failed

    try:
        yield
    except (KeyboardInterrupt, OSError, PlauditError) as error:
        if leads:
            with suppress(OSError):
                folder.set_status("stopped")
        reason = "stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error).rstrip(".")
        reason = what_failed(error) if isinstance(error, OSError) else reason
        raise PlauditError(
            f"{reason}; {folder.saved()} updates are kept in {str(folder.path)!r}. "
            f"Go on with: plaudit train rlcm --resume {shlex.quote(str(folder.path))}"
        ) from error


@contextmanager
def _bar(total: int, done: int, *, shown: bool) -> "Iterator[Callable[[Update], None]]":
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
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        task = progress.add_task("training", total=total, completed=done, reward="...")
        yield lambda update: progress.update(task, completed=update.index + 1, reward=f"{update.reward:.3f}")


def summary(folder: "TrainingFolder") -> dict[str, Any]:
    """What came of a training: what the looks measured before it and with the weights that are left, and where."""
    from plaudit.runs.model_card import looks

    before, after = looks(folder)
    return {
        "folder": str(folder.path),
        "report": str(folder.report),
        "status": folder.manifest["status"],
        "updates": folder.saved(),
        "ended_early": folder.manifest.get("ended_early"),
        "before": before,
        "after": {name: after.get(name) for name in before},
    }


def _say(folder: "TrainingFolder", *, as_json: bool) -> None:
    told = summary(folder)
    if as_json:
        from plaudit.runs.files import finite

        print(json.dumps(finite(told), ensure_ascii=False))
        return
    if told["ended_early"]:
        print(told["ended_early"])
    for name, before in told["before"].items():
        print(f"{name:<12}{before:.4g} -> {told['after'][name]:.4g}")
    print(f"report: {told['report']}")


RLCM = Command(
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
    run=run,
    recorded=recorded,
    sections=SECTIONS,
)
