"""How far gradients reach: what a setting says, what is drawn for an image, and which network calls it comes to."""

from collections import Counter

import pytest
import torch
from methods.toy_denoiser import PLACES, PROMPTS, ToyDenoising, toy_training
from toys import Colour

from plaudit.core.errors import BadConfig
from plaudit.methods.r0 import R0Config
from plaudit.methods.truncation import Truncation, read_truncation

KEYS = [(0, "image", 0, row) for row in range(2000)]
STEPS = 4


@pytest.mark.parametrize(
    ("text", "kind", "count"),
    [
        ("one", "one", 1),
        ("all", "all", 1),
        ("tail", "tail", 1),
        ("last:1", "last", 1),
        ("last:12", "last", 12),
        ("noised:2", "noised", 2),
        ("late:3", "late", 3),
    ],
)
def test_every_way_can_be_named(text, kind, count):
    assert read_truncation(text) == Truncation(kind=kind, count=count)
    assert read_truncation(text).noisings == (count if kind == "noised" else 1)


@pytest.mark.parametrize("text", ["", "first", "One", " one", "one ", "last ", ":", ":3", "every:2"])
def test_another_name_is_refused_with_the_known_ones(text):
    with pytest.raises(BadConfig, match=r"a truncation is one, all, tail, last:N, noised:N or late:N, got '"):
        read_truncation(text)


@pytest.mark.parametrize("number", ["", ":", ":0", ":-1", ":1.5", ":x", ":1:2", ": 2"])
@pytest.mark.parametrize("kind", ["last", "noised", "late"])
def test_a_counted_way_needs_a_number(kind, number):
    with pytest.raises(BadConfig, match=rf"the truncation {kind} needs a number of at least 1, as in {kind}:1, got"):
        read_truncation(kind + number)


@pytest.mark.parametrize("text", ["one:", "one:2", "all:4", "tail:1"])
def test_a_way_without_a_number_takes_none(text):
    with pytest.raises(BadConfig, match="takes no number, got"):
        read_truncation(text)


def reach(text, steps=STEPS, keys=KEYS):
    first, judged = read_truncation(text).reach(steps, keys)
    assert first.shape == judged.shape == (len(keys),)
    assert first.dtype == judged.dtype == torch.int64
    return first.tolist(), judged.tolist()


@pytest.mark.parametrize(
    ("text", "first"), [("all", 0), ("last:1", 3), ("last:3", 1), ("last:4", 0), ("last:9", 0), ("noised:7", 3)]
)
def test_what_is_not_random_is_the_same_for_every_image(text, first):
    assert reach(text) == ([first] * len(KEYS), [STEPS - 1] * len(KEYS))


@pytest.mark.parametrize(
    ("text", "possible"), [("one", 4), ("tail", 4), ("late:1", 1), ("late:3", 3), ("late:4", 4), ("late:9", 4)]
)
def test_what_is_random_is_as_likely_for_every_step(text, possible):
    first, judged = reach(text)
    found = Counter(first)
    assert set(found) == set(range(STEPS - possible, STEPS))
    share = 1 / possible
    for count in found.values():
        # Four standard deviations of a share of 2000.
        assert count / len(KEYS) == pytest.approx(share, abs=4 * (share * (1 - share) / len(KEYS)) ** 0.5 + 1e-9)
    assert judged == ([STEPS - 1] * len(KEYS) if text == "tail" else first)


@pytest.mark.parametrize("text", ["one", "tail", "late:2"])
def test_what_an_image_draws_does_not_depend_on_its_batch(text):
    together, _ = reach(text)
    assert reach(text, keys=KEYS[::-1])[0][::-1] == together
    assert [reach(text, keys=[key])[0][0] for key in KEYS[:50]] == together[:50]
    other, _ = reach(text, keys=[(1, *key[1:]) for key in KEYS])
    assert other != together


@pytest.mark.parametrize("text", ["one", "all", "tail", "last:2", "noised:2", "late:2"])
def test_in_one_step_there_is_one_to_choose(text):
    assert reach(text, steps=1) == ([0] * len(KEYS), [0] * len(KEYS))


# Which calls of the network that comes to.


