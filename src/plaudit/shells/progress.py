"""A progress bar on stderr: where the run is, how the reward stands, how long it still takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from plaudit.methods.reno import Step


class Watch:
    """Counts images; shows the mean reward of the batch at work, of its first pictures and of its best."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._done = 0
        self._batch: tuple[int, ...] = ()
        self._first = 0.0
        self._best: dict[int, float] = {}

    def see(self, step: "Step") -> None:
        """Show one step; one of index 0 begins another batch."""
        totals = dict(zip(step.rows, step.total.nan_to_num(float("-inf")).tolist(), strict=True))
        if step.index == 0:
            self._done += len(self._batch)
            self._batch, self._best = step.rows, totals
            self._first = sum(totals.values()) / len(totals)
        self._best.update({row: max(total, self._best[row]) for row, total in totals.items()})
        best = sum(self._best.values()) / len(self._best)
        share = len(self._batch) * min(1.0, (step.index + 1) / step.steps)
        self._progress.update(self._task, completed=self._done + share, reward=f"{self._first:.3f} -> {best:.3f}")


@contextmanager
def watching(title: str, *, num_images: int) -> Iterator[Watch]:
    """A bar for that many images. Shows nothing where stderr is no terminal."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("reward {task.fields[reward]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        task = progress.add_task(title, total=num_images, reward="...")
        yield Watch(progress, task)
