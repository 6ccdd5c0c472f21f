"""The benchmark of drawing token by token compares ways that do the same, and the page shows what it wrote."""

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--sizes", "tiny", "--prompts", "2", "--images", "3", "--timed", "2", "--repeats", "1"]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("ar_rollout", "ar_published"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import ar_rollout

    yield ar_rollout
    for name in ("ar_rollout", "ar_published"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("more", [[], ["--guidance", "1.5", "--passes", "2"]])
def test_all_ways_draw_the_same_tokens_and_learn_the_same(benchmark, tmp_path, capsys, more):
    file = tmp_path / "report.json"
    assert benchmark.main([*TINY, *more, "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())["models"]
    assert row["same"]
    assert set(row["same_tokens"].values()) == {1.0}
    assert row["gradient_cosine"] == pytest.approx(1, abs=1e-4)
    assert row["seconds"].keys() == benchmark.WAYS.keys()
    assert all(it["rollout"] > 0 for it in row["seconds"].values())
    assert row["met"]["update"] is (row["update_ratio"] >= 3.0)
    assert "2 classes x 3 pictures" in capsys.readouterr().out


def test_another_gradient_is_noticed(benchmark, monkeypatch):
    honest = benchmark.released_update

    def less(policy, drawn, advantages, learner, passes):
        honest(policy, drawn, advantages[:1], learner, passes)

    monkeypatch.setattr(benchmark, "released_update", less)
    assert not benchmark.compare(benchmark.read_options(TINY))["models"][0]["same"]


def test_other_tokens_are_noticed(benchmark, monkeypatch):
    honest = benchmark.grown_rollout
    monkeypatch.setattr(benchmark, "grown_rollout", lambda *given: (honest(*given) + 1) % 12)
    assert not benchmark.compare(benchmark.read_options(TINY))["models"][0]["same"]


def test_a_released_call_draws_one_picture_of_every_class(benchmark):
    rows = [part.tolist() for part in benchmark.calls(6, 3)]
    assert rows == [[0, 3], [1, 4], [2, 5]]


def test_pictures_drawn_one_by_one_stand_for_all(benchmark, monkeypatch):
    """A clock that goes forward by a second at every look: 2 of 6 pictures in a second are 3 seconds for all."""
    seconds = iter(range(1000))
    monkeypatch.setattr("time.process_time", lambda: float(next(seconds)))
    (row,) = benchmark.compare(benchmark.read_options(TINY))["models"]
    assert row["seconds"]["one by one"]["rollout"] == 3.0
    assert row["seconds"]["ours"] == {"rollout": 1.0, "learning": 1.0, "update": 2.0}
    assert row["tokens_per_second"]["ours"]["rollout"] == 6 * 9


def test_the_weights_stay_where_they_are(benchmark):
    bench = benchmark.Bench(benchmark.SIZES["tiny"], benchmark.read_options(TINY))
    before = [weight.detach().clone() for weight in bench.policy.transformer.parameters()]
    bench.gradient("ours")
    for weight, was in zip(bench.policy.transformer.parameters(), before, strict=True):
        torch.testing.assert_close(weight, was, atol=1e-6, rtol=0)


def test_the_page_shows_the_committed_measurement(benchmark):
    report = json.loads((ROOT / "docs" / "results" / "ar_speed.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert benchmark.with_table(page, report) == page
    assert all(row["same"] for row in report["models"])
    assert report["models"][0]["name"] == "pocket"
    with pytest.raises(SystemExit, match="no marks"):
        benchmark.with_table("a page", report)


@pytest.mark.parametrize("line", [["--prompts", "0"], ["--images", "1"], ["--timed", "65"], ["--repeats", "0"]])
def test_settings_that_cannot_work_are_refused(benchmark, line, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(line)
    assert "error:" in capsys.readouterr().err
