"""Runs a plan: measures how many noises fit into ReNO's time, then every cell that is not there yet."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from plaudit.claims.reno.cells import Bench, Cell, CellResult, CellStore, Variant, run_cell, steps_of
from plaudit.claims.reno.plan import Plan, all_cells, looks_with_cost, main_prompts, reno
from plaudit.runs.files import read_json, write_json
from plaudit.runs.provenance import hardware

ROUNDS = 3
"""of timing, ReNO and best-of-n in turn, so that another program on the machine slows both"""
TIMED_LOOKS = {"reno": 6, "best-of-n": 12}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one image takes, in seconds."""

    reno: float
    """all of ReNO"""
    forward: float
    """one noise of best-of-n: drawn and scored"""

    @property
    def trials(self) -> int:
        """Noises that best-of-n tries in ReNO's time."""
        return max(1, round(self.reno / self.forward))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One cell is finished."""

    cell: Cell
    done: int
    """cells finished, those of earlier runs too"""
    total: int
    share: float
    """of all the work, 0 to 1"""
    seconds_left: float | None
    """None until something was computed in this run"""


def settled(plan: Plan, bench: Bench, store: CellStore) -> Plan:
    """The plan with its number of trials. Measured once per folder, so that a resumed run keeps it."""
    if plan.trials is not None:
        return plan
    timing = timing_of(plan, store) or measure_timing(plan, bench, store)
    return replace(plan, trials=timing.trials)


def timing_of(plan: Plan, store: CellStore) -> Timing | None:
    """The timing that was measured for such a plan on such a machine, None if there is none."""
    content = read_json(_timing_file(plan, store))
    try:
        return None if content is None else Timing(**content)
    except TypeError:
        return None


def measure_timing(plan: Plan, bench: Bench, store: CellStore) -> Timing:
    """Time both methods on the plan's own chunk, in turn; medians over the rounds."""
    prompts = main_prompts(plan, bench.suite)[: plan.chunk]
    usual = reno(plan, bench)
    by_gradient, by_luck = (
        Variant(name="timing", method=method, rewards=usual.rewards, looks=TIMED_LOOKS[method], checkpoints=(0,))
        for method in ("reno", "best-of-n")
    )
    gradient_looks, plain_looks, forwards = [], [], []
    for _ in range(ROUNDS):
        spent = _spent(bench, Cell(variant=by_gradient, seed=0, prompts=prompts))
        # The first look also encodes the prompts, the last has no backward.
        gradient_looks.append((spent[-2] - spent[0]) / (len(spent) - 2))
        plain_looks.append(spent[-1] - spent[-2])
        spent = _spent(bench, Cell(variant=by_luck, seed=0, prompts=prompts))
        forwards.append((spent[-1] - spent[0]) / (len(spent) - 1))
    chunk = statistics.median(gradient_looks) * (plan.steps - 1) + statistics.median(plain_looks)
    timing = Timing(reno=chunk / len(prompts), forward=statistics.median(forwards) / len(prompts))
    write_json(_timing_file(plan, store), asdict(timing))
    return timing


def run(plan: Plan, bench: Bench, store: CellStore) -> Iterator[Progress]:
    """Compute the cells that are missing, one at a time."""
    cells = all_cells(plan, bench)
    missing = [cell for cell in cells if store.read(cell) is None]
    work = sum(map(looks_with_cost, cells))
    done = work - sum(map(looks_with_cost, missing))
    started, begun_with = time.monotonic(), done
    for count, cell in enumerate(missing, start=len(cells) - len(missing) + 1):
        result, sheet = run_cell(bench, cell)
        store.write(cell, result, sheet)
        done += looks_with_cost(cell)
        pace = (time.monotonic() - started) / (done - begun_with)
        yield Progress(cell=cell, done=count, total=len(cells), share=done / work, seconds_left=pace * (work - done))


def seconds_ahead(plan: Plan, bench: Bench, store: CellStore) -> float | None:
    """How long the missing cells will take, by the timing; None if nothing was timed."""
    timing = timing_of(plan, store)
    if timing is None:
        return None
    models = 1 + len(bench.rewards.parts)
    missing = [cell for cell in all_cells(plan, bench) if store.read(cell) is None]
    return sum(map(looks_with_cost, missing)) * timing.forward / models


def finished(plan: Plan, bench: Bench, store: CellStore) -> dict[Cell, CellResult]:
    """Every cell of the plan that is there."""
    found = {cell: store.read(cell) for cell in all_cells(plan, bench)}
    return {cell: result for cell, result in found.items() if result is not None}


def _spent(bench: Bench, cell: Cell) -> list[float]:
    """Seconds the batch had taken after each look."""
    return [step.seconds for step in steps_of(bench, cell)]


def _timing_file(plan: Plan, store: CellStore) -> Path:
    machine = hardware()
    settings = [plan.steps, plan.chunk, machine["cpu"], machine["cores"], machine["threads"], machine["gpus"]]
    return store.folder / f"timing-{store.fingerprint(settings)}.json"
