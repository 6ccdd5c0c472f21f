"""`plaudit reproduce` of a system that trains: the plan first, then what is missing, then the report."""

from types import SimpleNamespace

import pytest

from plaudit.core.errors import PlauditError
from plaudit.shells.reproduce import ReproduceOptions
from plaudit.shells.reproducing_trainings import TrainedSystem, reproduced


class Toy:
    """A report module, and all that a system is made of: two trainings, of which one may stay with another process."""

    def __init__(self, *, left=()):
        self.left, self.asked = list(left), []

    def load_bench(self, plan, device):
        return SimpleNamespace(plan=plan, device=device)

    def measure(self, store):
        for share, seed in ((0.5, 0), (1.0, 1)):
            it = SimpleNamespace(name="toy", seed=seed)
            yield SimpleNamespace(training=it, done=1.0, what="update 3/3"), share

    def report_of(self, store):
        return {"claims": [{"id": "better", "plan": store.bench.plan}]}

    def publish(self, report, file, folder):
        self.asked.append((file, folder))
        return [file]

    def read_report(self, file):
        return {"claims": [{"id": "read again"}]}

    def store(self, folder, bench):
        self.asked.append(folder)
        return SimpleNamespace(folder=folder, bench=bench, unfinished=lambda: self.left)

    def system(self, **more):
        plan = SimpleNamespace(quick=lambda: "a quick one", full=lambda: "a full one")
        return TrainedSystem(
            plan=plan, report=self, store=self.store, in_words=lambda bench: f"plan: {bench.plan}", **more
        )


def test_the_plan_is_said_each_step_is_shown_and_the_report_is_published(tmp_path, capsys):
    toy, options = Toy(), ReproduceOptions(system="r0", out=tmp_path)
    claims, written = reproduced(options, toy.system())
    assert claims == [{"id": "better", "plan": "a full one"}]
    assert written == [tmp_path / "r0.json"]
    assert toy.asked == [tmp_path / "trainings", (tmp_path / "r0.json", tmp_path / "trainings")]
    assert capsys.readouterr().err.splitlines() == [
        "plan: a full one", "toy, seed 0: update 3/3, ...", "toy, seed 1: update 3/3, about 0 min left",
    ]  # fmt: skip


def test_a_quick_run_follows_the_quick_plan(tmp_path):
    claims, _ = reproduced(ReproduceOptions(system="r0", out=tmp_path, quick=True), Toy().system())
    assert claims[0]["plan"] == "a quick one"


def test_the_page_alone_computes_nothing(tmp_path, capsys):
    toy = Toy()
    claims, _ = reproduced(ReproduceOptions(system="r0", out=tmp_path, page_only=True), toy.system())
    assert claims == [{"id": "read again"}]
    assert toy.asked == [(tmp_path / "r0.json", tmp_path / "trainings")]
    assert capsys.readouterr().err == ""


def test_what_another_process_is_at_is_named_and_nothing_is_published(tmp_path):
    left = [SimpleNamespace(name="toy", seed=seed) for seed in (1, 2)]
    toy, options = Toy(left=left), ReproduceOptions(system="r0", out=tmp_path)
    with pytest.raises(PlauditError, match=r"another process is at toy \(seed 1\), toy \(seed 2\); when it is done"):
        reproduced(options, toy.system())
    with pytest.raises(PlauditError, match="another process is at toy, toy;"):
        reproduced(options, toy.system(called=lambda it: it.name))
    assert toy.asked == [tmp_path / "trainings"] * 2
