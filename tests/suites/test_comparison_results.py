import json

import numpy as np
import pytest

from plaudit.core.errors import BadConfig
from plaudit.suites.comparison import ACCURACY, DISTANCE, Table
from plaudit.suites.comparison_results import Spared, flat_rows, results_of

PROMPTS = 24
CATEGORIES = ("counting",) * 12 + ("position",) * 12


def table(name, *, followed=(), seconds=1.0, forwards=1.0, **scores):
    arrays = {key: np.asarray(value, dtype=float) for key, value in scores.items()}
    return Table(
        name=name, prompts=tuple(range(PROMPTS)), categories=CATEGORIES, scores=arrays, followed=followed,
        seconds=seconds, forwards=forwards,
    )  # fmt: skip


def right(share):
    """(24, 2) of 0 and 1, alike in both categories."""
    hits = np.zeros((12, 2))
    hits[: round(12 * share)] = 1
    return np.concatenate([hits, hits])


@pytest.fixture
def base():
    rng = np.random.default_rng(0)
    return table(
        "base", **{ACCURACY: right(0.25), "hps": rng.normal(size=(24, 2)), "clip": rng.normal(size=(24, 2)),
        DISTANCE: np.full((24, 1), 0.4)},
    )  # fmt: skip


def moved(base, name, *, hps=0.0, clip=0.0, accuracy=None, distance=0.4, **settings):
    scores = {
        ACCURACY: base.scores[ACCURACY] if accuracy is None else right(accuracy),
        "hps": base.scores["hps"] + hps, "clip": base.scores["clip"] + clip, DISTANCE: np.full((24, 1), distance),
    }  # fmt: skip
    return table(name, **settings, **scores)


def entrant(results, name):
    return next(one for one in results["entrants"] if one["name"] == name)


def test_the_first_is_what_the_others_are_held_against(base):
    found = results_of([base, moved(base, "tuned", accuracy=0.75, hps=1.0, followed=("hps",))])
    assert (found["reference"], found["headline"]) == ("base", ACCURACY)
    assert entrant(found, "base")["verdict"] == "reference"
    assert entrant(found, "base")["differences"] == {}
    tuned = entrant(found, "tuned")
    assert tuned["verdict"] == "better"
    assert tuned["differences"][ACCURACY]["change"]["value"] == pytest.approx(0.5)
    assert tuned["words"].startswith("Better than base: accuracy +0.500")
    assert "ahead in 100% of the pairs that differ" in tuned["words"]
    assert "Of the rewards that it follows 1 of 1 clearly rose; of those that it does not, 0 of 1 did" in tuned["words"]


def test_equal_systems_cannot_be_told_apart_and_it_says_so(base):
    words = entrant(results_of([base, moved(base, "twin")]), "twin")["words"]
    assert words == "Cannot tell it from base: accuracy +0.000 (+0.000 to +0.000), every pair equal."


def test_who_pleases_the_rewards_and_not_the_prompt_is_called_so(base):
    found = results_of([base, moved(base, "hacked", accuracy=0.0, hps=2.0, clip=-1.0, followed=("hps",))])
    words = entrant(found, "hacked")["words"]
    assert words.startswith("Worse than base")
    assert "0 of 1 did and 1 fell" in words
    assert "pleases the rewards, and not the prompt" in words
    better = entrant(results_of([base, moved(base, "b", accuracy=0.5, hps=2.0, followed=("hps",))]), "b")["words"]
    assert "pleases" not in better


def test_every_category_has_a_row_for_every_system(base):
    rows = results_of([base, moved(base, "tuned", accuracy=0.75)])["categories"]
    assert [(row["category"], row["entrant"]) for row in rows] == [
        ("counting", "base"), ("counting", "tuned"), ("position", "base"), ("position", "tuned"),
    ]  # fmt: skip
    assert rows[0]["change"] is None
    assert rows[1]["change"]["value"] == pytest.approx(0.5)
    assert rows[1]["prompts"] == 12


