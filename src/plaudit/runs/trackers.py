"""Other places that a training's numbers go to as well: TensorBoard and trackio. metrics.jsonl has them in any case."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from plaudit.core.errors import MissingExtra, UnknownName
from plaudit.runs.looks import SAMPLES
from plaudit.runs.training_folder import TrainingFolder

EVENTS = "tensorboard"
"""the folder of event files, below the training's"""


class Tracker(Protocol):
    """Takes a training's lines as they come."""

    def write(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl, with its update's number."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class TensorBoard:
    """Event files below the training's folder: `tensorboard --logdir FOLDER` shows curves and looks.

    A training that goes on marks its events after the checkpoint as void, and TensorBoard drops them.
    """

    def __init__(self, folder: TrainingFolder) -> None:
        """Raises MissingExtra without the package."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard") from error
        done = folder.saved()
        self.samples = folder.path / SAMPLES
        self.writer: Any = SummaryWriter(folder.path / EVENTS, purge_step=done + 1 if done else 0)

    def write(self, line: Mapping[str, Any]) -> None:
        update = line["update"]
        for name, value in _numbers(line).items():
            self.writer.add_scalar(name.replace("look_", "look/"), value, update)
        picture = self.samples / f"{update:06d}.png"
        if any(name.startswith("look_") for name in line) and picture.is_file():
            self.writer.add_image("look", _pixels(picture), update, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Trackio:
    """A run of trackio's project "plaudit", on this machine. One that goes on keeps what was sent before the stop."""

    def __init__(self, folder: TrainingFolder) -> None:
        """Raises MissingExtra without the package."""
        try:
            import trackio
        except ImportError as error:
            raise _missing("trackio") from error
        self.trackio = trackio
        # The time makes it one run of this folder's, and the same one whenever the training goes on.
        name = f"{folder.path.resolve().name} {folder.manifest['started']}"
        trackio.init(project="plaudit", name=name, config=dict(folder.manifest["settings"]), resume="allow")

    def write(self, line: Mapping[str, Any]) -> None:
        self.trackio.log(_numbers(line), step=line["update"])

    def close(self) -> None:
        self.trackio.finish()


TRACKERS: dict[str, Callable[[TrainingFolder], Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio}


def check_trackers(names: Sequence[str]) -> None:
    """Raises UnknownName for one that there is not, MissingExtra for one whose package is not installed."""
    from importlib.util import find_spec

    for name in names:
        if name not in TRACKERS:
            raise UnknownName(f"a training reports to {' or '.join(TRACKERS)}, not to {name!r}")
        if find_spec(name) is None:
            raise _missing(name)


@contextmanager
def reporting_to(names: Sequence[str], folder: TrainingFolder) -> Iterator[list[Tracker]]:
    """The trackers of these names, open for this training while entered."""
    opened: list[Tracker] = []
    try:
        for name in dict.fromkeys(names):
            opened.append(TRACKERS[name](folder))
        yield opened
    finally:
        for tracker in opened:
            tracker.close()


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in line.items() if name != "update" and isinstance(value, int | float)}


def _pixels(file: Path) -> Any:
    """(H, W, 3), uint8."""
    import numpy
    from PIL import Image

    with Image.open(file) as image:
        return numpy.asarray(image.convert("RGB"))


def _missing(name: str) -> MissingExtra:
    return MissingExtra(f"reporting to {name} needs the package {name!r}. Install it with: pip install 'plaudit[log]'")
