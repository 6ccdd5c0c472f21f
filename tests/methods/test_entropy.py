"""The entropy controller: which way it pushes, how far, and that it reaches its target."""

import math

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.methods.entropy import EntropyController, WalkingController


def test_too_much_entropy_costs_and_too_little_is_rewarded():
    high, low = (EntropyController(target=2.0, rate=0.01, limit=1.0) for _ in range(2))
    assert high.coefficient == 0.0
    high.see(3.0)
    low.see(1.0)
    assert high.coefficient == pytest.approx(math.sinh(0.01 + 0.1))
    assert low.coefficient == pytest.approx(-high.coefficient)


def test_it_stays_within_its_limit_and_turns_at_once():
    controller = EntropyController(target=2.0, rate=0.01, limit=0.05, at_once=0.0)
    for _ in range(100):
        controller.see(5.0)
    assert controller.coefficient == pytest.approx(0.05)
    controller.see(1.0)
    assert controller.coefficient < 0.05, "what piled up beyond the limit would have to melt first"


def test_the_published_rule_is_adam_on_sinh():
    psi = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([psi], lr=0.01)
    controller = WalkingController(target=2.0, rate=0.01, limit=1.0)
    for entropy in (3.0, 2.5, 1.9, 4.0, 0.5, 0.1, 2.0):
        adam.zero_grad()
        (-torch.sinh(psi) * (entropy - 2.0)).backward()
        adam.step()
        controller.see(entropy)
        assert controller.coefficient == pytest.approx(float(torch.sinh(psi.detach())), rel=1e-9)
    assert controller.coefficient > 0, "there was too much more often"


def test_the_published_rule_stops_at_its_limit_and_needs_a_hundred_steps_to_it():
    controller = WalkingController(target=2.0)
    for step in range(150):
        assert (controller.coefficient < 5e-3) == (step < 100)
        controller.see(9.0)
    assert controller.coefficient == pytest.approx(5e-3)


CONTROLLERS = {
    "ours": lambda: EntropyController(target=1.2, rate=0.3, limit=5.0, at_once=3.0),
    "as published": lambda: WalkingController(target=1.2, rate=0.001, limit=5.0),
}


@pytest.mark.parametrize(
    ("made", "steps", "within"),
    # The published rule only sums up errors, and so swings about its target.
    [(CONTROLLERS["ours"], 1500, 0.02), (CONTROLLERS["as published"], 3000, 0.05)],
    ids=CONTROLLERS,
)
def test_it_brings_a_policy_to_its_target_and_holds_it_there(made, steps, within):
    logits = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.5], requires_grad=True)
    controller = made()
    optimiser = torch.optim.SGD([logits], lr=0.05)
    found = []
    for _ in range(steps):
        log_probs = logits.log_softmax(dim=0)
        entropy = -(log_probs.exp() * log_probs).sum()
        # A reward for the first token, which alone would end in no entropy at all.
        loss = -log_probs.exp()[0] + controller.coefficient * entropy
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        controller.see(float(entropy.detach()))
        found.append(float(entropy.detach()))
    assert found[0] > 2.0
    assert all(abs(value - 1.2) < within for value in found[-200:])


@pytest.mark.parametrize("made", CONTROLLERS.values(), ids=CONTROLLERS)
def test_stopping_and_resuming_changes_nothing(made):
    whole, half, resumed = made(), made(), made()
    for value in (2.5, 1.0, 2.2):
        whole.see(value)
        half.see(value)
    resumed.load(half.state())
    for value in (1.7, 2.9):
        whole.see(value)
        resumed.see(value)
        assert resumed.coefficient == whole.coefficient


@pytest.mark.parametrize("kind", [EntropyController, WalkingController])
@pytest.mark.parametrize("wrong", [{"target": 0.0}, {"rate": -1.0}, {"limit": math.inf}])
def test_a_controller_that_cannot_be_is_refused(wrong, kind):
    with pytest.raises(BadConfig, match="entropy"):
        kind(**{"target": 2.0, "rate": 0.01, "limit": 1.0, **wrong})
