import math

import numpy as np
import pytest

from plaudit.core.errors import BadConfig
from plaudit.suites.statistics import bootstrap_mean, paired_difference, share, win_share


def test_a_bootstrap_interval_is_the_normal_one_for_many_prompts():
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 2.0, size=2000)
    found = bootstrap_mean(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.006)
    assert found.high == pytest.approx(values.mean() + half, abs=0.006)
    assert found.prompts == 2000


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    samples = rng.normal(size=(600, 20))
    covered = [e.low <= 0 <= e.high for e in (bootstrap_mean(s, draws=1000, seed=i) for i, s in enumerate(samples))]
    # 0.95 would vary by 0.009 from one set of 600 to the next; percentile intervals of 20 are a little narrow.
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("prompts", [3, 5, 8])
def test_few_prompts_have_wide_intervals_and_not_wrong_ones(prompts):
    """The spread is a guess from few, and Student's t is how much wider that makes an interval."""
    samples = np.random.default_rng(20).normal(size=(600, prompts))
    covered = [e.low <= 0 <= e.high for e in (bootstrap_mean(s, draws=1000, seed=i) for i, s in enumerate(samples))]
    assert 0.925 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("prompts", [4, 8])
def test_intervals_of_a_mean_of_categories_cover_the_truth_as_often_as_they_say(prompts):
    """Right or wrong in six categories, two images a prompt, as a small evaluation has them; alone, and as a pair."""
    rng = np.random.default_rng(21)
    share_of = np.repeat([0.95, 0.7, 0.5, 0.3, 0.6, 0.2], prompts)
    strata = [str(number // prompts) for number in range(len(share_of))]
    alone = paired = 0
    for number in range(300):
        chances = rng.beta(3 * share_of, 3 * (1 - share_of))[:, None]
        one, two = (rng.random((len(share_of), 2)) < chances for _ in range(2))
        found = bootstrap_mean(one, strata=strata, within=(0, 1), draws=1000, seed=number)
        alone += found.low <= share_of[::prompts].mean() <= found.high
        change = bootstrap_mean(one.astype(float) - two, strata=strata, within=(-1, 1), draws=1000, seed=number)
        paired += change.low <= 0 <= change.high
    assert 0.92 <= alone / 300 <= 0.985
    assert 0.92 <= paired / 300 <= 0.985


@pytest.mark.parametrize(
    ("shares", "prompts"),
    [((0.97,), 20), ((0.03,), 20), ((0.98,) * 6, 4), ((0.99,) * 6, 10), ((1.0, 1.0, 0.99, 0.97, 0.9, 0.7), 24)],
    ids=str,
)
def test_intervals_cover_the_truth_where_nearly_all_is_right_or_wrong(shares, prompts):
    """Where every outcome of a category is the same a bootstrap alone would be sure, and wrong half of the time."""
    rng = np.random.default_rng(22)
    share_of = np.repeat(shares, prompts)
    strata = [str(number // prompts) for number in range(len(share_of))]
    covered = 0
    for number in range(300):
        right = (rng.random(len(share_of)) < share_of).astype(float)
        found = bootstrap_mean(right, strata=strata, within=(0, 1), draws=500, seed=number)
        covered += found.low <= np.mean(shares) <= found.high
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert covered / 300 >= 0.94


def test_all_right_is_as_sure_as_wilson_is():
    """20 of 20: Wilson's interval begins at 20 / (20 + 1.96²); strata that are all right count as one of them all."""
    for strata in (None, [str(number % 4) for number in range(20)]):
        found = bootstrap_mean(np.ones(20), strata=strata, within=(0, 1))
        assert (found.low, found.high) == (pytest.approx(20 / (20 + 1.96**2), abs=1e-5), 1.0)
    none = bootstrap_mean(np.zeros(20), within=(0, 1))
    assert (none.low, none.high) == (0.0, pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-5))
    # Two of three strata, the smaller of 5 prompts: ten together, a third of whose uncertainty is not theirs.
    values, strata = np.r_[np.ones(13), [0, 1, 0, 1]], ["a"] * 5 + ["b"] * 8 + ["c"] * 4
    mixed, alone = (bootstrap_mean(values, strata=strata, within=within) for within in ((0, 1), (-9, 9)))
    added = 2 / 3 * 1.96**2 / (10 + 1.96**2)
    assert mixed.value - mixed.low == pytest.approx(math.hypot(alone.value - alone.low, added), abs=1e-5)
    assert mixed.high == min(1.0, alone.high)


def test_what_has_no_bounds_or_is_in_the_middle_of_them_shows_no_more_than_its_spread():
    for within in (None, (-1, 1)):
        found = bootstrap_mean(np.zeros(20), within=within)
        assert (found.low, found.high, found.known) == (0.0, 0.0, True)


def test_the_interval_is_widened_for_the_prompts_that_resampling_forgets():
    rng = np.random.default_rng(3)
    values = rng.normal(size=8)
    found = bootstrap_mean(values, draws=100_000)
    drawn = rng.choice(values, size=(100_000, 8)).mean(axis=1)
    plain = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    # And by Student's t for 7 degrees of freedom, 2.365, over the normal distribution's 1.960.
    assert (found.high - found.low) / plain == pytest.approx(math.sqrt(8 / 7) * 2.365 / 1.960, rel=0.02)


def test_strata_of_equal_spread_add_up_their_degrees_of_freedom():
    """Four strata of three prompts, each spread alike: 8 degrees of freedom, Student's 2.306 (Satterthwaite 1946)."""
    values = np.array([0.0, 1.0, math.pi])
    found = bootstrap_mean(np.tile(values, 4), strata=[str(number // 3) for number in range(12)], draws=100_000)
    drawn = np.random.default_rng(8).choice(values, size=(100_000, 4, 3)).mean(axis=(1, 2))
    plain = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    assert (found.high - found.low) / plain == pytest.approx(math.sqrt(3 / 2) * 2.306 / 1.960, rel=0.02)


def test_prompts_that_are_alone_show_no_spread():
    assert not bootstrap_mean([0.5]).known
    assert not bootstrap_mean([0.0, 1.0], strata=["a", "b"]).known
    assert bootstrap_mean([0.0, 1.0, 1.0], strata=["a", "b", "b"]).known


def test_images_of_one_prompt_are_averaged_and_not_counted():
    values = np.random.default_rng(4).normal(size=(30, 1))
    once, often = bootstrap_mean(values), bootstrap_mean(np.repeat(values, 50, axis=1))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.prompts == 30


def test_strata_count_alike_however_many_prompts_they_have():
    values = [1.0] * 9 + [0.0]
    assert bootstrap_mean(values).value == pytest.approx(0.9)
    assert bootstrap_mean(values, strata=["a"] * 9 + ["b"]).value == pytest.approx(0.5)


def test_prompts_are_resampled_within_their_stratum():
    """Two constant strata: a draw that mixed them would vary."""
    found = bootstrap_mean([0.0] * 5 + [1.0] * 5, strata=["a"] * 5 + ["b"] * 5)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_an_interval_stays_within_what_can_be():
    found = bootstrap_mean([0.0, 1.0], within=(0.0, 1.0), draws=2000)
    assert (found.low, found.high) == (0.0, 1.0)
    assert bootstrap_mean([0.0, 1.0], draws=2000).high > 1


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    values = np.random.default_rng(5).normal(size=25)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_pairing_removes_what_prompts_have_in_common():
    rng = np.random.default_rng(6)
    hardness = rng.normal(0, 10, size=(40, 1))
    before = hardness + rng.normal(0, 0.1, size=(40, 3))
    after = before + 1 + rng.normal(0, 0.1, size=(40, 3))
    found = paired_difference(after, before)
    assert found.value == pytest.approx(1, abs=0.05)
    assert found.high - found.low < 0.1 < bootstrap_mean(after).high - bootstrap_mean(after).low


def test_a_loss_is_a_negative_difference():
    assert paired_difference([1.0, 2.0], [2.0, 3.0]).high == -1.0


def test_wilsons_interval_by_hand():
    """8 of 10: centre (0.8 + z^2/20) / (1 + z^2/10), Wilson 1927."""
    found = share([1.0] * 8 + [0.0] * 2)
    assert (found.low, found.value, found.high) == pytest.approx((0.4902, 0.8, 0.9433), abs=1e-4)


def test_all_hits_do_not_make_certainty():
    """20 of 20: the lower end is 1 / (1 + z^2 / 20)."""
    found = share([1.0] * 20)
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-6)


def test_seeds_that_always_agree_add_nothing_and_independent_ones_count():
    rng = np.random.default_rng(7)
    prompts = (rng.random(100) < 0.7).astype(float)
    alone, copied = share(prompts), share(np.repeat(prompts[:, None], 4, axis=1))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    independent = share((rng.random((100, 4)) < 0.7).astype(float))
    assert independent.high - independent.low < 0.7 * (alone.high - alone.low)


def test_prompts_may_have_different_numbers_of_images():
    assert share([[1.0, 1.0, 0.0, 0.0], [1.0]]).value == pytest.approx(0.75)


def test_a_tie_is_no_win():
    assert win_share([2.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]).value == 0.5


@pytest.mark.parametrize("measure", [bootstrap_mean, share])
def test_nothing_has_no_mean(measure):
    with pytest.raises(BadConfig, match="no prompt"):
        measure([])


@pytest.mark.parametrize("measure", [paired_difference, win_share])
def test_pairs_must_be_pairs(measure):
    with pytest.raises(BadConfig, match="shapes"):
        measure([1.0, 2.0], [1.0])
