import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from pocket_toys import Closeness, Emptiness, Revealer

import plaudit.claims.reno.plan
import plaudit.claims.reno.report
import plaudit.shells.reproducing_reno
import plaudit.suites.run
from plaudit.claims.reno.cells import Bench, EncodesOnce
from plaudit.claims.reno.plan import Plan
from plaudit.pocket.judge import judge
from plaudit.rewards.mix import WeightedSum
from plaudit.shells.cli import main
from plaudit.suites.run import pocket


def evaluate(*arguments, capsys):
    assert main(["evaluate", "pocket", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_an_evaluation_says_how_sure_it_is(sd_folder, capsys):
    scores = json.loads(
        evaluate("--model", sd_folder, "--prompts", 12, "--images-per-prompt", 2, "--json", capsys=capsys)
    )
    assert scores["images"] == 24
    assert set(scores["tasks"]) == {"single_object", "two_object", "counting", "colors", "position", "color_attr"}
    # Random weights draw nothing that was asked for; that it can be otherwise, twelve prompts cannot exclude.
    assert scores["accuracy"]["value"] == 0
    assert scores["tasks"]["counting"]["high"] > 0.3
    table = evaluate("--model", sd_folder, "--prompts", 6, "--images-per-prompt", 1, capsys=capsys)
    assert "95 % interval" in table
    assert "6 images" in table


def test_a_second_call_draws_only_what_is_missing(sd_folder, tmp_path, capsys):
    place = ("--model", sd_folder, "--images-per-prompt", 1, "--out", tmp_path / "out", "--json")
    evaluate("--prompts", 4, *place, capsys=capsys)
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out/images").iterdir()}
    assert len(kept) == 4
    again = json.loads(evaluate("--prompts", 7, *place, capsys=capsys))
    now = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out/images").iterdir()}
    assert again["images"] == 7
    assert kept.items() <= now.items()
    assert main(["evaluate", "pocket", "--prompts", "4", *map(str, place), "--seed", "1"]) == 1
    assert "another seed" in capsys.readouterr().err


def test_a_subset_is_scored_alone_in_a_folder_that_holds_more(sd_folder, tmp_path, capsys):
    place = ("--model", sd_folder, "--images-per-prompt", 1, "--out", tmp_path / "out", "--json")
    evaluate("--prompts", 7, *place, capsys=capsys)
    assert json.loads(evaluate("--prompts", 1, *place, capsys=capsys))["images"] == 1


def test_a_picture_of_an_evaluation_can_be_drawn_again_from_itself(sd_folder, tmp_path, capsys):
    place = ("--model", sd_folder, "--images-per-prompt", 2, "--seed", 3, "--out", tmp_path / "out", "--json")
    evaluate("--prompts", 2, *place, capsys=capsys)
    picture = sorted((tmp_path / "out/images").iterdir())[-1]
    assert main(["generate", "--from-image", str(picture), "--out", str(tmp_path / "again"), "--json"]) == 0
    (again,) = (tmp_path / "again/images").iterdir()
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(picture)))


