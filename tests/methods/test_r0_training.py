"""R0 in training: what holds it back, what interrupts it, and that it learns."""

from dataclasses import replace

import pytest
import torch
from methods.toy_denoiser import SMALL, Brightness, ToyDenoising, rewards, toy_training, weights_of
from toys import Colour, Texture

from plaudit.methods.denoising_walk import draw_few_steps
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import Normalised


def far(**settings):
    """A training with a reward alone, and how far its weights went."""
    config = replace(SMALL, updates=20, guidance_weight=0.0, **settings)
    denoising = ToyDenoising()
    with torch.no_grad():
        denoising.weight.fill_(0.3)
    one = toy_training(config, Brightness(), denoising=denoising)
    drifts = [update.drift for update in one.updates()]
    return weights_of(one), drifts


def test_a_pull_of_all_that_has_moved_freezes_the_weights():
    weights, drifts = far(pull=1 / 0.02)
    assert torch.equal(weights, torch.full((13, 12), 0.3))
    assert drifts == [0.0] * 20


def test_a_stronger_pull_keeps_nearer():
    free, weak, strong = (far(pull=pull)[1][-1] for pull in (0.0, 5.0, 25.0))
    assert strong < 0.8 * weak
    assert weak < 0.8 * free


def test_the_drift_stays_within_its_limit():
    free, _ = far(pull=0.0)
    weights, drifts = far(pull=0.0, drift_limit=0.05)
    assert drifts[-1] == 0.05
    assert max(drifts) <= 0.05
    start = torch.full((13, 12), 0.3)
    assert ((weights - start).norm() / start.norm()).item() == pytest.approx(0.05, rel=1e-4)
    assert (free - start).norm() / start.norm() > 0.2


def test_the_average_is_of_the_weights_as_they_are_held():
    one = toy_training(replace(SMALL, ema=0.9, pull=25.0), Brightness())
    next(one.updates())
    # The first update of an average keeps 2/11 of the start, which is 0.
    torch.testing.assert_close(one.learner.average[0], 9 / 11 * weights_of(one))
    assert weights_of(one).abs().max() > 0


CHANGES = {
    "plain": {},
    "pcgrad, average, several counts": {"conflicts": "pcgrad", "ema": 0.9, "steps": (1, 2, 4), "warmup": 2},
    "tail, pull, decay": {"truncation": "tail", "pull": 10.0, "decay": "cosine", "detail_weight": 1.0},
}


@pytest.mark.parametrize("change", CHANGES)
def test_going_on_from_a_state_equals_never_having_stopped(change):
    config = replace(SMALL, updates=6, **CHANGES[change])

    def start():
        normal = {"colour": (1.0, Normalised(Colour())), "texture": (1.0, Texture())}
        return toy_training(config, WeightedSum(normal))

    whole = start()
    expected = [update.metrics() for update in whole.updates()]
    first = start()
    for update in first.updates():
        if update.index == 2:
            break
    state = first.state()
    second = start()
    second.load(state)
    assert second.drift == first.drift
    found = [update.metrics() for update in second.updates()]
    for one, other in zip(found, expected[3:], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert torch.equal(weights_of(whole), weights_of(second))
    assert whole.state().keys() == second.state().keys()
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_a_state_is_not_changed_by_going_on():
    one = toy_training(SMALL, rewards())
    next(one.updates())
    state = one.state()
    kept = {name: value.clone() for name, value in state.items()}
    list(one.updates())
    assert all(torch.equal(kept[name], value) for name, value in state.items())
    assert not torch.equal(kept["weight.0"], one.state()["weight.0"])


# It learns.


def mean_brightness(denoising, *, steps):
    keys = [("test", row) for row in range(64)]
    images = draw_few_steps(denoising, keys, denoising.encode(["a", "dddd"] * 32), grid=denoising.grid(steps))
    return images.mean().item()


@pytest.mark.parametrize("truncation", ["one", "all", "tail", "last:2", "noised:2", "late:2"])
def test_it_learns_to_draw_what_is_rewarded(truncation):
    config = replace(
        SMALL,
        updates=40,
        images_per_update=8,
        lr=0.05,
        truncation=truncation,
        guidance_weight=0.0,
        batch_size=16,
        steps=(2, 4),
    )
    one = toy_training(config, Brightness())
    before = {steps: mean_brightness(one.denoising, steps=steps) for steps in (2, 4)}
    updates = list(one.updates())
    assert updates[-1].reward > updates[0].reward + 0.05
    for steps in (2, 4):
        assert before[steps] < 0.65
        # The toy's latents lie between -1 and 1: its brightest picture is sigmoid(1.3) = 0.79.
        assert mean_brightness(one.denoising, steps=steps) > before[steps] + 0.08
