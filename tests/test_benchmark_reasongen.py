"""The benchmark of plans and pictures compares ways that do the same, and the page shows what it wrote."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--sizes", "tiny", "--repeats", "1"]
MODULES = ("reasongen", "reasongen_published", "reasongen_models")


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import reasongen

    yield reasongen
    for name in MODULES:
        sys.modules.pop(name, None)


def drawn_as_released(benchmark, bench, told=None):
    return benchmark.all_of(bench.draw_as_released(told))


def test_both_ways_draw_say_and_learn_the_same(benchmark, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert benchmark.main([*TINY, "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())["models"]
    assert row["same"]
    assert row["same_responses"] == 1.0
    assert row["log_probs_apart"] < 1e-4
    assert row["gradient_cosine"] == pytest.approx(1, abs=1e-4)
    assert row["gradient_size"] == pytest.approx(1, abs=1e-4)
    assert row["plan_words"]["longest"] > row["plan_words"]["mean"], "plans of several lengths"
    assert row["met"] == {part: row["ratio"][part] >= 3.0 for part in ("drawing", "update")}
    assert "2 prompts x 3 responses" in capsys.readouterr().out


def test_plans_are_as_long_as_wanted(benchmark):
    sizes = benchmark.SIZES["tiny"]
    lengths = [length for group in benchmark.wanted(sizes.prompts, sizes.images).lengths for length in group]
    assert benchmark.Bench(sizes).draw().written.sum(dim=1).tolist() == lengths


@pytest.mark.parametrize(("step", "nearly"), [(0, 1.0), (1, 1.0), (2, 5 / 6), (-1, 5 / 6)])
def test_other_words_are_noticed_and_neighbours_told_apart(benchmark, step, nearly):
    bench = benchmark.Bench(benchmark.SIZES["tiny"])
    response = bench.draw()
    other = replace(response, words=response.words.clone())
    assert other.words[0, 1] > bench.policy.begin_of_image + 1
    other.words[0, 1] += step if step >= 0 else bench.policy.begin_of_image - other.words[0, 1]
    same = 1.0 if step == 0 else 5 / 6
    found = benchmark.draws_apart(drawn_as_released(benchmark, bench, other), response)
    assert found == pytest.approx((same, nearly))


def test_a_response_that_only_ends_early_is_noticed(benchmark):
    bench = benchmark.Bench(benchmark.SIZES["tiny"])
    response = bench.draw()
    honest = benchmark.draws_apart(drawn_as_released(benchmark, bench, response), response)
    longer = replace(response, tokens=torch.cat([response.tokens, response.tokens[:, -1:]], dim=1))
    assert honest == (1.0, 1.0)
    assert benchmark.draws_apart(drawn_as_released(benchmark, bench, response), longer) == (0.0, 0.0)


def test_other_log_probabilities_are_noticed(benchmark):
    bench = benchmark.Bench(benchmark.SIZES["tiny"])
    response = bench.draw()
    drawn = drawn_as_released(benchmark, bench, response)
    assert benchmark.furthest_apart(bench, drawn, response) < 1e-4
    honest = bench.released.score
    bench.released.score = lambda it: (honest(it)[0] + 1e-3, honest(it)[1])
    assert benchmark.furthest_apart(bench, drawn, response) == pytest.approx(1e-3, rel=0.1)
    assert not benchmark.checked(bench, response)["same"]


@pytest.mark.parametrize("change", [{"coefficients": (0.0, -3e-3)}, {"advantages": torch.ones(6)}])
def test_another_gradient_is_noticed(benchmark, change):
    bench = benchmark.Bench(benchmark.SIZES["tiny"])
    honest = bench.released.learn
    assert benchmark.checked(bench, bench.draw())["same"]
    bench.released.learn = lambda it, lesson, learner: honest(it, replace(lesson, **change), learner)
    found = benchmark.checked(bench, bench.draw())
    assert found["same_responses"] == 1.0
    assert not found["same"]


def test_the_weights_stay_where_they_are(benchmark):
    bench = benchmark.Bench(benchmark.SIZES["tiny"])
    before = [weight.detach().clone() for weight in bench.policy.transformer.parameters()]
    bench.learn(bench.draw())
    for weight, was in zip(bench.policy.transformer.parameters(), before, strict=True):
        torch.testing.assert_close(weight, was, atol=1e-6, rtol=0)


def test_learned_prompts_stand_for_all(benchmark, monkeypatch):
    """A clock that goes forward by a second at every look: 2 of 4 prompts in a second are 2 seconds for all."""
    seconds = iter(range(1000))
    monkeypatch.setattr("time.process_time", lambda: float(next(seconds)))
    options = benchmark.read_options([*TINY, "--prompts", "4", "--learned", "2"])
    (row,) = benchmark.compare(options)["models"]
    assert row["seconds"]["ours"] == {"drawing": 1.0, "learning": 2.0, "update": 3.0, "with_reference": 3.0}
    assert row["seconds"]["released"] == {"drawing": 1.0, "learning": 2.0, "update": 3.0, "with_reference": 5.0}
    assert row["ratio"]["with_reference"] == pytest.approx(5 / 3, abs=0.01)
    made = round(row["plan_words"]["mean"] * 12) + 12 * 9
    assert row["tokens_per_second"]["ours"]["drawing"] == pytest.approx(made, abs=1)


def test_the_page_shows_the_committed_measurement(benchmark):
    report = json.loads((ROOT / "docs" / "results" / "reasongen_speed.json").read_text())
    page = (ROOT / "docs" / "reasongen.md").read_text()
    assert benchmark.with_table(page, report) == page
    assert all(row["same"] for row in report["models"])
    assert [row["name"] for row in report["models"]] == ["pocket", "wide"]
    assert report["models"][1]["words"] == 102400
    with pytest.raises(SystemExit, match="no marks"):
        benchmark.with_table("a page", report)


@pytest.mark.parametrize("line", [["--prompts", "1"], ["--learned", "1"], ["--learned", "3"], ["--repeats", "0"]])
def test_settings_that_cannot_work_are_refused(benchmark, line, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*TINY, *line])
    assert "error:" in capsys.readouterr().err