def test_ctrl_c_keeps_what_was_judged(sd_folder, tmp_path, capsys, monkeypatch):
    calls = []

    def interrupted(images, requests):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(images, requests)

    monkeypatch.setattr(plaudit.suites.run, "judge", interrupted)
    place = ["evaluate", "pocket", "--model", str(sd_folder), "--prompts", "7", "--images-per-prompt", "1"]
    assert main([*place, "--out", str(tmp_path), "--batch-size", "2"]) == 1
    error = capsys.readouterr().err
    assert "4 of 7 images are kept" in error
    assert error.count("\n") == 1
    assert main([*place, "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 7
    assert sum(calls[3:]) == 3


@pytest.mark.parametrize("flag", [("--prompts", "0"), ("--prompts", "600"), ("--images-per-prompt", "0")])
def test_a_size_that_cannot_be_is_one_sentence(flag, sd_folder, capsys):
    assert main(["evaluate", "pocket", "--model", str(sd_folder), *flag]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def _toy_world(monkeypatch):
    """`reproduce reno` on a generator and rewards that take no time."""
    suite = pocket()
    suite = dataclasses.replace(suite, prompts=tuple(suite.prompts[i] for i in suite.spread(8)))
    rewards = {"near": (1.0, Closeness()), "empty": (0.1, Emptiness())}
    benches = {
        name: Bench(
            generator=EncodesOnce(Revealer()), rewards=WeightedSum(rewards), suite=suite,
            sources={"model": {"name": name}},
        )
        for name in ("pocket-turbo", "pocket-pixart")
    }  # fmt: skip
    monkeypatch.setattr(plaudit.claims.reno.report, "load_bench", lambda _, model: benches[model])
    small = Plan(steps=3, seeds=(0,), main_prompts=4, side_prompts=2, chunk=2, quick=True)
    monkeypatch.setattr(plaudit.claims.reno.plan, "quick", lambda: small)
    monkeypatch.setattr(plaudit.shells.reproducing_reno, "_absent", lambda _: None)
    monkeypatch.setattr(
        plaudit.claims.reno.plan, "second", lambda plan: dataclasses.replace(plan, ablations=False, side_prompts=4)
    )


@pytest.mark.usefixtures("_toy_world")
def test_a_reproduction_shows_plan_progress_and_claims_and_writes_the_page(tmp_path, capsys):
    file = tmp_path / "results" / "reno.json"
    arguments = ["reproduce", "reno", "--quick", "--out", str(tmp_path / "run"), "--json", str(file)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "plan, with 1 seed" in err
    assert "min left" in err
    assert "left-out-empty" in out
    report = json.loads(file.read_text())
    assert report["system"] == "reno"
    assert report["settings"]["quick"] is True
    assert report["settings"]["trials"] >= 1
    assert file.with_suffix(".md").exists()
    second = json.loads((file.parent / "reno-pixart.json").read_text())
    assert second["settings"]["model"] == "pocket-pixart"
    assert (file.parent / "reno-pixart.md").exists()
    rises = [next(c for c in r["claims"] if c["id"] == i) for r, i in ((report, "second-model"), (second, "accuracy"))]
    assert rises[0]["measured"] == rises[1]["measured"]
    # A second call has nothing left to compute, and says the same.
    assert main(arguments) == 0
    out_again, err_again = capsys.readouterr()
    assert out_again == out
    assert "min left" not in err_again


@pytest.mark.usefixtures("_toy_world")
def test_the_page_alone_computes_nothing(tmp_path, monkeypatch):
    arguments = ["reproduce", "reno", "--quick", "--out", str(tmp_path)]
    assert main(arguments) == 0
    (tmp_path / "reno.md").unlink()

    def never(_, model):
        raise AssertionError(f"the page needs no {model}")

    monkeypatch.setattr(plaudit.claims.reno.report, "load_bench", never)
    assert main([*arguments, "--page-only"]) == 0
    assert (tmp_path / "reno.md").read_text().startswith("# ReNO")


def test_a_page_of_nothing_is_refused(tmp_path, capsys):
    assert main(["reproduce", "reno", "--page-only", "--out", str(tmp_path)]) == 1
    assert "run it first" in capsys.readouterr().err


@pytest.mark.usefixtures("_toy_world")
def test_a_second_model_that_is_not_there_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plaudit.shells.reproducing_reno, "_absent", lambda _: "it is not built")
    assert main(["reproduce", "reno", "--quick", "--out", str(tmp_path)]) == 0
    assert "without a second model: it is not built" in capsys.readouterr().err
    claims = json.loads((tmp_path / "reno.json").read_text())["claims"]
    assert next(claim for claim in claims if claim["id"] == "second-model")["met"] is None
    assert not (tmp_path / "reno-pixart.json").exists()
