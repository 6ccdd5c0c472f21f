"""Gradients become weights: rate, clip, average, and a state that goes on as if nothing had happened."""

import math

import pytest
import torch
from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.learner import Learner, Learning


def settings(**over):
    return Learning(**{"updates": 10, "lr": 0.1, **over})


def learn(learner, update, gradient):
    """One update of one step along a gradient."""
    learner.begin(update)
    learner.clear()
    learner.parameters[0].grad = gradient.clone()
    norm = learner.step()
    learner.end(update)
    return norm


def a_learner(**over):
    return Learner([nn.Parameter(torch.tensor([1.0, -2.0]))], settings(**over))


def value(learner):
    return learner.parameters[0].detach().clone()


@pytest.mark.parametrize(
    ("over", "rates"),
    [
        ({}, [0.1] * 5),
        ({"warmup": 4}, [0.02, 0.04, 0.06, 0.08, 0.1]),
        ({"decay": "linear"}, [0.1, 0.09, 0.08, 0.07, 0.06]),
        ({"decay": "linear", "decay_to": 0.5}, [0.1, 0.095, 0.09, 0.085, 0.08]),
        ({"decay": "linear", "warmup": 2}, [0.1 / 3, 0.2 / 3, 0.1, 0.0875, 0.075]),
        ({"decay": "cosine"}, [0.05 * (1 + math.cos(math.pi * k / 10)) for k in range(5)]),
    ],
)
def test_the_rate_by_hand(over, rates):
    assert [settings(**over).rate(update) for update in range(5)] == pytest.approx(rates)


def test_the_rate_ends_where_it_is_to_end_and_stays_there():
    for decay in ("linear", "cosine"):
        assert settings(decay=decay, decay_to=0.25).rate(10) == pytest.approx(0.025)
        assert settings(decay=decay, decay_to=0.25).rate(15) == pytest.approx(0.025)
    # The published schedule: linear towards 0 over three times the updates there are.
    assert settings(decay="linear", decay_to=2 / 3).rate(9) == pytest.approx(0.1 * (1 - 9 / 30))


def test_a_smaller_rate_moves_less():
    """Adam's first step is as long as the rate."""
    for update, rate in ((0, 0.02), (4, 0.1)):
        learner = a_learner(warmup=4)
        learn(learner, update, torch.tensor([3.0, -1.0]))
        assert value(learner).tolist() == pytest.approx([1.0 - rate, -2.0 + rate], rel=1e-5)


def test_a_step_is_adams_along_the_shortened_gradient():
    learner, theirs = a_learner(grad_clip=1.0, weight_decay=0.1), nn.Parameter(torch.tensor([1.0, -2.0]))
    adam = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.1)
    for gradient in (torch.tensor([3.0, 4.0]), torch.tensor([0.1, 0.0]), torch.tensor([-30.0, 40.0])):
        assert learn(learner, 5, gradient) == pytest.approx(float(gradient.norm()))
        theirs.grad = gradient / max(1.0, float(gradient.norm()))
        adam.step()
    torch.testing.assert_close(value(learner), theirs.detach(), rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_finite_moves_nothing():
    learner = a_learner()
    assert math.isnan(learn(learner, 0, torch.tensor([math.nan, 1.0])))
    assert value(learner).tolist() == [1.0, -2.0]
    assert learn(learner, 1, torch.tensor([1.0, 1.0])) > 0
    assert value(learner).tolist() != [1.0, -2.0]


def test_a_skipped_step_is_told_once_and_by_the_first_of_several(caplog):
    nothing = torch.tensor([math.inf, 1.0])
    learner, second = a_learner(), Learner([nn.Parameter(torch.zeros(2))], settings(), team=Team(rank=1, size=1))
    learn(learner, 0, torch.tensor([1.0, 1.0]))
    learn(second, 0, nothing)
    assert not caplog.records
    learn(learner, 1, nothing)
    learn(learner, 2, nothing)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a gradient is not finite" in caplog.text


def test_the_average_by_hand():
    learner = a_learner(ema=0.25)
    seen = [value(learner)]
    for update in range(3):
        learn(learner, update, torch.tensor([1.0, 1.0]))
        seen.append(value(learner))
    # It keeps 2/11, then 3/12; from the third on no more than 0.25.
    first = 2 / 11 * seen[0] + 9 / 11 * seen[1]
    second = 0.25 * first + 0.75 * seen[2]
    torch.testing.assert_close(learner.average[0], 0.25 * second + 0.75 * seen[3])


def test_the_average_is_there_while_asked_for_and_the_weights_come_back():
    learner = a_learner(ema=0.9)
    learn(learner, 0, torch.tensor([1.0, 1.0]))
    weights = value(learner)
    with learner.averaged():
        assert torch.equal(value(learner), learner.average[0])
        assert not torch.equal(value(learner), weights)
    assert torch.equal(value(learner), weights)
    with pytest.raises(ZeroDivisionError), learner.averaged():
        raise ZeroDivisionError
    assert torch.equal(value(learner), weights)
    without = a_learner()
    with without.averaged():
        assert value(without).tolist() == [1.0, -2.0]


def test_going_on_from_a_state_equals_never_having_stopped():
    gradients = [torch.tensor([1.0, 2.0]) * k for k in (1, -3, 2, 0.5)]
    whole, first, second = (a_learner(ema=0.9, warmup=2, decay="cosine") for _ in range(3))
    for update, gradient in enumerate(gradients):
        learn(whole, update, gradient)
    for update in range(2):
        learn(first, update, gradients[update])
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    for update in range(2, 4):
        learn(second, update, gradients[update])
    assert whole.state().keys() == second.state().keys()
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in whole.state().items())


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"lr": 0.0}, "lr must be a positive number, got 0.0"),
        ({"grad_clip": math.inf}, "grad_clip must be a positive number, got inf"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"warmup": -1}, "warmup must be at least 0 updates, got -1"),
        ({"decay": "square"}, "decay is constant, linear or cosine, got 'square'"),
        ({"decay_to": 1.5}, "decay_to is a share of lr between 0 and 1, got 1.5"),
        ({"ema": 1.0}, "ema must be at least 0 .* and below 1, got 1.0"),
    ],
)
def test_bad_settings_are_one_sentence(over, says):
    with pytest.raises(BadConfig, match=says):
        settings(**over)