def test_a_reward_that_is_left_out_is_held_against_the_whole(base):
    whole = moved(base, "all", hps=2.0, clip=2.0, followed=("hps", "clip"))
    spared = moved(base, "no clip", hps=2.0, clip=0.5, followed=("hps",))
    # Another that follows the same rewards, and rises further, has nothing to do with it.
    other = moved(base, "other", hps=2.0, clip=9.0, followed=("hps", "clip"))
    without = {"no clip": Spared(reward="clip", whole="all")}
    (row,) = results_of([base, other, whole, spared], without=without)["left_out"]
    assert (row["reward"], row["whole"]) == ("clip", "all")
    assert row["kept"] == pytest.approx(0.25)
    # Without a system that follows all of them there is nothing to hold it against.
    assert results_of([base, other, spared], without=without)["left_out"] == []


def test_fronts_know_what_is_large_and_what_is_dear(base):
    slow = moved(base, "slow", accuracy=0.75, hps=1.0, clip=1.0, distance=0.2, seconds=9.0)
    wasteful = moved(base, "wasteful", accuracy=0.5, hps=0.5, clip=0.5, distance=0.1, seconds=10.0, forwards=0.5)
    fronts = fronts_in(results_of([base, slow, wasteful]))
    assert fronts[ACCURACY, "reward"] == ["slow"]
    assert fronts[ACCURACY, "diversity"] == fronts["reward", "diversity"] == ["base", "slow"]
    assert fronts[ACCURACY, "seconds"] == fronts["reward", "seconds"] == ["base", "slow"]
    assert fronts[ACCURACY, "forwards"] == ["slow", "wasteful"]


def fronts_in(results):
    return {(one["gain"], one["against"]): one["names"] for one in results["fronts"]["fronts"]}


def test_a_witness_has_no_part_in_what_is_called_reward(base):
    """What rises where it is followed, and falls as far where nobody follows it, is no standstill."""
    found = results_of([base, moved(base, "hacked", hps=2.0, clip=-2.0, followed=("hps",))])["fronts"]
    assert found["rewards"] == ["hps"]
    assert found["points"]["hacked"]["reward"] == pytest.approx(2.0 / base.scores["hps"].std())
    nobody = results_of([base, moved(base, "lucky", hps=1.0)])["fronts"]
    assert nobody["rewards"] == ["clip", "hps"]


def test_a_headline_is_not_its_own_reward():
    rng = np.random.default_rng(1)
    first = {"hps": rng.normal(size=(24, 1)), "clip": rng.normal(size=(24, 1))}
    later = {name: scores + 1 for name, scores in first.items()}
    found = results_of([table("a", **first), table("b", **later, followed=("hps", "clip"))])["fronts"]
    assert (found["of"], found["rewards"]) == ("hps", ["clip"])


def test_a_cost_that_is_not_known_of_all_has_no_front(base):
    fronts = fronts_in(results_of([base, moved(base, "tokens", forwards=None)]))
    assert (ACCURACY, "forwards") not in fronts
    assert (ACCURACY, "seconds") in fronts


def test_without_right_and_wrong_the_first_reward_decides():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(24, 1))
    found = results_of([table("a", hps=first), table("b", hps=first + 1)])
    assert found["headline"] == "hps"
    assert entrant(found, "b")["verdict"] == "better"


def test_systems_without_a_common_measure_are_refused():
    with pytest.raises(BadConfig, match="no measure in common"):
        results_of([table("a", hps=np.zeros((24, 1))), table("b", clip=np.zeros((24, 1)))])
    with pytest.raises(BadConfig, match="nothing to compare"):
        results_of([])


def test_results_are_json_and_rows_of_a_table(base):
    found = results_of([base, moved(base, "tuned", accuracy=0.75, followed=("hps",))])
    assert json.loads(json.dumps(found)) == found
    rows = flat_rows(found)
    assert len(rows) == 2 * 4 + 2 * 2
    assert len({tuple(row) for row in rows}) == 1  # the same columns everywhere
    assert [row["followed"] for row in rows if row["entrant"] == "tuned" and not row["category"]] == [
        False, True, False, False,
    ]  # fmt: skip
    (counting,) = [row for row in rows if (row["entrant"], row["category"]) == ("tuned", "counting")]
    assert (counting["measure"], counting["change_value"], counting["prompts"]) == (ACCURACY, pytest.approx(0.5), 12)
    assert rows[0]["change_value"] == rows[0]["verdict"] == ""