def drawn(truncation, rows, *, steps=STEPS, eta=1.0, recompute=False):
    """The calls that drawing so many images makes, and each level's gradient of what is judged, by step."""
    denoising = ToyDenoising()
    config = R0Config(truncation=truncation, steps=(steps,), eta=eta, recompute=recompute)
    one = toy_training(config, Colour(), denoising=denoising)
    denoising.calls.clear()
    condition = denoising.encode([PROMPTS[row % 4] for row in range(rows)])
    latents, whose = one.draw(KEYS[:rows], condition, steps)
    calls = list(denoising.calls)
    slopes = torch.autograd.grad(latents.square().sum(), denoising.weight)[0].norm(dim=1)
    by_step = [float(slopes[PLACES - PLACES // steps * step]) for step in range(steps)]
    return latents, whose.tolist(), calls, by_step


def with_gradient(calls):
    """How many rows met the network at each step, with gradients on; and without."""
    found = {True: Counter(), False: Counter()}
    for on, levels in calls:
        found[on].update(STEPS - STEPS * level // PLACES for level in levels)
    return dict(found[True]), dict(found[False])


def test_r0_differentiates_every_call():
    latents, whose, calls, slopes = drawn("all", 5)
    assert with_gradient(calls) == ({0: 5, 1: 5, 2: 5, 3: 5}, {})
    assert min(slopes) > 0
    assert latents.shape == (5, 3, 2, 2)
    assert whose == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("row", range(8))
def test_r0_plus_differentiates_one_call_and_judges_what_that_step_sees(row):
    key = KEYS[row : row + 1]
    chosen = read_truncation("one").reach(STEPS, key)[0].item()
    denoising = ToyDenoising()
    one = toy_training(R0Config(truncation="one"), Colour(), denoising=denoising)
    latents, _ = one.draw(key, denoising.encode(["a"]), STEPS)
    assert with_gradient(denoising.calls) == ({chosen: 1}, dict.fromkeys(range(chosen), 1))
    slopes = torch.autograd.grad(latents.sum(), denoising.weight)[0].abs().sum(dim=1)
    levels = slopes.nonzero().flatten().tolist()
    # Before the chosen step, and after it, exactly nothing.
    assert levels == [PLACES - 3 * chosen]


def test_the_chosen_steps_are_not_all_the_same():
    assert set(reach("one", keys=KEYS[:8])[0]) == {0, 1, 2, 3}


def test_r0_plus_of_a_batch_differentiates_one_call_for_each_image():
    _, whose, calls, slopes = drawn("one", 40)
    on, off = with_gradient(calls)
    chosen = Counter(reach("one", keys=KEYS[:40])[0])
    assert on == dict(chosen)
    assert off == {step: sum(count for later, count in chosen.items() if later > step) for step in range(3)}
    assert min(slopes) > 0
    assert whose == list(range(40))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_the_last_few_calls_are_differentiated_and_no_others(count):
    _, _, calls, slopes = drawn(f"last:{count}", 3)
    begin = max(0, STEPS - count)
    assert with_gradient(calls) == (dict.fromkeys(range(begin, STEPS), 3), dict.fromkeys(range(begin), 3))
    assert [slope > 0 for slope in slopes] == [step >= begin for step in range(STEPS)]


@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_noised_again_meets_the_last_step_only(count):
    latents, whose, calls, slopes = drawn(f"noised:{count}", 2)
    on, off = with_gradient(calls)
    # The finished picture takes all four steps; then the last sees it again with new noise.
    assert off == {0: 2, 1: 2, 2: 2, 3: 2}
    assert on == {3: 2 * count}
    assert whose == [row for row in range(2) for _ in range(count)]
    assert [slope > 0 for slope in slopes] == [False, False, False, True]
    assert len(set(latents.detach().sum(dim=(1, 2, 3)).tolist())) == 2 * count


def test_a_tail_starts_at_each_images_own_step_and_reaches_the_end():
    latents, _, calls, _ = drawn("tail", 30)
    on, off = with_gradient(calls)
    first = reach("tail", keys=KEYS[:30])[0]
    assert on == {step: sum(begin <= step for begin in first) for step in range(STEPS)}
    assert off == {step: sum(begin > step for begin in first) for step in range(3)}
    finished, *_ = drawn("all", 30)
    torch.testing.assert_close(latents, finished)


@pytest.mark.parametrize("row", range(6))
def test_in_a_tail_nothing_before_its_first_step_has_a_gradient(row):
    denoising = ToyDenoising()
    one = toy_training(R0Config(truncation="tail"), Colour(), denoising=denoising)
    latents, _ = one.draw([KEYS[row]], denoising.encode(["a"]), STEPS)
    first = reach("tail", keys=[KEYS[row]])[0][0]
    slopes = torch.autograd.grad(latents.square().sum(), denoising.weight)[0].abs().sum(dim=1)
    assert [float(slopes[PLACES - 3 * step]) > 0 for step in range(STEPS)] == [step >= first for step in range(STEPS)]


@pytest.mark.parametrize("truncation", ["all", "one", "tail", "last:2"])
def test_recomputing_changes_no_gradient(truncation):
    kept, again = (drawn(truncation, 6, recompute=flag) for flag in (False, True))
    torch.testing.assert_close(kept[0], again[0], rtol=0, atol=0)
    torch.testing.assert_close(torch.tensor(kept[3]), torch.tensor(again[3]), rtol=1e-6, atol=0)
