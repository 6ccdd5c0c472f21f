"""What each picture does to FID: one optimal transport for the batch against a matrix square root for each picture.

The published way of leaving pictures out with whole covariances is FID as it is usually written, tr (C_r C)^(1/2) by
scipy.linalg.sqrtm, once without each of the N pictures and once with all. A better way to the same numbers takes the
eigenvalues of a symmetric product, still N + 1 times. Both would take minutes, so they are timed on a few pictures,
`--timed` and `--timed-eigen`, and multiplied. Ours is timed whole: from features to scores, moments included. What
depends on the real pictures alone is done before, once in a training, for all three.

    OMP_NUM_THREADS=1 python benchmarks/loo_fid.py
    OMP_NUM_THREADS=1 python benchmarks/loo_fid.py --json docs/results/loo_fid_speed.json --page docs/loo_fid.md
    python benchmarks/loo_fid.py --dimensions 64 --images 48 --json -
    python benchmarks/loo_fid.py --read docs/results/loo_fid_speed.json --page docs/loo_fid.md
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import scipy.linalg
import torch
from shown_reports import add_flags, between_marks, show
from timing import timed
from torch import Tensor

from plaudit.core.random_streams import stream
from plaudit.core.team import Team
from plaudit.rewards.feature_statistics import FeatureSet, Moments
from plaudit.rewards.frechet import Gaussian, Made, leave_one_out, left_out
from plaudit.rewards.loo_fid import LeaveOneOutFID, LooFidSettings
from plaudit.rewards.loo_fid_memory import FadingMemory

BAR, SAME, CLOSE = 100.0, 1e-6, 0.95
BEGIN, END = "<!-- generated: speed -->", "<!-- end: speed -->"
WAYS = {
    "published": "a square root of a product a picture (scipy.linalg.sqrtm)",
    "eigenvalues": "the same by eigenvalues of a symmetric matrix a picture",
    "ours": "one transport for the batch",
    "ours, second order": "one transport and the second-order term",
}
SETTINGS = LooFidSettings(shrinkage=0.0, ridge=0.0, clip=float("inf"))


def main(arguments: Sequence[str] | None = None) -> int:
    return show(read_options(arguments), compare, table=as_table, with_table=with_table)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=512, help="of a picture's features")
    parser.add_argument("--images", type=int, default=144, help="in the batch")
    parser.add_argument("--decay", type=float, default=SETTINGS.decay, help="weight of what was made before")
    parser.add_argument("--timed", type=int, default=3, help="pictures left out by square roots")
    parser.add_argument("--timed-eigen", type=int, default=24, help="pictures left out by eigenvalues")
    parser.add_argument("--repeats", type=int, default=5, help="of ours; the median counts")
    add_flags(parser)
    options = parser.parse_args(arguments)
    most = max(options.timed, options.timed_eigen)
    if options.dimensions < 2 or not 3 <= most <= options.images or min(options.timed, options.repeats) < 1:
        parser.error("give 2 dimensions, 1 repeat, and 1 timed picture at least, 3 by eigenvalues, no more than images")
    return options


class NoNet:
    """Stands for a feature net where features are given."""

    name, fingerprint = "numbers", "0"

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Real features, what was made before, and a batch of it, all correlated in their own way."""

    real: FeatureSet
    before: FeatureSet
    batch: Tensor


