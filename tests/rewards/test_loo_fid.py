"""LOO-FID as a reward: what it prefers, what it remembers, what it refuses."""

from dataclasses import replace

import pytest
import torch
from rewards.class_clouds import Numbers, as_images, clouds, correlation, set_of, within_groups
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.feature_statistics import features_of, read_features
from plaudit.rewards.loo_fid import LeaveOneOutFID, LooFidSettings, centred
from plaudit.rewards.reward import DistributionReward, Reward

DATA = clouds(8)
SMALL = LooFidSettings(decay=0.5, shrinkage=0.0, ridge=0.0)
WAYS = {
    "potential": SMALL,
    "second-order": replace(SMALL, form="second-order"),
    "exact": replace(SMALL, form="exact"),
    "diagonal": replace(SMALL, covariance="diagonal"),
    "diagonal exact": replace(SMALL, covariance="diagonal", form="exact"),
    "window": replace(SMALL, window=400),
    "components": replace(SMALL, components=4),
    "exact components": replace(SMALL, components=4, form="exact", shrinkage=0.1),
    "refresh": replace(SMALL, refresh=3, components=5, shrinkage=0.1),
}


def reward_of(settings: LooFidSettings, *, started: bool = True) -> LeaveOneOutFID:
    start = set_of(DATA.before) if started else None
    return LeaveOneOutFID(Numbers(8), set_of(DATA.real), start=start, settings=settings)


def score(reward: LeaveOneOutFID, features: Tensor) -> Tensor:
    return reward(as_images(features), [""] * len(features))


def batches(count: int, size: int = 30) -> list[Tensor]:
    return list(DATA.before[: count * size].float().split(size))


def each_way(test):
    return pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)(test)


@each_way
def test_scores_are_one_finite_number_a_picture_around_zero(settings) -> None:
    reward = reward_of(settings)
    scores = score(reward, DATA.batch)
    assert scores.shape == (144,)
    assert scores.dtype == torch.float32
    assert bool(scores.isfinite().all())
    assert float(scores.std()) > 0.01
    assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
    assert isinstance(reward, DistributionReward)
    assert not isinstance(reward, Reward)


@each_way
def test_order_changes_nothing(settings) -> None:
    order = torch.randperm(144, generator=torch.Generator().manual_seed(0))
    first, second = reward_of(settings), reward_of(settings)
    scores = score(first, DATA.batch)
    assert torch.allclose(score(second, DATA.batch[order]), scores[order], atol=1e-5)
    assert torch.allclose(score(second, DATA.before[:50]), score(first, DATA.before[:50]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "started"),
    [*((settings, True) for settings in WAYS.values()), (replace(SMALL, decay=0.9), False)],
    ids=[*WAYS, "no start"],
)
def test_resuming_is_going_on_bit_for_bit(settings, started) -> None:
    whole, half = reward_of(settings, started=started), reward_of(settings, started=started)
    parts = batches(7)
    expected = [score(whole, part) for part in parts]
    for part in parts[:4]:
        score(half, part)
    resumed = reward_of(settings, started=False)
    resumed.load(half.state())
    for part, wanted in zip(parts[4:], expected[4:], strict=True):
        assert torch.equal(score(resumed, part), wanted)
    assert resumed.state().keys() == whole.state().keys()
    assert all(torch.equal(resumed.state()[name], tensor) for name, tensor in whole.state().items())


def test_what_was_not_loaded_would_have_been_missed() -> None:
    whole = reward_of(SMALL)
    for part in batches(4):
        expected = score(whole, part)
    assert not torch.allclose(score(reward_of(SMALL), batches(4)[-1]), expected, atol=1e-3)


def test_a_state_is_a_copy() -> None:
    reward = reward_of(replace(SMALL, window=100))
    score(reward, DATA.batch)
    state = reward.state()
    state["features"].zero_()
    assert float(reward.state()["features"].abs().sum()) > 0


def test_all_forms_agree_on_the_same_scale() -> None:
    settings = [replace(SMALL, form=form, decay=0.9) for form in ("potential", "second-order", "exact")]
    first, second, exact = (score(reward_of(it), DATA.batch).double() for it in settings)
    assert float(first @ exact / exact.square().sum()) == pytest.approx(1, abs=0.03)
    assert float(second @ exact / exact.square().sum()) == pytest.approx(1, abs=0.003)
    assert correlation(second, exact) > correlation(first, exact) > 0.99


def test_all_components_are_as_good_as_none() -> None:
    scores = [score(reward_of(replace(SMALL, components=count)), DATA.batch) for count in (None, 8, 3)]
    assert torch.allclose(scores[0], scores[1], atol=1e-4)
    assert not torch.allclose(scores[0], scores[2], atol=1e-2)


def test_a_little_shrinking_changes_little() -> None:
    exact = within_groups(score(reward_of(WAYS["exact"]), DATA.batch), DATA.classes)
    near, far = (
        correlation(within_groups(score(reward_of(replace(SMALL, shrinkage=share)), DATA.batch), DATA.classes), exact)
        for share in (0.05, 1.0)
    )
    assert near > 0.95
    assert far < near


