"""The training loop: it learns, and stopping changes nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plaudit.pocket.build.loop import Draws, Plan, Trainee, draws_for, train

PLAN = Plan(steps=30, batch=8, lr=0.2, warmup=3, ema=0.9, decay=0.5)


def learner() -> nn.Linear:
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    return model


def run(model: nn.Module, state: Path, *, stop_at: int | None = None) -> list[float]:
    trainee = Trainee({"model": model}, PLAN)
    losses: list[float] = []

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        if stop_at is not None and trainee.step == stop_at:
            trainee.save(state)
            raise KeyboardInterrupt
        x = draws.normal(8, 3)
        loss = (model(x)[:, 0] - x @ torch.tensor([1.0, -2.0, 0.5])).square().mean()
        losses.append(float(loss.detach()))
        return loss, {}

    for _ in train("toy", trainee, loss_of, state, report_every=0):
        pass
    trainee.use_average()
    return losses


def test_it_learns(tmp_path: Path) -> None:
    losses = run(learner(), tmp_path / "state.safetensors")
    assert losses[-1] < 0.2 * losses[0]


def test_stopping_and_resuming_changes_nothing(tmp_path: Path) -> None:
    whole, half = learner(), learner()
    run(whole, tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(half, tmp_path / "half.safetensors", stop_at=17)
    resumed = learner()
    assert len(run(resumed, tmp_path / "half.safetensors")) == 13
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_the_rate_warms_up_stays_and_falls() -> None:
    rates = [PLAN.rate(step) for step in (0, 2, 10, 15, 22, 30)]
    assert rates[0] == pytest.approx(0.2 / 3)
    assert rates[1] == rates[2] == rates[3] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(0.2 * (0.02 + 0.98 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 7 / 15)))))
    assert rates[5] == pytest.approx(0.2 * 0.02)


def test_a_loss_that_is_not_a_number_moves_nothing() -> None:
    model = learner()
    trainee = Trainee({"model": model}, PLAN)
    trainee.update(model(torch.full((1, 3), torch.nan)).sum())
    assert torch.equal(model.weight, torch.zeros(1, 3))
    assert trainee.step == 1


def test_each_module_has_its_own_rate_and_clip() -> None:
    slow, fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    before = [float(slow.weight), float(fast.weight)]
    trainee = Trainee({"slow": slow, "fast": fast}, PLAN, faster={"fast": 3.0})
    trainee.update(1000 * slow.weight.sum() + fast.weight.sum())
    moved = [before[0] - float(slow.weight), before[1] - float(fast.weight)]
    # Adam's first step has the size of the rate, whatever the gradient; weight decay adds a hundredth of it.
    assert moved[0] == pytest.approx(PLAN.rate(0), rel=0.05)
    assert moved[1] == pytest.approx(3 * PLAN.rate(0), rel=0.05)


def test_a_step_draws_the_same_whenever_it_is_asked() -> None:
    first, again, other = draws_for("x", 4), draws_for("x", 4), draws_for("x", 5)
    noise = first.normal(5)
    assert torch.equal(noise, again.normal(5))
    assert not torch.equal(noise, other.normal(5))
    assert first.numpy.integers(1000) == again.numpy.integers(1000)


class Tiny(nn.Module):
    """An embedding, a layer between hidden states, a head."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding = nn.Embedding(5, 4)
            self.layers = nn.ModuleList([nn.Linear(4, 4)])
            self.output = nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.output(torch.tanh(self.layers[0](self.embedding(tokens))))
        return found


MUON = Plan(steps=20, batch=4, lr=0.05, warmup=1, weight_decay=0.0, muon=True)


def test_matrices_between_hidden_states_follow_muon_and_the_rest_adam() -> None:
    model = Tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainee = Trainee({"model": model}, MUON)
    trainee.update(nn.functional.cross_entropy(model(torch.arange(5)), torch.tensor([3, 1, 4, 0, 2])))
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    # Adam's first step has the size of the rate in every number; Muon's is a rotation, whose root mean square is a
    # fifth of the rate.
    for name in ("embedding.weight", "layers.0.bias", "output.weight", "output.bias"):
        assert torch.allclose(moved[name].abs(), torch.tensor(MUON.lr), rtol=0.01)
    stretched = torch.linalg.svdvals(moved["layers.0.weight"])
    assert float(stretched.min() / stretched.max()) > 0.6
    rate = MUON.lr * 0.2 * 4**0.5
    assert 0.6 * rate < float(stretched.mean()) < 1.3 * rate


def test_muons_moments_are_kept_over_a_stop(tmp_path: Path) -> None:
    def learn(model: Tiny, steps: int, state: Path) -> Trainee:
        trainee = Trainee({"model": model}, MUON)
        if state.exists():
            trainee.load(state)
        for _ in range(steps):
            tokens = torch.randint(5, (4,), generator=draws_for("tiny", trainee.step).torch)
            trainee.update(nn.functional.cross_entropy(model(tokens), (tokens * 2) % 5))
        trainee.save(state)
        return trainee

    whole, half = Tiny(), Tiny()
    learn(whole, 9, tmp_path / "whole.safetensors")
    learn(half, 4, tmp_path / "half.safetensors")
    resumed = Tiny()
    assert learn(resumed, 5, tmp_path / "half.safetensors").step == 9
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
