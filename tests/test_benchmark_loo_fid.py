"""The benchmark of LOO-FID compares ways that say the same, and the page about it shows what it wrote."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--dimensions", "12", "--images", "40", "--timed", "4", "--timed-eigen", "40", "--repeats", "1"]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "loo_fid", raising=False)
    import loo_fid

    yield loo_fid
    sys.modules.pop("loo_fid", None)


def test_all_ways_are_timed_and_say_the_same(benchmark, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert benchmark.main([*TINY, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["same_scores"]
    assert report["exact_ways_differ_by"] < 1e-6
    assert report["correlation_with_exact"]["ours, second order"] > 0.999
    assert report["seconds"].keys() == benchmark.WAYS.keys()
    ratio = report["seconds"]["published"] / report["seconds"]["ours"]
    assert report["speed_ratio"] == pytest.approx(ratio, rel=0.05, abs=0.1)
    assert report["met"] is (ratio >= report["bar"])
    assert "40 pictures, 12 dimensions" in capsys.readouterr().out


def test_a_way_that_says_something_else_is_noticed(benchmark, monkeypatch):
    honest = benchmark.published
    monkeypatch.setattr(benchmark, "published", lambda *given: honest(*given) * 1.01)
    assert not benchmark.compare(benchmark.read_options(TINY))["same_scores"]


def test_few_timed_pictures_stand_for_all(benchmark, monkeypatch):
    """A clock that goes forward by a second at every look: one picture and the whole, for 40 and the whole."""
    seconds = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))
    report = benchmark.compare(benchmark.read_options([*TINY, "--timed", "1"]))
    assert report["seconds"]["published"] == 41 / 2
    assert report["seconds"]["eigenvalues"] == 1
    assert report["speed_ratio"] == 20.5


def test_the_page_shows_the_committed_measurement(benchmark):
    report = json.loads((ROOT / "docs" / "results" / "loo_fid_speed.json").read_text())
    page = (ROOT / "docs" / "loo_fid.md").read_text()
    assert benchmark.with_table(page, report) == page
    assert report["met"]
    assert report["same_scores"]
    assert (report["dimensions"], report["images"]) == (512, 144)
    with pytest.raises(SystemExit, match="no marks"):
        benchmark.with_table("a page", report)


@pytest.mark.parametrize("line", [["--dimensions", "1"], ["--timed", "145"], ["--timed", "0"], ["--repeats", "0"]])
def test_settings_that_cannot_work_are_refused(benchmark, line, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(line)
    assert "error:" in capsys.readouterr().err
