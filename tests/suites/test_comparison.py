import numpy as np
import pytest

from plaudit.core.errors import BadConfig
from plaudit.suites.comparison import (
    ACCURACY,
    Point,
    Table,
    carried_over,
    difference,
    differences,
    holm,
    left_out,
    pareto_front,
    sign_flip_test,
    win_rate,
)


def table(name, *, followed=(), categories=None, **scores):
    arrays = {key: np.asarray(value, dtype=float) for key, value in scores.items()}
    count = len(next(iter(arrays.values())))
    return Table(
        name=name, prompts=tuple(range(count)), categories=tuple(categories or ("all",) * count), scores=arrays,
        followed=followed,
    )  # fmt: skip


def test_a_system_against_itself_differs_by_nothing_at_all():
    scores = np.random.default_rng(0).normal(size=(20, 3))
    found = difference(table("a", hps=scores), table("b", hps=scores), "hps")
    assert (found.change.low, found.change.value, found.change.high) == (0, 0, 0)
    assert (found.wins, found.ties, found.chance, found.verdict) == (None, 1.0, 1.0, "cannot tell")


def test_two_draws_of_one_system_cannot_be_told_apart():
    rng = np.random.default_rng(1)
    hardness = rng.normal(0, 2, size=(40, 1))
    one, two = (table(name, hps=hardness + rng.normal(size=(40, 2))) for name in "ab")
    found = difference(two, one, "hps")
    assert found.change.low < 0 < found.change.high
    assert found.wins.low < 0.5 < found.wins.high
    assert found.verdict == "cannot tell"


@pytest.mark.parametrize(("shift", "verdict"), [(0.5, "better"), (-0.5, "worse")])
def test_a_shift_is_found_in_its_direction(shift, verdict):
    rng = np.random.default_rng(2)
    before = rng.normal(0, 3, size=(50, 2))
    found = difference(table("b", hps=before + shift + rng.normal(0, 0.3, (50, 2))), table("a", hps=before), "hps")
    assert found.verdict == verdict
    assert found.change.low < shift < found.change.high
    assert (found.wins.value > 0.9) == (shift > 0)


def test_accuracy_is_a_mean_of_categories_and_a_reward_a_mean_of_prompts():
    scores = [[1.0]] * 9 + [[0.0]]
    one = table("a", categories=["easy"] * 9 + ["hard"], **{ACCURACY: scores, "hps": scores})
    assert one.mean(ACCURACY).value == pytest.approx(0.5)
    assert one.mean("hps").value == pytest.approx(0.9)
    zero = table("z", categories=["easy"] * 9 + ["hard"], **{ACCURACY: np.zeros((10, 1)), "hps": np.zeros((10, 1))})
    assert difference(one, zero, ACCURACY).change.value == pytest.approx(0.5)
    assert one.of_category("hard").mean("hps").value == 0
    assert one.of_category("hard").prompts == (9,)


def test_intervals_of_differences_cover_the_truth_as_often_as_they_say():
    """Prompts differ in how much the second system gains; the images of a prompt share that."""
    rng = np.random.default_rng(3)
    truth, covered, experiments = 0.3, 0, 400
    for _ in range(experiments):
        hardness, gain = rng.normal(0, 2, (30, 1)), rng.normal(truth, 0.5, (30, 1))
        before = hardness + rng.normal(0, 0.5, (30, 2))
        after = hardness + gain + rng.normal(0, 0.5, (30, 2))
        found = difference(table("b", hps=after), table("a", hps=before), "hps").change
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / experiments <= 0.98


def test_intervals_of_win_rates_cover_the_truth_as_often_as_they_say():
    """Some pairs are ties, some prompts nothing but ties; a prompt's images win more often together."""
    rng = np.random.default_rng(4)
    covered, experiments = 0, 600
    for _ in range(experiments):
        chances = rng.beta(6, 4, (60, 1))  # of a win, by prompt: 0.6 on average
        gaps = np.where(rng.random((60, 3)) < chances, 1.0, -1.0)
        gaps[rng.random(60) < 0.3] = 0
        wins, ties = win_rate(gaps, np.zeros_like(gaps))
        covered += wins.low <= 0.6 <= wins.high
        assert 0.05 < ties < 0.6
    assert 0.92 <= covered / experiments <= 0.98


def test_wins_are_counted_among_the_pairs_that_differ():
    wins, ties = win_rate([2.0, 1.0, 5.0, 5.0], [1.0, 2.0, 4.0, 5.0])
    assert wins.value == pytest.approx(2 / 3)
    assert (wins.prompts, ties) == (3, 0.25)