@pytest.mark.parametrize("form", ["potential", "second-order", "exact"])
@pytest.mark.parametrize("window", [None, 500])
def test_a_duplicate_lowers_its_own_score(form, window) -> None:
    settings = replace(SMALL, form=form, window=window, clip=float("inf"))
    # A window lets go of an old picture for each new one, which is not what this is about.
    started = window is None
    once = score(reward_of(settings, started=started), DATA.batch)
    lowered = 0
    for index in range(0, 144, 6):
        duplicated = torch.cat([DATA.batch, DATA.batch[index : index + 1]])
        twice = score(reward_of(settings, started=started), duplicated)
        # FID is convex in the mixture, so that against the others, on average, it must fall.
        lowered += int(twice[index] - twice[:144].mean() < once[index] - once.mean())
    assert lowered == 24


@pytest.mark.parametrize("way", ["potential", "second-order", "exact", "window"])
def test_a_rare_real_kind_beats_a_copy_of_a_common_one(way) -> None:
    """Two real kinds of equal share, of which the model draws the second once in 24."""
    rng = torch.Generator().manual_seed(0)

    def kinds(first: int, second: int) -> Tensor:
        centres = torch.tensor([[-2.0, 0, 0, 0, 0, 0, 0, 0]] * first + [[2.0, 0, 0, 0, 0, 0, 0, 0]] * second)
        return centres + 0.5 * torch.randn(first + second, 8, generator=rng)

    start = set_of(kinds(2300, 100))
    reward = LeaveOneOutFID(Numbers(8), set_of(kinds(1200, 1200)), start=start, settings=WAYS[way])
    batch = kinds(46, 2)
    batch[1] = batch[0]
    scores = score(reward, batch)
    assert float(scores[46:].min()) > float(scores[:2].max())
    assert float(scores[46:].min()) > float(scores[:46].median())


def test_fading_moments_are_those_of_weighted_pictures() -> None:
    reward = reward_of(replace(SMALL, decay=0.7))
    weights, rows = [torch.full((5000,), 1 / 4999).double()], [DATA.before]
    for part in batches(3):
        score(reward, part)
        weights = [0.7 * it for it in weights] + [torch.full((30,), 0.3 / 30).double()]
        rows.append(part.double())
    weight, row = torch.cat(weights), torch.cat(rows)
    mean = (weight[:, None] * row).sum(0) / weight.sum()
    covariance = ((row - mean).T * weight) @ (row - mean)
    assert torch.allclose(reward.state()["mean"], mean, atol=1e-4)
    assert torch.allclose(reward.state()["covariance"], covariance, atol=2e-4)


def test_without_a_start_the_first_batch_is_all_there_is() -> None:
    reward = reward_of(replace(SMALL, decay=0.9), started=False)
    first, second = batches(2)
    score(reward, first)
    state = reward.state()
    assert torch.allclose(state["mean"], first.double().mean(0))
    assert torch.allclose(state["covariance"], torch.cov(first.double().T, correction=0))
    score(reward, second)
    # Weights 0.9 and 1, scaled to sum up to 1.
    expected = (0.9 * first.double().mean(0) + second.double().mean(0)) / 1.9
    assert torch.allclose(reward.state()["mean"], expected)


def test_a_start_of_few_batches_is_not_forgotten_at_once() -> None:
    reward = reward_of(replace(SMALL, decay=0.9))
    score(reward, batches(1)[0])
    expected = 0.9 * DATA.before.mean(0) + 0.1 * batches(1)[0].double().mean(0)
    assert torch.allclose(reward.state()["mean"], expected)


def test_a_window_keeps_the_last_whole_batches() -> None:
    reward = reward_of(replace(SMALL, window=100), started=False)
    parts = batches(5)
    for part in parts:
        score(reward, part)
    assert reward.state()["counts"].tolist() == [30, 30, 30]
    assert torch.equal(reward.state()["features"], torch.cat(parts[2:]))
    score(reward, DATA.batch)
    assert reward.state()["counts"].tolist() == [144]


def test_a_window_starts_full_and_lets_go_one_by_one() -> None:
    reward = reward_of(replace(SMALL, window=100))
    score(reward, batches(1)[0])
    expected = torch.cat([DATA.before[-70:].float(), batches(1)[0]])
    assert torch.equal(reward.state()["features"], expected)


def test_in_a_window_scores_are_those_of_leaving_out_of_all_that_is_remembered() -> None:
    reward = reward_of(replace(SMALL, window=200, form="exact"), started=False)
    alone = reward_of(replace(SMALL, decay=0.0, form="exact"), started=False)
    first, second = batches(2)
    score(reward, first)
    together = score(alone, torch.cat([first, second])).double()
    # Both clip at their own batch; the middle half is inside of both.
    middle = (second - second.mean(0)).square().sum(1).argsort()[:15]
    found = score(reward, second).double()[middle]
    assert torch.allclose(found - found.mean(), together[30:][middle] - together[30:][middle].mean(), atol=1e-4)


def test_a_transport_serves_as_many_batches_as_said() -> None:
    stale, fresh = reward_of(replace(SMALL, refresh=2)), reward_of(SMALL)
    same = [torch.equal(score(stale, part), score(fresh, part)) for part in batches(4)]
    assert same == [True, False, True, False]


