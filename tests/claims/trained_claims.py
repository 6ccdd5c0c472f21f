"""What holds of every reproduction that trains, to be checked of each; and toys that several of them measure with."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.table import read_spec
from plaudit.runs.checkpoints import Checkpoints
from plaudit.shells.cli import main


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A reproduction that trains, by its modules."""

    name: str
    """on the command line"""
    plan: ModuleType
    trainings: ModuleType
    report: ModuleType
    page: ModuleType

    def stand_in(self, monkeypatch, plan, bench):
        """Make the command's quick run one of this plan on the bench that `bench(plan)` gives."""
        monkeypatch.setattr(self.plan, "quick", lambda: plan)
        monkeypatch.setattr(self.report, "load_bench", lambda given, _: bench(given))


class Means:
    """Means and spreads of the channels, and more of some. A FeatureNet."""

    dimensions = 6

    def __init__(self, name):
        self.name, self.fingerprint = name, f"means of {name}"
        self.scale = torch.linspace(1, 1 + len(name), 6)

    def __call__(self, images):
        flat = images.flatten(2)
        return torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1) * self.scale


def loads_of(rewards):
    """How a bench loads these rewards: one by its name, many by their specs."""
    return {
        "load_one": lambda name, **_: rewards[name],
        "load_many": lambda specs, **_: WeightedSum(
            {name: (weight, rewards[name]) for name, weight in map(read_spec, specs)}
        ),
    }


def all_done(system, store):
    """The store, when everything is trained and measured."""
    shares = [share for _, share in system.report.measure(store)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    return store


def check_folders(system, store):
    """Of a store where everything is done."""
    every = list(system.plan.trainings(store.bench.plan))
    assert len({store.place(it) for it in every}) == len(every)
    assert list(system.report.measure(store)) == []
    assert store.unfinished() == []


def stopped_and_resumed(system, store, it):
    """What is said of a training that goes on after it was stopped at its first update."""
    steps = system.trainings.run(it, store)
    next(steps)
    steps.close()
    assert store.read(it) is None
    assert it in store.unfinished()
    return list(system.trainings.run(it, store))


def check_measured_again(system, store, it, wanted):
    """A measure of a finished training that is missing is made without training."""
    file = store.measure_file(it, wanted)
    before = file.read_text()
    file.unlink()
    assert store.read(it) is None
    log = (store.place(it) / "metrics.jsonl").read_text()
    assert [progress.what for progress in system.trainings.run(it, store)] == [f"drawn: {wanted.name}"]
    assert {**json.loads(file.read_text()), "seconds": 0} == {**json.loads(before), "seconds": 0}
    assert (store.place(it) / "metrics.jsonl").read_text() == log


def check_damaged(store, it, file):
    """Cut short, a file of a finished training counts as absent."""
    whole, read = file.read_text(), store.read(it)
    file.write_text(whole[: len(whole) // 2])
    assert store.read(it) is None
    file.write_text(whole)
    assert store.read(it) == read


def check_last_weights(store, it, updates):
    newest = Checkpoints(store.place(it)).newest()
    assert newest is not None
    assert int(newest.tensors["done"]) == updates


def check_left_to_another(system, store, it):
    """Nothing happens to a training while somebody is at it."""
    first = system.trainings.run(it, store)
    next(first)
    assert list(system.trainings.run(it, store)) == []
    first.close()
    assert list(system.trainings.run(it, store)) != []


def check_report(report, wanted):
    """It is JSON, with these claims among others, and each says what a claim must."""
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    ids = [claim["id"] for claim in report["claims"]]
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)
    for claim in report["claims"]:
        assert set(claim) == {"id", "claim", "paper", "measured", "interval", "bar", "met", "note"}
    assert report["seconds"] > 0


def check_page(system, report, folder, file, endings):
    """Page and pictures, `endings`, come from the report of a quick run alone; returns the page."""
    written = system.report.publish(report, file, folder)
    name = file.stem
    assert {path.name for path in written} == {f"{name}.json", f"{name}.md", *(f"{name}-{it}" for it in endings)}
    read, words = system.report.read_report(file), file.with_suffix(".md").read_text()
    assert words == system.page.page(read)
    assert "the quick run" in words
    assert all(f"({name}-{ending})" in words for ending in endings)
    assert not re.search(r"\{\w*\}", words)
    # Without the trainings the pictures that are there stay.
    system.report.publish(read, file, file.parent / "elsewhere")
    assert file.with_suffix(".md").read_text() == words
    return words


def check_unfinished(system, store):
    """Of a store in which nothing is done yet."""
    count = len(list(system.plan.trainings(store.bench.plan)))
    with pytest.raises(BadConfig, match=f"{count} of {count} trainings are not finished yet"):
        system.report.report_of(store)
    with pytest.raises(BadConfig, match="run it first"):
        system.report.read_report(Path(store.folder) / "none.json")


def check_command(system, folder, capsys):
    """The command measures, says what is met, and makes the page again; returns what it said."""
    file = folder / f"{system.name}.json"
    command = ["reproduce", system.name, "--out", str(folder / "work"), "--json", str(file)]
    assert main([*command, "--quick"]) == 0
    said = capsys.readouterr()
    words = file.with_suffix(".md").read_text()
    file.with_suffix(".md").unlink()
    assert main([*command, "--page-only"]) == 0
    assert file.with_suffix(".md").read_text() == words
    assert main([*command, "--model", "pocket-turbo"]) == 2
    return said


def check_waits(system, folder, capsys, it):
    """While another process is at the training in the command's folder, the command says so."""
    bench = system.report.load_bench(system.plan.quick(), None)
    first = system.trainings.run(it, system.trainings.Store(folder / "trainings", bench))
    next(first)
    assert main(["reproduce", system.name, "--quick", "--out", str(folder)]) == 1
    assert f"another process is at {it.name} (seed {it.seed})" in capsys.readouterr().err
    first.close()
