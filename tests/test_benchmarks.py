"""The benchmark of generators runs on a CPU, and the page about it shows what it wrote."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "generators", raising=False)
    import generators

    return generators


def test_the_benchmark_measures_both_ways_and_agrees_with_the_plan(benchmark, tmp_path, capsys):
    file = tmp_path / "report.json"
    line = ["--random-weights", "--tiny", "--models", "sd-turbo", "flux-schnell", "--device", "cpu"]
    assert benchmark.main([*line, "--repeats", "1", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    kinds = [(row["model"], row["way"], row["reward"], row["batch_size"]) for row in report["rows"]]
    expected = [("published", 1), ("plaudit", 1), ("plaudit", 2)]
    assert kinds == [
        (model, way, reward, count)
        for model in ("sd-turbo", "flux-schnell")
        for reward in ("colour", "tower")
        for way, count in expected
    ]
    for row in report["rows"]:
        assert row["seconds_per_step"] > 0
        assert row["images_per_minute"] == pytest.approx(60 * row["batch_size"] / (50 * row["seconds_per_step"]))
        if row["planned_bytes"] is not None:
            assert row["measured_bytes"] == pytest.approx(row["planned_bytes"], rel=0.05)
    published, ours = report["rows"][:2]
    assert ours["measured_bytes"] < 0.5 * published["measured_bytes"]
    assert "| sd-turbo | published | colour | 1 |" in capsys.readouterr().out


def test_a_table_takes_the_place_of_the_last_one(benchmark):
    report = json.loads((ROOT / "docs" / "results" / "generators.json").read_text())
    page = f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter"
    made = benchmark.with_table(page, report)
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter")
    assert benchmark.with_table(made, report) == made
    with pytest.raises(SystemExit, match="no marks"):
        benchmark.with_table("a page", report)


def test_the_page_shows_the_committed_measurement(benchmark):
    report = json.loads((ROOT / "docs" / "results" / "generators.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert benchmark.with_table(page, report) == page
    assert report["scale"] != "tiny" or "**miniatures on a CPU**" in page


@pytest.mark.parametrize("line", [["--tiny"], ["--repeats", "0"], ["--batch-sizes", "0"]])
def test_settings_that_cannot_work_are_refused(benchmark, line, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(line)
    assert "error:" in capsys.readouterr().err
