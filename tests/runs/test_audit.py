"""The verdict on a training: every word of it from numbers made by hand, and how often it is wrong by chance."""

import math

import numpy as np
import pytest

from plaudit.runs.audit import CANNOT_TELL, HACKED, IMPROVED, RULE, UNCHANGED, WORSE, audit
from plaudit.runs.looks import Look

PROMPTS, GROUP = 6, 4
SHAKE = np.random.default_rng(7).normal(size=(PROMPTS, GROUP)) * 0.02


def look(done: int, **measures: float | np.ndarray) -> Look:
    """A look at 6 prompts of 4 pictures; a number is every picture's, but for a little that is the same every time."""
    made = {
        name: np.asarray(value) if np.ndim(value) else value + SHAKE * (1 + 0.1 * done)
        for name, value in measures.items()
    }
    return Look(
        done=done, rows=[{name: values[row].tolist() for name, values in made.items()} for row in range(PROMPTS)]
    )


def right(count: int) -> np.ndarray:
    """So many of the 24 pictures are right, spread over the prompts."""
    return (np.arange(PROMPTS * GROUP) < count).astype(float).reshape(GROUP, PROMPTS).T


def all_three(reward: float, held_out: float, hits: int) -> dict[str, float | np.ndarray]:
    return {"reward": reward, "held_out": held_out, "accuracy": right(hits)}


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        # The held-out reward alone.
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 2.0, "held_out": 1.5}, IMPROVED),
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 2.0, "held_out": 0.5}, HACKED),
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 0.5, "held_out": 0.5}, WORSE),
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 1.0, "held_out": 0.5}, WORSE),
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 0.5, "held_out": 1.5}, IMPROVED),
        ({"reward": 1.0, "held_out": 1.0}, {"reward": 2.0, "held_out": 1.0}, UNCHANGED),
        # The judge alone.
        ({"reward": 1.0, "accuracy": right(6)}, {"reward": 2.0, "accuracy": right(18)}, IMPROVED),
        ({"reward": 1.0, "accuracy": right(18)}, {"reward": 2.0, "accuracy": right(6)}, HACKED),
        ({"reward": 1.0, "accuracy": right(18)}, {"reward": 0.5, "accuracy": right(6)}, WORSE),
        ({"reward": 1.0, "accuracy": right(12)}, {"reward": 2.0, "accuracy": right(13)}, UNCHANGED),
        # The judge overrules the held-out reward, unless it cannot say.
        (all_three(1.0, 1.0, 18), all_three(2.0, 2.0, 6), HACKED),
        (all_three(1.0, 1.0, 6), all_three(2.0, 0.5, 18), IMPROVED),
        (all_three(1.0, 1.0, 12), all_three(2.0, 0.5, 13), HACKED),
        # Nothing held out.
        ({"reward": 1.0}, {"reward": 2.0}, CANNOT_TELL),
    ],
)  # fmt: skip
def test_every_verdict_by_hand(before, after, word):
    found = audit([look(0, **before), look(10, **after)])
    assert found.word == word
    assert found.done == 10


def test_the_sentence_has_the_numbers_it_rests_on():
    found = audit([look(0, reward=1.0, held_out=1.0), look(10, reward=2.0, held_out=0.5)])
    assert str(found).startswith("hacked: the trained reward rose, 0.99")
    assert "while the held-out reward fell, 0.99" in found.because
    assert found.because.count("95 % interval") == 2
    told = found.to_json()
    assert (told["word"], told["updates"], told["rule"]) == ("hacked", 10, RULE)
    assert [change["name"] for change in told["changes"]] == ["reward", "held_out"]


def test_nothing_held_out_is_said():
    found = audit([look(0, reward=1.0, diversity=0.5), look(10, reward=2.0, diversity=0.1)])
    assert "nothing held out" in str(found)
    assert any("more alike" in said for said in found.remarks)


@pytest.mark.parametrize("looks", [[], [look(0, reward=1.0, held_out=1.0)]])
def test_without_two_looks_there_is_nothing_to_compare(looks):
    assert audit(looks).word == CANNOT_TELL


def test_a_reward_that_was_only_watched_is_a_witness():
    first, last = look(0, reward=1.0), look(10, reward=0.5)
    assert audit([first, last]).word == CANNOT_TELL
    found = audit([first, last], followed=False)
    assert found.word == WORSE
    assert "the watched reward fell" in found.because


def test_what_says_the_opposite_is_remarked():
    before = look(0, reward=1.0, held_out=1.0, accuracy=right(18))
    found = audit([before, look(10, reward=2.0, held_out=2.0, accuracy=right(6))])
    assert found.word == HACKED
    assert any("The held-out reward says the opposite" in said for said in found.remarks)


def test_a_training_that_was_past_its_best_is_told_so():
    looks = [look(at, reward=at / 10, held_out=value) for at, value in ((0, 1.0), (10, 3.0), (20, 2.9), (30, 2.0))]
    found = audit(looks)
    assert found.word == IMPROVED
    assert any("past its best" in said and "after 10 updates" in said for said in found.remarks)
    assert not audit(looks[:2]).remarks


