"""What every `plaudit train` does: set up, train in a folder, finish; on one process or several.

A method says how it is set up, and gets the rest from here: the folder, resuming, the bar, looks at fixed prompts,
the report and the model card.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.core.stops import full_memory, mendable, what_stopped
from plaudit.shells.training_options import (
    TrainingOptions,
    decisive,
    said_anew,
    with_all_prompts,
    with_model,
    with_precision,
)

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.core.team import Team
    from plaudit.methods.learner import Learner
    from plaudit.presets.task import Task
    from plaudit.rewards.reward import Reward
    from plaudit.runs.training import Keeping, Look
    from plaudit.runs.training_folder import TrainingFolder

LOOK_PROMPTS, LOOK_IMAGES = 6, 4
"""drawn at every look"""


class Trains(Protocol):
    """A method in training, as the shell knows it."""

    done: int
    total: int
    prompts: tuple[str, ...]
    config: Any
    team: "Team"
    learner: "Learner"

    def updates(self) -> Iterator[Any]: ...

    def state(self) -> "dict[str, Tensor]": ...

    def load(self, state: "dict[str, Tensor]") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """A training that is set up."""

    trainer: Trains
    watched: "dict[str, Reward]"
    """measured at every look: "reward", and maybe "held_out" """
    sources: dict[str, Any]
    """what was loaded"""
    draw: "Callable[[Sequence[str], Sequence[tuple[int | str, ...]]], Tensor]"
    """images (B, 3, H, W) of B prompts, each from its own key"""
    network: Any
    """the one that is trained"""
    sampling: Mapping[str, Any]
    """how the result is sampled: steps, and what else a loader must know"""
    generator: Any
    """that the network is of"""
    tell: "Callable[[Sequence[str], Sequence[tuple[int | str, ...]]], Sequence[str]] | None" = None
    """what the model says of these B images in words, such as the plan it draws each after"""
    taught: Sequence[str] = ()
    """prompts that it learns from besides the trainer's own"""
    follows: bool = True
    """whether the reward is trained on, and not only watched"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What the shell must know of a method."""

    name: str
    """as typed after `plaudit train`"""
    presets: "Callable[[], Mapping[str, Callable[[], Task]]]"
    task_of: "Callable[[Any], Task]"
    set_up: "Callable[[Any, Any, Team], Workplace]"
    """of the options and the task that `task_of` made of them"""


def run(options: TrainingOptions, method: Method) -> int:
    """Train, keeping everything."""
    options = with_model(with_all_prompts(options), method.presets())
    task = method.task_of(options)
    from plaudit.core.team import join_team, leave_team
    from plaudit.runs.trackers import check_trackers
    from plaudit.shells.drawing import device_of

    keeping = _keeping(options)
    check_trackers(options.report_to)
    team = join_team(on_cpu=options.device == "cpu")
    options = with_precision(options, device_of(options.device))
    # The leader first: what must be downloaded is there when the others look for it.
    with team.together():
        made = method.set_up(options, task, team) if team.leads else None
    with team.together():
        place = made or method.set_up(options, task, team)
    folder = _folder_for(options, method, place, team)
    if team.leads:
        tell_overlaps(folder, place)
    with _keeping_what_is_saved(folder, method, place.trainer):
        _train(folder, place, keeping, options)
        with team.together():
            if team.leads:
                _finish(folder, place, keeping)
    if team.leads:
        _say(folder, as_json=options.json)
    leave_team()
    return 0


def tell_overlaps(folder: "TrainingFolder", place: Workplace) -> None:
    """Say, here and in the training's folder, which benchmarks' prompts are trained on, if any are.

    Only of those whose prompts are on this machine; all prompts that are trained on are written down, so that others
    can be held against them when they are evaluated.
    """
    from plaudit.runs.lineage import write_training_prompts
    from plaudit.suites.prompt_overlap import benchmarks_at_hand, overlaps

    learned, known = [*place.trainer.prompts, *place.taught], benchmarks_at_hand()
    found = [str(it) for it in overlaps(learned, known) if it.any]
    write_training_prompts(folder.path, learned)
    folder.manifest |= {"overlaps": found, "held_against": list(known), "follows": place.follows}
    folder.save()
    for said in found:
        print(f"plaudit: {said}; what it measures of this model says little", file=sys.stderr)