def task_of(dimensions: int, images: int) -> Task:
    rng = stream("benchmark of loo-fid", dimensions)
    mix = torch.randn(dimensions, dimensions, generator=rng) / dimensions**0.5 + torch.eye(dimensions)
    other = mix + 0.3 * torch.randn(dimensions, dimensions, generator=rng) / dimensions**0.5

    def draw(count: int, through: Tensor) -> Tensor:
        return torch.randn(count, dimensions, generator=rng) @ through.T

    real, made = draw(8 * dimensions, mix), 0.8 * draw(8 * dimensions + images, other) + 0.1
    sets = [
        FeatureSet(
            moments=Moments.of(rows), sample=rows[:0], groups=None, net="numbers", fingerprint="0", images="numbers"
        )
        for rows in (real, made[images:])
    ]
    return Task(real=sets[0], before=sets[1], batch=made[:images])


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and whether they are of the same thing."""
    task = task_of(options.dimensions, options.images)
    real = Gaussian(mean=task.real.moments.mean, covariance=task.real.moments.covariance)
    memory = FadingMemory.starting(options.decay, task.before)
    rows = task.batch.double()
    made = memory.with_batch(rows, Moments.of(rows), Team())[1]
    assert real.root.isfinite().all()  # and it is there before the clock runs

    first, few = rows[: options.timed], rows[: options.timed_eigen]
    root_seconds, by_roots = timed(lambda: published(first, made, real))
    eigen_seconds, exact = timed(lambda: leave_one_out(few, made, real))
    times, scores = {}, {}
    for way, form in (("ours", "potential"), ("ours, second order", "second-order")):
        settings = replace(SETTINGS, form=form, decay=options.decay)
        runs = []
        for _ in range(options.repeats):
            reward = LeaveOneOutFID(NoNet(options.dimensions), task.real, start=task.before, settings=settings)
            assert reward.distance() > 0  # whose roots are thereby there, as above
            runs.append(timed(lambda one=reward: one.score_features(task.batch)))
        times[way], scores[way] = statistics.median(seconds for seconds, _ in runs), runs[0][1]
    # Each way needs one more matrix: with all pictures.
    seconds = {
        "published": root_seconds / (options.timed + 1) * (options.images + 1),
        "eigenvalues": eigen_seconds / (options.timed_eigen + 1) * (options.images + 1),
        **times,
    }
    return {
        "dimensions": options.dimensions,
        "images": options.images,
        "decay": options.decay,
        "timed": {"published": options.timed, "eigenvalues": options.timed_eigen, **dict.fromkeys(times, "all")},
        "threads": torch.get_num_threads(),
        "bar": BAR,
        "seconds": {way: float(f"{value:.4g}") for way, value in seconds.items()},
        "speed_ratio": round(seconds["published"] / seconds["ours"], 1),
        "speed_ratio_eigenvalues": round(seconds["eigenvalues"] / seconds["ours"], 1),
        "met": seconds["published"] >= BAR * seconds["ours"],
        **agreement(by_roots, exact, scores),
    }


def published(features: Tensor, made: Made, real: Gaussian) -> Tensor:
    """(B,): FID without each picture less FID with all, each with a square root of C_r C."""

    def fid(mean: Tensor, covariance: Tensor) -> float:
        root = scipy.linalg.sqrtm((real.covariance @ covariance).numpy())
        shift = (mean - real.mean).square().sum()
        return float(shift + real.variance.sum() + covariance.trace() - 2 * root.real.trace())

    with_all = fid(made.whole.mean, made.whole.covariance)
    found = []
    for row in features.split(1):
        means, covariances = left_out(row, made)
        found.append(fid(means[0], covariances[0]) - with_all)
    return torch.tensor(found, dtype=torch.float64)


def agreement(by_roots: Tensor, exact: Tensor, scores: dict[str, Tensor]) -> dict[str, Any]:
    """Whether both exact ways say the same, and how well ours goes with them."""
    gap = float((by_roots - exact[: len(by_roots)]).abs().max() / exact.std())
    fits = {way: _correlation(given[: len(exact)].double(), exact) for way, given in scores.items()}
    return {
        "exact_ways_differ_by": gap,
        "correlation_with_exact": {way: round(value, 6) for way, value in fits.items()},
        "same_scores": gap < SAME and min(fits.values()) > CLOSE,
    }


def as_table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['images']} pictures, {report['dimensions']} dimensions, {report['threads']} "
        f"{'thread' if report['threads'] == 1 else 'threads'} of a CPU.",
        "",
        "| way | timed on | seconds a batch | as fast as published | correlation with exact |",
        "|---|---|---|---|---|",
    ]
    for way, said in WAYS.items():
        taken, timed = report["seconds"][way], report["timed"][way]
        counted = "the whole batch" if timed == "all" else f"{timed} pictures"
        fit = report["correlation_with_exact"].get(way)
        lines.append(
            f"| {said} | {counted} | {taken:.3g} | {report['seconds']['published'] / taken:.3g} times | "
            f"{'exact' if fit is None else format(fit, '.4f')} |"
        )
    met = "met" if report["met"] else "missed"
    return "\n".join([*lines, "", f"The bar, {report['bar']:g} times as fast as published, is {met}."])


def with_table(page: str, report: dict[str, Any]) -> str:
    """The page with the report's table between its marks."""
    return between_marks(page, (BEGIN, END), as_table(report))


def _correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


if __name__ == "__main__":
    sys.exit(main())