def test_the_sign_flip_test_by_hand():
    """Of the 8 choices of three signs, two give a sum of 6 or more in size: 1 + 2 + 3 and its opposite."""
    assert sign_flip_test([1.0, 2.0, 3.0], flips=40_000) == pytest.approx(0.25, abs=0.01)


def test_equal_systems_are_called_different_by_a_test_as_often_as_it_says():
    rng = np.random.default_rng(5)
    found = [sign_flip_test(rng.normal(size=25), flips=500, seed=i) for i in range(600)]
    assert 0.025 <= np.mean([chance < 0.05 for chance in found]) <= 0.08


def test_the_test_weighs_categories_as_the_measure_does():
    """Nine prompts that rise and one alone in its category that falls as far cancel out, unless all count alike."""
    gaps, strata = [0.1] * 9 + [-0.1], ["easy"] * 9 + ["hard"]
    assert sign_flip_test(gaps, strata=strata) > 0.9
    assert sign_flip_test(gaps) < 0.05


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_would_be_a_find_alone_is_none_among_many():
    """One shift that is barely seen, with and without nine systems of pure chance beside it."""
    rng = np.random.default_rng(6)
    base = table("base", hps=rng.normal(size=(30, 1)))
    barely = table("new", hps=base.scores["hps"] + 0.4 + rng.normal(size=(30, 1)))
    alone = differences([base, barely], "hps")[0]
    assert alone.change.low > 0
    assert alone.verdict == "better"
    others = [table(f"other {i}", hps=base.scores["hps"] + rng.normal(size=(30, 1))) for i in range(9)]
    among = differences([base, barely, *others], "hps")
    assert among[0].corrected > alone.corrected
    assert {one.verdict for one in among} == {"cannot tell"}


def test_tables_of_other_prompts_are_not_compared():
    one, two = table("a", hps=[[1.0], [2.0]]), table("b", hps=[[1.0], [2.0], [3.0]])
    with pytest.raises(BadConfig, match="same prompts"):
        difference(two, one, "hps")
    with pytest.raises(BadConfig, match="'b' was not scored by 'clip'"):
        difference(two, table("c", clip=[[1.0]] * 3), "clip")


def test_a_reward_that_is_left_out_keeps_a_share_of_its_rise():
    reference = table("none", hps=np.zeros((6, 1)), clip=np.zeros((6, 1)))
    whole = table("all", hps=np.full((6, 1), 4.0), clip=np.full((6, 1), -1.0), followed=("hps", "clip"))
    without = {
        "hps": table("no hps", hps=np.full((6, 1), 1.0), clip=np.zeros((6, 1))),
        "clip": table("no clip", hps=np.zeros((6, 1)), clip=np.full((6, 1), -2.0)),
    }
    hps, clip = left_out(reference, whole, without)
    assert (hps.followed.value, hps.left_out.value, hps.kept) == (4, 1, 0.25)
    assert hps.wins.value == 1
    assert (clip.left_out.value, clip.kept) == (-2, None)


def test_gains_are_held_against_each_other_in_spreads_of_the_reference():
    before = np.array([[0.0], [2.0], [0.0], [2.0]])  # a spread of 1
    reference = table("base", hps=before, clip=100 * before, flat=np.ones((4, 1)))
    tuned = table("tuned", hps=before - 1, clip=100 * before + 300, flat=np.ones((4, 1)), followed=("clip",))
    clip, hps, flat = carried_over(tuned, reference)
    assert (clip.reward, clip.followed, clip.spreads) == ("clip", True, pytest.approx(3))
    assert (hps.reward, hps.followed, hps.spreads) == ("hps", False, pytest.approx(-1))
    assert flat.spreads is None


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ({"a": (1, 1), "b": (2, 2)}, ("b",)),
        ({"a": (1, 3), "b": (2, 2), "c": (3, 1), "d": (1.5, 1.5)}, ("a", "b", "c")),
        ({"a": (1, 1), "b": (1, 1)}, ("a", "b")),  # neither is better in anything
        ({"a": (1, 1), "b": (1, 2)}, ("b",)),  # as good in one way, better in the other
        ({"cheap": (0.5, -1.0), "dear": (0.5, -9.0)}, ("cheap",)),
        ({"alone": (0, 0, 0)}, ("alone",)),
        ({}, ()),
    ],
)
def test_the_front_is_what_no_other_beats(points, front):
    assert pareto_front([Point(name=name, gains=gains) for name, gains in points.items()]) == front


def test_points_with_other_numbers_of_gains_have_no_front():
    with pytest.raises(BadConfig, match="as many numbers"):
        pareto_front([Point(name="a", gains=(1,)), Point(name="b", gains=(1, 2))])