def test_the_distance_falls_to_nothing_on_the_real_set() -> None:
    reward = reward_of(replace(SMALL, decay=0.0), started=False)
    with pytest.raises(BadConfig, match="score a batch first"):
        reward.distance()
    score(reward, DATA.before)
    far = reward.distance()
    score(reward, DATA.real)
    assert reward.distance() < 1e-3 < 0.1 < far


def test_shrinking_both_alike_leaves_equal_sets_equal() -> None:
    reward = reward_of(replace(SMALL, decay=0.0, shrinkage=0.5, ridge=0.1), started=False)
    score(reward, DATA.real)
    assert reward.distance() < 1e-3
    # Where the sets are the same, no picture is better than another but for rounding.
    assert float(score(reward, DATA.real).abs().max()) < 1e-2


def test_odd_pictures_are_pulled_in() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 1000.0, -1000.0]).double()
    # Median 2, median deviation 2: nothing beyond -8 and 12.
    pulled = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 12.0, -8.0]).double()
    assert torch.allclose(centred(scores, scores, clip=5.0), pulled - 2)
    assert torch.allclose(centred(scores[5:], scores, clip=5.0), torch.tensor([10.0, -10.0]).double())
    flat = torch.tensor([1.0, 1.0, 1.0, 5.0]).double()
    for clip in (5.0, float("inf")):
        assert centred(flat, flat, clip=clip).tolist() == [-1, -1, -1, 3]


@pytest.mark.parametrize("settings", [SMALL, WAYS["window"]], ids=["fading", "window"])
def test_features_that_are_not_finite_are_an_error_and_nothing_is_remembered(settings) -> None:
    reward = reward_of(settings)
    before, broken = reward.state(), DATA.batch.clone()
    broken[[3, 70], 2] = torch.nan
    with pytest.raises(BadConfig, match="no finite features in 2 of 144 pictures, the first of them number 3"):
        score(reward, broken)
    assert all(torch.equal(reward.state()[name], tensor) for name, tensor in before.items())
    with pytest.raises(BadConfig, match="at least 2 in all, got 1"):
        score(reward, DATA.batch[:1])


def test_pictures_are_shown_to_the_net_in_pieces() -> None:
    seen = []

    class Counting(Numbers):
        def __call__(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().__call__(images)

    reward = LeaveOneOutFID(Counting(8), set_of(DATA.real), settings=replace(SMALL, batch_size=100))
    assert torch.allclose(score(reward, DATA.batch), score(reward_of(SMALL, started=False), DATA.batch), atol=1e-6)
    assert seen == [100, 44]


def test_statistics_of_another_net_or_preprocessing_are_refused_in_one_sentence(tmp_path) -> None:
    features_of([as_images(DATA.real.float())], Numbers(8), images="real clouds").save(tmp_path / "real.safetensors")
    reference = read_features(tmp_path / "real.safetensors")
    assert LeaveOneOutFID(Numbers(8), reference).settings == LooFidSettings()
    with pytest.raises(BadConfig) as refused:
        LeaveOneOutFID(Numbers(8, "another"), reference)
    assert "real clouds" in str(refused.value)
    assert "make the reference anew" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadConfig, match="one net for both"):
        LeaveOneOutFID(Numbers(8), reference, start=set_of(DATA.before, "another"))


def test_a_state_of_another_net_or_of_other_settings_is_refused() -> None:
    state = reward_of(SMALL).state()
    other = LeaveOneOutFID(Numbers(8, "another"), set_of(DATA.real, "another"), settings=SMALL)
    with pytest.raises(BadConfig, match="another feature net"):
        other.load(state)
    with pytest.raises(BadConfig, match="no 'features'"):
        reward_of(WAYS["window"]).load(state)
    with pytest.raises(BadConfig, match="no 'weight'"):
        reward_of(SMALL).load(reward_of(WAYS["window"]).state())
    with pytest.raises(BadConfig, match="no 'basis'"):
        reward_of(WAYS["components"]).load(state)
    with pytest.raises(BadConfig, match="4 components, the settings say 5"):
        reward_of(replace(SMALL, components=5)).load(reward_of(WAYS["components"]).state())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"decay": 1.0}, "below 1, got 1.0"),
        ({"decay": -0.1}, "decay"),
        ({"shrinkage": 1.1}, "shrinkage"),
        ({"ridge": -1.0}, "ridge"),
        ({"window": 1}, "window must be at least 2"),
        ({"components": 0}, "components"),
        ({"refresh": 0}, "refresh"),
        ({"batch_size": 0}, "batch_size"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"covariance": "diagonal", "form": "second-order"}, "diagonal"),
        ({"covariance": "diagonal", "components": 3}, "diagonal"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, said) -> None:
    with pytest.raises(BadConfig, match=said):
        LooFidSettings(**wrong)


def test_more_components_than_there_are_dimensions_are_refused() -> None:
    with pytest.raises(BadConfig, match="8 dimensions, got components 9"):
        reward_of(replace(SMALL, components=9))