def load_judges(
    options: TrainingOptions, task: "Task", team: "Team"
) -> "tuple[Any, dict[str, Reward], Callable[[], dict[str, Any]]]":
    """The rewards to train on, what is watched, and what tells where model and rewards came from once all is loaded.

    Raises UnknownName, with the nearest match, or BadConfig, before anything is loaded.
    """
    from plaudit.generators.table import GENERATORS
    from plaudit.rewards.same_reward import conflict
    from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec
    from plaudit.runs.provenance import check_known, source_of
    from plaudit.shells.drawing import device_of
    from plaudit.shells.licences import tell_licences

    device = device_of(options.device)
    specs = [read_spec(spec) for spec in task.rewards]
    held_names = [read_spec(task.held_out)[0]] if task.held_out else []
    names = [name for name, _ in specs] + held_names
    if said := conflict([task.held_out] if task.held_out else [], [name for name, _ in specs], how="trained on"):
        raise BadConfig(said)
    for table, name in ((GENERATORS, task.model), *((REWARDS, name) for name in names)):
        check_known(table, name)
    if team.leads:
        tell_licences(GENERATORS, [task.model])
        tell_licences(REWARDS, names)
    reward = load_rewards(task.rewards, device=device)
    # With normalised parts as at the start: a look is to be compared with the looks before it.
    watched: dict[str, Reward] = {"reward": reward.fresh()}
    if task.held_out:
        watched["held_out"] = load_reward(task.held_out, device=device)

    def sources() -> dict[str, Any]:
        return {
            "model": source_of(GENERATORS, task.model),
            "rewards": [{"weight": weight, **source_of(REWARDS, name)} for name, weight in specs],
            "held_out": source_of(REWARDS, held_names[0]) if held_names else None,
        }

    return reward, watched, sources


def _keeping(options: TrainingOptions) -> "Keeping":
    from plaudit.runs.training import Keeping

    return Keeping(
        save_every=options.save_every,
        look_every=options.save_every,
        keep=options.keep,
        stop_when_hacked=options.stop_when_hacked or 0,
        hacked_margin=options.hacked_margin,
    )


def _folder_for(options: TrainingOptions, method: Method, place: Workplace, team: "Team") -> "TrainingFolder":
    """The training's folder: the one to go on in, or a new one, which the leader makes and all open."""
    from plaudit.runs.training_folder import TrainingFolder

    folder = None
    with team.together():
        if options.resume:
            folder = TrainingFolder.open(options.resume)
            if folder.manifest["sources"] != json.loads(json.dumps(place.sources)):
                raise BadConfig(
                    f"the model or a reward is not the one that {str(folder.path)!r} was begun with; start anew"
                )
        elif team.leads:
            typed = shlex.join(["plaudit", *sys.argv[1:]])
            folder = TrainingFolder.create(
                options.out, name=f"{method.name}-{options.preset}", command=typed, settings=decisive(options),
                sources=place.sources,
            )  # fmt: skip
            folder.manifest |= {"method": method.name, "sampling": dict(place.sampling)}
        if folder is not None and team.leads:
            # What was said beside --resume is wanted by the next one too.
            folder.manifest["settings"] |= said_anew(options)
            folder.manifest["processes"] = team.size
            folder.set_status("running")
    path = team.hear_leader(str(folder.path) if folder else None)
    return folder or TrainingFolder.open(Path(str(path)))


def _train(folder: "TrainingFolder", place: Workplace, keeping: "Keeping", options: TrainingOptions) -> None:
    """All updates; the leader also looks, shows and reports."""
    from plaudit.runs.trackers import reporting_to
    from plaudit.runs.training import train_in

    trainer, leads = place.trainer, place.trainer.team.leads
    look = look_at(folder.path, place) if leads else None
    with (
        reporting_to(options.report_to if leads else (), folder) as trackers,
        _bar(trainer.total, folder.saved(), shown=leads) as show,
    ):
        for update in train_in(folder.path, trainer, keeping, look=look, team=trainer.team, listeners=trackers):
            show(update)


