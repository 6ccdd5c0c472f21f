"""`plaudit reproduce` of a system whose claims are about trainings: trains and draws what is missing, and reports."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plaudit.core.errors import PlauditError
from plaudit.shells.reproduce import Done, ReproduceOptions, say, watched

if TYPE_CHECKING:
    from plaudit.claims.work import Progress


class Plans(Protocol):
    """The module of a system's plans."""

    def quick(self) -> Any: ...
    def full(self) -> Any: ...


class Reports(Protocol):
    """The module of a system's report."""

    def load_bench(self, plan: Any, device: Any) -> Any: ...
    def measure(self, store: Any) -> "Iterable[tuple[Progress[Any], float]]": ...
    def report_of(self, store: Any) -> dict[str, Any]: ...
    def publish(self, report: dict[str, Any], file: Path, folder: Path) -> list[Path]: ...
    def read_report(self, file: Path) -> dict[str, Any]: ...


class Store(Protocol):
    """A system's trainings on disk."""

    def unfinished(self) -> Sequence[Any]: ...


def with_seed(training: Any) -> str:
    """What a training is called among those of other seeds."""
    return f"{training.name} (seed {training.seed})"


@dataclass(frozen=True, kw_only=True)
class TrainedSystem:
    """All in which one such system differs from another."""

    plan: Plans
    report: Reports
    store: Callable[[Path, Any], Store]
    """the trainings in a folder, of a bench"""
    in_words: Callable[[Any], str]
    """what is planned, of a bench"""
    called: Callable[[Any], str] = with_seed
    """what a training is called that another process is at"""


def reproduced(options: ReproduceOptions, system: TrainedSystem) -> tuple[Sequence[dict[str, Any]], list[Path]]:
    """The claims, and what was written."""
    folder = options.folder / "trainings"
    report = system.report.read_report(options.file) if options.page_only else _measure(options, system, folder)
    return report["claims"], system.report.publish(report, options.file, folder)


def _measure(options: ReproduceOptions, system: TrainedSystem, folder: Path) -> dict[str, Any]:
    """The report, after every training and every measure that the folder lacks."""
    from plaudit.core.devices import best_device

    plan = system.plan.quick() if options.quick else system.plan.full()
    bench = system.report.load_bench(plan, best_device())
    store = system.store(folder, bench)
    say(system.in_words(bench))
    watched(folder, _steps(system.report, store))
    waited_for = [system.called(it) for it in store.unfinished()]
    if waited_for:
        raise PlauditError(
            f"another process is at {', '.join(waited_for)}; when it is done, the same command concludes"
        )
    return system.report.report_of(store)


def _steps(report: Reports, store: Store) -> Iterator[Done]:
    for progress, share in report.measure(store):
        it = progress.training
        yield Done(share=share, name=f"{it.name}, seed {it.seed}", what=progress.what)
