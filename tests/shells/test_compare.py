import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from made_trainings import made_training
from pocket_toys import Revealer

import plaudit.shells.drawing
from plaudit.shells.cli import main
from plaudit.shells.entrants import entrants_of
from plaudit.shells.flags import WrongUsage

TOYS = Path(__file__).parents[1] / "pocket_toys.py"
CLOSE, EMPTY = f"{TOYS}:Closeness", f"{TOYS}:Emptiness"


def compare(*arguments, capsys, code=0):
    assert main(["compare", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def entrant(found, name):
    return next(one for one in found["results"]["entrants"] if one["name"] == name)


class Counted(Revealer):
    """A generator that knows how many pictures it drew."""

    drawn = 0

    def sample(self, noise, condition):
        self.drawn += len(noise)
        return super().sample(noise, condition)


@pytest.fixture
def toys(monkeypatch):
    """Two generators of which half the pictures are right, or so; both are the same."""
    worlds = {"toy": Counted(), "twin": Counted()}
    monkeypatch.setattr(plaudit.shells.drawing, "check_model", lambda _: None)
    monkeypatch.setattr(
        plaudit.shells.drawing, "load_model", lambda options, *_: (worlds[options.model], {"name": "toy"})
    )
    return worlds


SMALL = ("--prompts", 24, "--images-per-prompt", 2, "--reward", CLOSE)


@pytest.mark.usefixtures("toys")
def test_two_names_of_one_model_differ_by_nothing(tmp_path, capsys):
    found = compare("toy", "twin", *SMALL, "--held-out", EMPTY, "--out", tmp_path / "out", capsys=capsys)
    twin = entrant(found, "twin")
    assert 0 < twin["measures"]["accuracy"]["value"] < 1
    assert {"accuracy", "score", CLOSE, EMPTY, "diversity"} == set(twin["differences"])
    for one in twin["differences"].values():
        assert (one["change"]["low"], one["change"]["value"], one["change"]["high"]) == (0, 0, 0)
        assert (one["verdict"], one["wins"], one["ties"]) == ("cannot tell", None, 1.0)


@pytest.mark.usefixtures("toys")
def test_a_known_improvement_is_found(tmp_path, capsys):
    """The reward knows the right picture, so that the best of eight is right far more often than the first."""
    found = compare("toy", "toy:best-of-n:steps=8", *SMALL, "--out", tmp_path / "out", capsys=capsys)
    best = entrant(found, "toy:best-of-n:steps=8")
    assert best["followed"] == [CLOSE]
    assert best["verdict"] == "better"
    assert best["differences"]["accuracy"]["change"]["low"] > 0.1
    # It can choose the first picture too: no pair is lost under the reward that it follows.
    under = best["differences"][CLOSE]
    assert under["wins"]["value"] == 1.0
    fronts = {(one["gain"], one["against"]): one["names"] for one in found["results"]["fronts"]["fronts"]}
    assert fronts[found["results"]["headline"], "seconds"] == ["toy", "toy:best-of-n:steps=8"]


@pytest.mark.usefixtures("toys")
def test_whoever_follows_emptiness_is_called_worse(tmp_path, capsys):
    arguments = ("toy", "toy:best-of-n", "--steps", 12, "--prompts", 24, "--reward", EMPTY, "--held-out", CLOSE)
    found = compare(*arguments, "--out", tmp_path / "out", capsys=capsys)
    hacked = entrant(found, "toy:best-of-n")
    assert hacked["verdict"] == "worse"
    assert hacked["words"].endswith("it pleases the rewards, and not the prompt.")


def test_a_second_call_draws_nothing_and_a_new_system_only_its_own(toys, tmp_path, capsys):
    place = (*SMALL, "--out", tmp_path / "out")
    first = compare("toy", "toy:best-of-n:steps=2", *place, capsys=capsys)
    drawn = toys["toy"].drawn
    assert drawn == 48 + 2 * 48
    again = compare("toy", "toy:best-of-n:steps=2", *place, "--held-out", EMPTY, capsys=capsys)
    assert toys["toy"].drawn == drawn
    assert entrant(again, "toy")["measures"]["accuracy"] == entrant(first, "toy")["measures"]["accuracy"]
    assert EMPTY in entrant(again, "toy")["measures"]
    more = compare("toy", "toy:best-of-n:steps=2", "toy:best-of-n:steps=3", *place, capsys=capsys)
    assert toys["toy"].drawn == drawn + 3 * 48
    assert len(more["results"]["entrants"]) == 3


@pytest.mark.usefixtures("toys")
def test_another_seed_is_refused_in_the_same_folder(tmp_path, capsys):
    place = (*SMALL[:2], "--reward", CLOSE, "--out", tmp_path / "out")
    compare("toy", "twin", *place, capsys=capsys)
    assert main(["compare", "toy", "twin", *map(str, place), "--seed", "1"]) == 1
    assert "another seed" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_drawn_and_the_same_command_goes_on(toys, tmp_path, capsys, monkeypatch):
    place = ("toy", "twin", *SMALL, "--batch-size", 8, "--out", tmp_path / "out")

    def interrupted(self, noise, condition):
        self.drawn += len(noise)
        if self.drawn > 24:
            raise KeyboardInterrupt
        return Revealer.sample(self, noise, condition)

    with monkeypatch.context() as patched:
        patched.setattr(type(toys["twin"]), "sample", interrupted)
        toys["toy"].drawn = -1000
        assert main(["compare", *map(str, place)]) == 1
    error = capsys.readouterr().err
    assert "1 of 2 systems are finished" in error
    assert error.count("\n") == 1
    kept = len(list((tmp_path / "out/twin/images").iterdir()))
    assert 0 < kept < 48
    toys["toy"].drawn = toys["twin"].drawn = 0
    found = compare(*place, capsys=capsys)
    assert (toys["toy"].drawn, toys["twin"].drawn) == (0, 48 - kept)
    assert entrant(found, "twin")["differences"]["accuracy"]["change"]["value"] == 0
    cost = json.loads((tmp_path / "out/twin/cost.json").read_text())
    assert (cost["images"], cost["pictures"]) == (48, 48)


@pytest.mark.usefixtures("toys")
def test_one_that_fails_does_not_take_the_others_along(tmp_path, capsys):
    """Noise optimisation cannot follow the size of a file; a search can."""
    arguments = ("toy", "toy:reno", "toy:best-of-n", "--steps", 3, "--prompts", 6, "--reward", "incompressibility")
    assert main(["compare", *map(str, arguments), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert "toy:reno failed: noise optimisation follows gradients" in err
    assert "toy:best-of-n: " in out
    found = json.loads((tmp_path / "out/comparison.json").read_text())["results"]
    assert [one["name"] for one in found["entrants"]] == ["toy", "toy:best-of-n"]
    assert list(found["failed"]) == ["toy:reno"]
    assert "toy:reno" in (tmp_path / "out/compare.html").read_text()


@pytest.mark.usefixtures("toys")
def test_equal_time_lets_nobody_take_longer_than_the_dearest(tmp_path, capsys):
    arguments = ("toy", "--method", "none", "best-of-n", "reno", "--equal", "time", "--steps", 6, "--prompts", 6)
    found = compare(*arguments, "--reward", CLOSE, "--out", tmp_path / "out", capsys=capsys)
    shares = found["plan"]["entrants"]
    assert found["plan"]["reference"] in ("toy:reno", "toy:best-of-n")
    assert shares["toy"]["steps"] == 1
    # The dearest at its own steps sets the time; another's whole steps may take a little more or less of it.
    budget, reference = found["plan"]["budget"], found["plan"]["reference"]
    assert shares[reference]["planned"] == pytest.approx(budget)
    (other,) = {"toy:reno", "toy:best-of-n"} - {reference}
    assert abs(shares[other]["planned"] - budget) <= shares[other]["planned"] / shares[other]["steps"]
    assert all(entrant(found, name)["seconds"] > 0 for name in shares)
    # What was measured is kept: a second call plans nothing anew.
    again = compare(*arguments, "--reward", CLOSE, "--out", tmp_path / "out", capsys=capsys)
    assert again["plan"] == found["plan"]


def test_equal_forwards_are_really_used(sd_folder, clip_folder, tmp_path, capsys):
    """One U-Net pass and one reward: 2 a look, and 6 with a backward. Five steps of ReNO are 26, thirteen pictures."""
    reward = ("--reward", clip_folder, "--prompts", 2, "--images-per-prompt", 1)
    found = compare(
        sd_folder, "--method", "none", "best-of-n", "reno", "--equal", "forwards", "--steps", 5, *reward,
        "--out", tmp_path / "out", capsys=capsys,
    )  # fmt: skip
    assert {name.removeprefix(str(sd_folder)): it["steps"] for name, it in found["plan"]["entrants"].items()} == {
        "": 1, ":best-of-n": 13, ":reno": 5,
    }  # fmt: skip
    used = {one["name"].removeprefix(str(sd_folder)): one["forwards"] for one in found["results"]["entrants"]}
    assert used == {"": 1, ":best-of-n": 26, ":reno": 26}


def test_evolution_and_a_training_stand_beside_the_others_at_the_same_cost(sd_folder, clip_folder, tmp_path, capsys):
    """Two forwards a look: 17 pictures are 34. The training draws in two steps, so its own look is three forwards."""
    run = tmp_path / "run"
    made_training(run, sd_folder, steps=2)
    found = compare(
        f"{sd_folder}:evolve:steps=17", sd_folder, f"{sd_folder}:best-of-n", run, f"{run}:best-of-n", "--equal",
        "forwards", "--reward", clip_folder, "--prompts", 2, "--images-per-prompt", 1, "--out", tmp_path / "out",
        capsys=capsys,
    )  # fmt: skip
    used = {one["name"]: one["forwards"] for one in found["results"]["entrants"]}
    assert found["plan"]["budget"] == 34
    assert used == {
        f"{sd_folder}:evolve:steps=17": 34, str(sd_folder): 1, f"{sd_folder}:best-of-n": 34, str(run): 2,
        f"{run}:best-of-n": 33,
    }  # fmt: skip


@pytest.mark.usefixtures("toys")
def test_forwards_of_what_has_no_denoiser_are_refused(tmp_path, capsys):
    arguments = ["compare", "toy", "toy:best-of-n", "--equal", "forwards", "--prompts", "6", "--reward", CLOSE]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "take --equal time" in capsys.readouterr().err


@pytest.mark.usefixtures("toys")
def test_each_reward_is_left_out_in_turn(tmp_path, capsys):
    arguments = ("toy", "toy:best-of-n", "--steps", 4, "--prompts", 12, "--reward", f"{CLOSE}:1", f"{EMPTY}:0.1")
    found = compare(*arguments, "--leave-one-out", "--out", tmp_path / "out", capsys=capsys)
    rows = {row["reward"]: row for row in found["results"]["left_out"]}
    assert set(rows) == {CLOSE, EMPTY}
    assert rows[CLOSE]["whole"] == "toy:best-of-n"
    # Emptiness alone leads away from the right picture, so that closeness keeps nothing where it is left out.
    assert rows[CLOSE]["followed"]["value"] > 0 > rows[CLOSE]["left_out"]["value"]
    assert entrant(found, f"toy:best-of-n:without={EMPTY}")["followed"] == [CLOSE]


@pytest.mark.usefixtures("toys")
def test_what_a_method_leaves_out_is_held_against_the_same_method(tmp_path, capsys):
    arguments = ("toy", "--method", "best-of-n", "evolve", "--steps", 9, "--prompts", 6, "--reward", CLOSE, EMPTY)
    found = compare(*arguments, "--leave-one-out", "--out", tmp_path / "out", capsys=capsys)
    rows = found["results"]["left_out"]
    assert len(rows) == 4
    assert all(row["entrant"].startswith(f"{row['whole']}:without=") for row in rows)


def test_a_training_that_had_one_reward_less_is_held_against_the_one_that_had_it(
    sd_folder, clip_folder, tmp_path, capsys
):
    whole, less = tmp_path / "whole", tmp_path / "less"
    made_training(less, sd_folder)
    both = made_training(whole, sd_folder, by=0.3)
    both.manifest["sources"]["rewards"].append({"weight": 1.0, "name": str(clip_folder)})
    both.save()
    found = compare(
        sd_folder, less, whole, "--reward", "compressibility", clip_folder, "--prompts", 3, "--images-per-prompt", 1,
        "--out", tmp_path / "out", capsys=capsys,
    )  # fmt: skip
    (row,) = found["results"]["left_out"]
    assert (row["entrant"], row["whole"], row["reward"]) == (str(less), str(whole), str(clip_folder))


@pytest.mark.usefixtures("toys")
def test_the_report_shows_the_same_prompts_side_by_side(tmp_path, capsys):
    compare("toy", "twin", "toy:best-of-n:steps=2", *SMALL, "--out", tmp_path / "out", capsys=capsys)
    page = (tmp_path / "out/compare.html").read_text()
    assert page.count("data:image/png") == 24 * 3
    assert page.count('class="sortable"') == 3
    assert "data:image/svg+xml" in page
    with (tmp_path / "out/comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["entrant"] for row in rows} == {"toy", "twin", "toy:best-of-n:steps=2"}
    assert {row["verdict"] for row in rows if row["entrant"] == "toy"} == {""}
    assert all(float(row["change_value"]) == 0 for row in rows if row["entrant"] == "twin")


def test_a_picture_of_a_comparison_can_be_drawn_again_from_itself(sd_folder, clip_folder, tmp_path, capsys):
    from PIL import Image

    reward = ("--reward", clip_folder, "--prompts", 2, "--images-per-prompt", 1)
    compare(sd_folder, f"{sd_folder}:best-of-n:steps=3", *reward, "--out", tmp_path / "out", capsys=capsys)
    places = json.loads((tmp_path / "out/comparison.json").read_text())["entrants"]
    place = places[f"{sd_folder}:best-of-n:steps=3"]["folder"]
    picture = sorted((tmp_path / "out" / place / "images").iterdir())[-1]
    assert main(["generate", "--from-image", str(picture), "--out", str(tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again/images").iterdir()
    assert Image.open(again).tobytes() == Image.open(picture).tobytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "two systems or more"),
        (("pocket-turbo",), "two systems or more"),
        (("pocket-turbo", "pocket-turbo:none"), "named twice"),
        (("pocket-turbo", "POCKET-TURBO"), "named twice"),
        (("pocket-turbo", "pocket-turbo:rneo"), "Did you mean 'reno'?"),
        (("pocket-turbo", "pocket-turbo:reno:stps=3"), "Did you mean 'steps'?"),
        (("pocket-turbo", "pocket-turbo:reno:steps=0"), "at least 1, got '0'"),
        (("pocket-turbo", "pocket-turbo:reno:steps=3:steps=4"), "says 'steps' twice"),
        (("pocket-turbo", "pocket-turbo:steps=3"), "only draws"),
        (("pocket-turbo", "pocket-turbo:reno:evolve"), "names two methods"),
        (("pocket-turbo", ":reno"), "names no model"),
        (("pocket-turbo", "pocket-turbo:reno:without=blip"), "leaves out a reward that is not followed"),
        (
            ("pocket-turbo", "pocket-turbo:reno", "--reward", "hps", "--held-out", "hps"),
            "followed and held out at once",
        ),
        (
            ("pocket-turbo", "pocket-turbo:reno", "--reward", "hps", "--held-out", "pocket-hps:smooth=2"),
            "held out at once: it is the same as 'hps'",
        ),
        (("pocket-turbo", "pocket-turbo:reno", "--held-out", "aesthetic:normalise"), "leave normalise out"),
        (("pocket-turbo", "pocket-turbo:reno", "--steps", "0"), "--steps must be at least 1, got 0"),
        (("pocket-turbo", "pocket-turbo:reno", "--batch-size", "0"), "--batch-size must be at least 1, got 0"),
        (("pocket-turbo", "pocket-turbo:reno", "--memory", "-3"), "--memory must be above 0 gigabytes, got -3"),
        (("pocket-turbo", "pocket-base", "--leave-one-out"), "leaves rewards out of a method"),
        (("pocket-turbo", "pocket-turbo:reno", "--reward", "hps", "--leave-one-out"), "two rewards or more"),
        (("pocket-turbo", "pocket-base", "--suite", "pokcet"), "Did you mean 'pocket'?"),
        (("pocket-turbo", "pocket-base", "--equal", "money"), "--equal takes one of"),
    ],
)
def test_wrong_usage_is_one_sentence_before_anything_is_drawn(arguments, said, tmp_path, capsys):
    assert main(["compare", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_named_before_anything_is_drawn(tmp_path, capsys):
    assert main(["compare", "pocket-turbo", "pocket-trubo", "--out", str(tmp_path / "out")]) == 1
    assert "Did you mean 'pocket-turbo'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_methods_are_for_those_that_name_none():
    names = [one.name for one in entrants_of(["a", "b:evolve"], ["none", "reno"])]
    assert names == ["a", "a:reno", "b:evolve"]
    with pytest.raises(WrongUsage, match="--method: there is no method 'rneo'"):
        entrants_of(["a"], ["rneo"])


def test_a_name_says_all_that_differs():
    (one,) = entrants_of(["a:without=hps:best-of-n:sampling-steps=4:steps=7"], ["none"])
    assert one.name == "a:best-of-n:steps=7:sampling-steps=4:without=hps"
    assert one.followed(["clip", "hps"]) == ("clip",)


def test_a_folder_with_a_colon_is_a_folder(tmp_path):
    place = tmp_path / "runs:reno"
    place.mkdir()
    (one,) = entrants_of([str(place)], ["none"])
    assert (one.model, one.method) == (str(place), "none")


def test_a_training_is_held_against_the_model_that_it_began_with(sd_folder, clip_folder, tmp_path, capsys):
    run = tmp_path / "run"
    made_training(run, sd_folder, steps=3)
    found = compare(
        sd_folder, run, "--reward", "compressibility", "--held-out", clip_folder, "--prompts", 6, "--out",
        tmp_path / "out", capsys=capsys,
    )  # fmt: skip
    tuned = entrant(found, str(run))
    assert tuned["followed"] == ["compressibility"]
    assert [(row["reward"], row["followed"]) for row in tuned["carried"]] == [
        ("compressibility", True), (str(clip_folder), False),
    ]  # fmt: skip
    assert tuned["differences"]["compressibility"]["change"]["value"] != 0
    # It learned to draw in three steps, and a comparison counts them.
    assert (entrant(found, str(sd_folder))["forwards"], tuned["forwards"]) == (1, 3)


def test_a_prompt_file_of_ones_own_is_scored_by_rewards(sd_folder, clip_folder, tmp_path, capsys):
    prompts = tmp_path / "mine.txt"
    prompts.write_text("a red star\na blue ring\n")
    other = shutil.copytree(clip_folder, tmp_path / "judge")
    found = compare(
        sd_folder, f"{sd_folder}:best-of-n:steps=2", "--suite", prompts, "--reward", clip_folder, "--held-out", other,
        "--images-per-prompt", 1, "--out", tmp_path / "out", capsys=capsys,
    )  # fmt: skip
    assert found["results"]["headline"] == str(other)
    assert set(entrant(found, str(sd_folder))["measures"]) == {str(other), str(clip_folder)}


def test_nothing_in_a_comparison_touches_the_global_random_stream(sd_folder, clip_folder, tmp_path, capsys):
    before = torch.get_rng_state()
    compare(
        sd_folder, f"{sd_folder}:best-of-n:steps=2", "--reward", clip_folder, "--prompts", 1, "--images-per-prompt", 1,
        "--out", tmp_path / "out", capsys=capsys,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