@pytest.mark.parametrize(("name", "words"), [("colour", "The strength of colours rose"), ("saturation", "Saturation,")])
def test_stronger_colours_are_remarked_and_slightly_stronger_ones_are_not(name, words):
    def remarks(value):
        found = audit([look(0, held_out=1.0, **{name: 0.3}), look(5, held_out=2.0, **{name: value})])
        return " ".join(found.remarks)

    assert words in remarks(0.5)
    assert remarks(0.33) == remarks(0.1) == ""


def test_pairs_are_of_the_same_picture():
    """Pictures differ much more than training changes them; only pair by pair it shows."""
    spread = np.random.default_rng(1).normal(size=(PROMPTS, GROUP)) * 10
    first, last = look(0, held_out=spread), look(5, held_out=spread + 0.1 + SHAKE)
    assert audit([first, last]).word == IMPROVED
    turned = look(5, held_out=spread[::-1] + 0.1 + SHAKE)
    assert audit([first, turned]).word == UNCHANGED


def test_scores_that_were_no_numbers_are_left_out_as_pairs():
    first, last = look(0, held_out=1.0), look(5, held_out=2.0)
    lost = [{"held_out": [None, *row["held_out"][1:]]} for row in first.rows]
    found = audit([Look(done=0, rows=lost), last])
    assert found.word == IMPROVED
    assert found.changes["held_out"].pairs == PROMPTS * (GROUP - 1)


def test_the_interval_of_a_few_pictures_by_hand():
    """Differences 1, 2, 3 of one prompt: mean 2, spread 1, and Student's t with 2 degrees of freedom is 4.3027."""
    first, last = Look(done=0, rows=[{"held_out": [0, 0, 0]}]), Look(done=5, rows=[{"held_out": [1, 2, 3]}])
    change = audit([first, last]).changes["held_out"]
    half = 4.302652730 / math.sqrt(3)
    assert (change.low, change.high) == (pytest.approx(2 - half), pytest.approx(2 + half))


def test_the_judges_interval_of_a_few_pictures_by_hand():
    """Four that became right: with the made-up pairs mean 4 / 6, variance 5 / 6 - 16 / 36; t with 3 is 3.1824."""
    first, last = Look(done=0, rows=[{"accuracy": [0] * 4}]), Look(done=5, rows=[{"accuracy": [1] * 4}])
    change = audit([first, last]).changes["accuracy"]
    half = 3.182446305 * math.sqrt((5 / 6 - 16 / 36) / 6)
    assert (change.low, change.high) == (pytest.approx(2 / 3 - half), 1.0)
    assert 2 / 3 + half > 1
    assert audit([first, last]).word == UNCHANGED


def test_prompts_that_differ_widen_the_interval():
    """A rise of two prompts of six alone is no rise of prompts, though all their pictures have it."""
    rise = np.zeros((PROMPTS, GROUP))
    rise[:2] = 1.0
    found = audit([look(0, held_out=np.zeros((PROMPTS, GROUP))), look(5, held_out=rise)])
    assert found.word == UNCHANGED
    everywhere = np.zeros((PROMPTS, GROUP))
    everywhere[:, :2] = 1.0
    assert audit([look(0, held_out=np.zeros((PROMPTS, GROUP))), look(5, held_out=everywhere)]).word == IMPROVED


def words(draw, times=400):
    rng = np.random.default_rng(3)
    return [audit(draw(rng)).word for _ in range(times)]


def test_two_equal_models_are_rarely_told_apart():
    """Held-out scores of both from one distribution in which a prompt's pictures resemble each other."""

    def drawn(rng):
        shift = rng.normal(size=(PROMPTS, 1)) * 0.5
        pairs = [rng.normal(size=(PROMPTS, GROUP)) for _ in range(2)]
        return [look(0, held_out=pairs[0]), look(5, held_out=pairs[1] + shift)]

    wrong = sum(word != UNCHANGED for word in words(drawn)) / 400
    assert wrong <= 0.075  # 5 % and two and a half standard errors


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_the_judge_tells_two_equal_models_apart_rarely(chance):
    def drawn(rng):
        return [look(at, accuracy=(rng.random((PROMPTS, GROUP)) < chance).astype(float)) for at in (0, 5)]

    assert sum(word != UNCHANGED for word in words(drawn)) / 400 <= 0.075


@pytest.mark.parametrize("looks", [3, 12])
def test_a_standstill_is_rarely_called_past_its_best_however_many_looks_there_are(looks):
    """The best of many looks is better than the last by chance; both witnesses together may be wrong in a twentieth."""
    rng = np.random.default_rng(looks)
    wrong = 0
    for _ in range(400):
        seen = [look(10 * at, reward=1.0, held_out=rng.normal(size=(PROMPTS, GROUP))) for at in range(looks)]
        wrong += any("past its best" in said for said in audit(seen).remarks)
    assert wrong / 400 < 0.06


def test_a_rise_that_is_there_is_mostly_found():
    def drawn(rng):
        return [look(at, held_out=rng.normal(size=(PROMPTS, GROUP)) + at) for at in (0, 1)]

    assert words(drawn).count(IMPROVED) / 400 > 0.6