def look_at(folder: Path, place: Workplace) -> "Look":
    """A look at some of the prompts, spread over the list, with noises that never change.

    Of the averaged weights, if an average is kept.
    """
    import torch

    from plaudit.runs.looks import FixedLook, spread_over

    trainer = place.trainer
    shown = spread_over(trainer.prompts, LOOK_PROMPTS)
    texts = [prompt for prompt in shown for _ in range(LOOK_IMAGES)]
    keys: list[tuple[int | str, ...]] = [(trainer.config.seed, "look", number) for number in range(len(texts))]

    def draw() -> "Tensor":
        with torch.no_grad(), trainer.learner.averaged():
            return place.draw(texts, keys)

    def tell() -> Sequence[str]:
        with torch.no_grad(), trainer.learner.averaged():
            return place.tell(texts, keys) if place.tell is not None else ()

    fixed = FixedLook(
        folder=folder, draw=draw, tell=tell, prompts=shown, scores=place.watched, batch_size=trainer.config.batch_size
    )
    # Beside pictures a method may measure what is its own, as the losses of lessons that are held out.
    return lambda done: {**fixed(done), **getattr(trainer, "look", dict)()}


def _finish(folder: "TrainingFolder", place: Workplace, keeping: "Keeping") -> None:
    """Leave the weights where diffusers and `generate --lora` find them, and the report."""
    from plaudit.generators.trained_part import save_sampler, save_trained
    from plaudit.runs.audit_sheet import audit_of
    from plaudit.runs.model_card import write_model_card
    from plaudit.runs.training_report import write_training_report

    trainer = place.trainer
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
        save_trained(place.network, folder.path)
    if "shift" in place.sampling:
        save_sampler(place.generator, folder.path)
    folder.manifest["verdict"] = audit_of(folder).to_json()
    folder.set_status("finished")
    write_training_report(folder)
    write_model_card(folder, prompts=trainer.prompts, config=trainer.config)


@contextmanager
def _keeping_what_is_saved(folder: "TrainingFolder", method: Method, trainer: Trains) -> Iterator[None]:
    """A stop that the user can mend says what is kept and how to go on."""
    try:
        yield
    except mendable() as error:
        full = isinstance(error, full_memory())
        # The leader waits for a process that is out of memory, and is ended with it: only that one can write it down.
        if trainer.team.leads or full:
            with suppress(OSError):
                (folder if trainer.team.leads else type(folder).open(folder.path)).set_status("stopped")
        raise PlauditError(
            f"{what_stopped(error)}; {folder.saved()} updates are kept in {str(folder.path)!r}. "
            f"Go on with: plaudit train {method.name} --resume {shlex.quote(str(folder.path))}"
            + (fewer_at_once(trainer.config) if full else "")
        ) from error


def fewer_at_once(config: Any) -> str:
    """The flags, each after a space, that halve what is in a GPU's memory at once; none where that is one image."""
    sizes = {name: getattr(config, name, 0) for name in ("batch_size", "draw_batch_size")}
    return "".join(f" --{name.replace('_', '-')} {size // 2}" for name, size in sizes.items() if size > 1)


@contextmanager
def _bar(total: int, done: int, *, shown: bool) -> "Iterator[Callable[[Any], None]]":
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
        "verdict": folder.manifest.get("verdict"),
    }


def _say(folder: "TrainingFolder", *, as_json: bool) -> None:
    told = summary(folder)
    if as_json:
        from plaudit.runs.files import finite

        print(json.dumps(finite(told), ensure_ascii=False))
        return
    if told["ended_early"]:
        print(told["ended_early"])
    width = max([12, *(len(name) + 2 for name in told["before"])])
    for name, before in told["before"].items():
        print(f"{name:<{width}}{_number(before)} -> {_number(told['after'][name])}")
    if told["verdict"]:
        print(f"{told['verdict']['word']}: {told['verdict']['because']}")
    print(f"report: {told['report']}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
