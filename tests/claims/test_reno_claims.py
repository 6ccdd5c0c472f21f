import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from pocket_toys import Closeness, Emptiness, Revealer

from plaudit.claims.picture_grid import pictures_in
from plaudit.claims.reno import experiment
from plaudit.claims.reno import plan as plans
from plaudit.claims.reno.cells import Bench, Cell, CellStore, EncodesOnce, run_cell, steps_of
from plaudit.claims.reno.experiment import Timing, finished, settled
from plaudit.claims.reno.findings import found_in
from plaudit.claims.reno.page import page
from plaudit.claims.reno.plan import Plan, all_cells, best_of, hacking, left_out, main_prompts, reno, side_prompts
from plaudit.claims.reno.report import publish, read_report, report_of, with_second_model
from plaudit.core.errors import BadConfig
from plaudit.rewards.mix import WeightedSum
from plaudit.suites.run import pocket

SMALL = Plan(steps=6, seeds=(0, 1), main_prompts=12, side_prompts=6, chunk=6, trials=9)


def bench_of(generator=None):
    suite = pocket()
    suite = dataclasses.replace(suite, prompts=tuple(suite.prompts[i] for i in suite.spread(18)))
    rewards = {"near": (1.0, Closeness()), "nearer": (1.0, Closeness(1.5)), "empty": (0.1, Emptiness())}
    return Bench(
        generator=EncodesOnce(generator or Revealer()), rewards=WeightedSum(rewards), suite=suite,
        sources={"model": {"name": "toy"}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench():
    return bench_of()


@pytest.fixture(scope="module")
def done(bench, tmp_path_factory):
    """A finished experiment's store."""
    store = CellStore(tmp_path_factory.mktemp("cells"), bench)
    for _ in experiment.run(SMALL, bench, store):
        pass
    return store


@pytest.fixture(scope="module")
def report(bench, done):
    return report_of(SMALL, bench, done)


def without_times(content):
    """The same content less what the clock decides."""
    if isinstance(content, dict):
        return {k: without_times(v) for k, v in content.items() if "seconds" not in k and k != "note"}
    return [without_times(v) for v in content] if isinstance(content, list) else content


def test_stopping_and_going_on_changes_nothing(bench, tmp_path):
    plan = dataclasses.replace(SMALL, seeds=(0,), steps=4, main_prompts=4, side_prompts=2, chunk=2)
    whole = CellStore(tmp_path / "whole", bench)
    assert len(list(experiment.run(plan, bench, whole))) == len(all_cells(plan, bench)) == 12
    store = CellStore(tmp_path / "stopped", bench)
    for progress in experiment.run(plan, bench, store):
        if progress.done == 5:
            break
    kept = {file: file.stat().st_mtime_ns for file in store.folder.glob("*.json")}
    assert len(kept) == 5
    went_on = [progress.done for progress in experiment.run(plan, bench, store)]
    assert went_on == list(range(6, 13))
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert without_times(report_of(plan, bench, store)) == without_times(report_of(plan, bench, whole))


def test_a_damaged_cell_is_computed_again(bench, report, done):
    cell = all_cells(SMALL, bench)[3]
    whole = done.file(cell).read_text()
    done.file(cell).write_text(whole[: len(whole) // 2])
    assert [progress.cell for progress in experiment.run(SMALL, bench, done)] == [cell]
    assert without_times(report_of(SMALL, bench, done)) == without_times(report)


def test_cells_of_other_weights_are_never_taken_for_ones_own(bench, tmp_path):
    cell = all_cells(SMALL, bench)[0]
    other_model = dataclasses.replace(bench, sources={"model": {"name": "toy", "weights": {"unet": "f00"}}})
    other_sum = dataclasses.replace(
        bench, rewards=WeightedSum({k: (2 * w, r) for k, (w, r) in bench.rewards.parts.items()})
    )
    files = {CellStore(tmp_path, each).file(cell) for each in (bench, other_model, other_sum)}
    files.add(CellStore(tmp_path, bench).file(dataclasses.replace(cell, seed=7)))
    assert len(files) == 4


def test_cells_that_were_computed_before_are_found_again(bench, tmp_path):
    """Their names are what results on disk lie under: another name here is all of them lost."""
    cell = Cell(variant=reno(SMALL, bench), seed=1, prompts=(3, 5, 11))
    store = CellStore(tmp_path, dataclasses.replace(bench, suite=dataclasses.replace(bench.suite, prompts=())))
    assert store.file(cell).name == "reno-s1-d0a8ed4903.json"


def test_an_unfinished_experiment_has_no_report(bench, tmp_path):
    with pytest.raises(BadConfig, match=r"24 of 24 cells"):
        report_of(SMALL, bench, CellStore(tmp_path, bench))


def test_progress_ends_at_the_whole_with_nothing_left(bench, tmp_path):
    small = dataclasses.replace(SMALL, seeds=(0,), steps=2, main_prompts=6, trials=2)
    seen = list(experiment.run(small, bench, CellStore(tmp_path, bench)))
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert seen[-1].seconds_left == pytest.approx(0, abs=1e-6)
    assert seen[0].seconds_left > 0


def test_the_toy_improves_and_the_empty_reward_alone_hacks(report):
    claims = {claim["id"]: claim for claim in report["claims"]}
    assert claims["accuracy"]["measured"] > 0.1
    rows = {row["variant"]: row for row in report["tables"]["hacking"]}
    assert rows["only-empty"]["accuracy_rise"]["value"] < 0
    assert rows["only-empty"]["own_rise"] > 0.3
    assert rows["only-empty"]["all_rise"] < 0
    assert rows["reno"]["accuracy_rise"]["value"] > rows["only-empty"]["accuracy_rise"]["value"]
    improved = {row["reward"]: row["improved"]["value"] for row in report["tables"]["left_out"]}
    assert improved["near"] > 0.7
    assert improved["empty"] < 0.1


def test_every_claim_says_what_a_claim_must(report):
    report = with_second_model(report, None)
    ids = [claim["id"] for claim in report["claims"]]
    assert len(ids) == len(set(ids)) == 11
    for claim in report["claims"]:
        assert set(claim) == {"id", "claim", "paper", "measured", "interval", "bar", "met", "note"}
        assert (claim["measured"] is None) == (claim["interval"] is None)
        if claim["interval"] is not None:
            assert claim["interval"][0] <= claim["measured"] <= claim["interval"][1]
    second = next(claim for claim in report["claims"] if claim["id"] == "second-model")
    assert second["met"] is None
    assert "plaudit reproduce reno --model pocket-pixart" in second["note"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_claim_to_be_better_is_met_only_beyond_doubt(report):
    claims = {claim["id"]: claim for claim in report["claims"]}
    for name in ("equal-time", "equal-forwards", "all-rewards"):
        assert claims[name]["met"] == (claims[name]["interval"][0] > 0)
    for name in ("accuracy", "left-out-near", "left-out-empty", "left-out-mean"):
        assert claims[name]["met"] == (claims[name]["measured"] >= claims[name]["bar"])


def test_the_accuracy_claim_is_the_cells_own_verdicts(bench, done, report):
    found = found_in(SMALL, bench, finished(SMALL, bench, done))
    prompts, usual = main_prompts(SMALL, bench.suite), reno(SMALL, bench)
    tasks = np.array(found.tasks(prompts))
    by_task = [
        np.mean([
            np.mean([found.outcomes["reno", p, s].right[place] for s in (0, 1)])
            for p, own in zip(prompts, tasks, strict=True) if own == task
        ])
        for place in (-1, 0) for task in sorted(set(tasks))
    ]  # fmt: skip
    half = len(by_task) // 2
    rise = np.mean(by_task[:half]) - np.mean(by_task[half:])
    assert report["claims"][0]["measured"] == pytest.approx(rise)
    curve = report["tables"]["curves"][0]
    assert curve["steps"] == list(usual.checkpoints) == [0, 1, 2, 5]
    assert curve["accuracy"][-1]["value"] - curve["accuracy"][0]["value"] == pytest.approx(rise)


def test_best_of_n_starts_where_reno_starts(bench, done):
    found = found_in(SMALL, bench, finished(SMALL, bench, done))
    for prompt in main_prompts(SMALL, bench.suite):
        for seed in SMALL.seeds:
            one, other = (found.outcomes[name, prompt, seed] for name in ("reno", "best-of-n"))
            assert one.right[0] == other.right[0]
            assert one.before == pytest.approx(other.before)


def test_the_best_so_far_never_gets_worse_under_what_is_optimised(bench, done):
    found = found_in(SMALL, bench, finished(SMALL, bench, done))
    side = side_prompts(SMALL, bench.suite)
    for variant in (*left_out(SMALL, bench).values(), *hacking(SMALL, bench).values()):
        assert (found.total(variant, side, "after") >= found.total(variant, side, "before") - 1e-5).all()


def test_a_cells_images_are_those_of_the_prompts_places_in_the_suite(bench):
    """The same prompt in another chunk, with other prompts around it, is the same image."""
    variant = reno(SMALL, bench)
    together, sheet = run_cell(bench, Cell(variant=variant, seed=0, prompts=(3, 5, 11)))
    alone, own = run_cell(bench, Cell(variant=variant, seed=0, prompts=(5,)))
    assert alone.outcomes[0].right == together.outcomes[1].right
    assert alone.outcomes[0].after == pytest.approx(together.outcomes[1].after, abs=1e-4)
    torch.testing.assert_close(sheet[:, :, 64:128], own, atol=1e-4, rtol=0)


def test_variants_differ_in_what_their_names_say(bench):
    variants = hacking(SMALL, bench)
    moved = {}
    for name in ("reno", "big-step"):
        variant = variants.get(name, reno(SMALL, bench))
        steps = list(steps_of(bench, Cell(variant=variant, seed=0, prompts=(0, 1))))
        moved[name] = float((steps[1].noise - steps[0].noise).norm())
    assert moved["big-step"] == pytest.approx(10 * moved["reno"], rel=0.05)
    assert variants["no-penalty"].prior_weight == 0
    assert variants["only-near"].rewards == ("near",)
    assert left_out(SMALL, bench)["near"].rewards == ("nearer", "empty")


def test_every_chunk_holds_every_task():
    plan = plans.full()
    suite = pocket()
    prompts = main_prompts(plan, suite)
    assert len(set(prompts)) == plan.main_prompts
    assert set(side_prompts(plan, suite)) <= set(prompts)
    for start in range(0, len(prompts), plan.chunk):
        tasks = {suite.prompts[p].request.task for p in prompts[start : start + plan.chunk]}
        assert len(tasks) == 6


def test_equal_time_is_measured_once_and_kept(bench, tmp_path):
    store = CellStore(tmp_path, bench)
    plan = dataclasses.replace(SMALL, trials=None)
    first = settled(plan, bench, store)
    assert first.trials >= 1
    (file,) = tmp_path.glob("timing-*.json")
    file.write_text(json.dumps({"reno": 3.0, "forward": 0.02}))
    assert settled(plan, bench, store).trials == 150
    assert settled(SMALL, bench, store).trials == 9


def test_equal_time_is_rounded_to_whole_noises_and_never_to_none():
    assert Timing(reno=1.49, forward=0.01).trials == 149
    assert Timing(reno=0.001, forward=1.0).trials == 1


def test_best_of_n_is_judged_at_equal_forwards_and_at_equal_time(bench):
    for trials, ends in ((9, (0, 5, 8)), (3, (0, 2, 5)), (6, (0, 5)), (1, (0, 5))):
        variant = best_of(dataclasses.replace(SMALL, trials=trials), bench)
        assert variant.checkpoints == ends
        assert variant.looks == max(trials, SMALL.steps)


@pytest.mark.parametrize("wrong", [{"side_prompts": 13}, {"steps": 1}, {"seeds": ()}, {"chunk": 0}])
def test_a_plan_that_cannot_work_is_refused(wrong):
    with pytest.raises(BadConfig):
        dataclasses.replace(SMALL, **wrong)


def test_the_page_takes_its_numbers_from_the_json_and_is_the_same_every_time(report, done, tmp_path):
    written = publish(report, tmp_path / "reno.json", done.folder)
    assert {path.name for path in written} == {
        "reno.json", "reno.md", "reno-curve.svg", "reno-hacking.svg", "reno-before-after.png",
        "reno-hacking-grid.png",
    }  # fmt: skip
    once = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    publish(read_report(tmp_path / "reno.json"), tmp_path / "reno.json", done.folder)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == once
    before = (tmp_path / "reno.md").read_text()
    assert f"{report['claims'][0]['measured']:.3f}" in before
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", before):
        assert (tmp_path / picture).exists()
    changed = read_report(tmp_path / "reno.json")
    changed["claims"][0].update(measured=0.98765, interval=[0.91234, 0.99321])
    changed["tables"]["time"]["reno_seconds"] = 77.125
    (tmp_path / "reno.json").write_text(json.dumps(changed))
    publish(read_report(tmp_path / "reno.json"), tmp_path / "reno.json", tmp_path / "no cells here")
    after = (tmp_path / "reno.md").read_text()
    assert "0.988" in after
    assert "0.912 to 0.993" in after
    assert "77.125" in after
    assert after.count("![") == 4


def test_the_page_has_no_number_of_its_own(report):
    """With every number in the report replaced by 7, only words, names and 7 are left in the tables."""
    numbers = sevens({k: report[k] for k in ("claims", "tables", "hardware", "seconds")})
    numbers["claims"] = [{**claim, "note": ""} for claim in numbers["claims"]]
    text = page({**report, **numbers})
    rows = [line for line in text.splitlines() if line.startswith("|") and "SD-Turbo" not in line]
    measured = {number for row in rows for number in re.findall(r"\d+\.\d{2,3}\b", row)}
    assert measured <= {"7.000", "7.00", "0.13"}


def sevens(content):
    if isinstance(content, bool) or content is None or isinstance(content, str):
        return content
    if isinstance(content, dict):
        return {key: sevens(value) for key, value in content.items()}
    return [sevens(value) for value in content] if isinstance(content, list) else 7


def test_a_missed_bar_is_named_on_the_page(report):
    claims = [{**claim, "met": claim["id"] != "equal-time" and claim["met"]} for claim in report["claims"]]
    text = page({**report, "claims": claims})
    assert "**no**" in text
    assert re.search(r"missed: .*equal-time", text)


def test_a_sheet_is_cut_into_first_and_best_pictures(bench, tmp_path):
    store = CellStore(tmp_path, bench)
    cell = Cell(variant=reno(SMALL, bench), seed=0, prompts=(0, 4))
    result, sheet = run_cell(bench, cell)
    store.write(cell, result, sheet)
    first, best = (row[1] for row in pictures_in(store.sheet(cell), rows=2, columns=2))
    assert first.shape == best.shape == (192, 192, 3)
    np.testing.assert_allclose(first[::3, ::3], sheet[:, :64, 64:].permute(1, 2, 0), atol=0.003)
    np.testing.assert_allclose(best[1::3, 2::3], sheet[:, 64:, 64:].permute(1, 2, 0), atol=0.003)


def test_a_file_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "reno.json").write_text('{"system": "other"}')
    with pytest.raises(BadConfig, match="no report"):
        read_report(tmp_path / "reno.json")
    with pytest.raises(BadConfig, match="no report"):
        read_report(tmp_path / "absent.json")
