"""A policy whose answer is known, a Gaussian, learns from LOO-FID alone to be the real one."""

import pytest
import torch
from rewards.class_clouds import Numbers, as_images, set_of
from torch import Tensor

from plaudit.rewards.frechet import Gaussian, squared_frechet
from plaudit.rewards.loo_fid import LeaveOneOutFID, LooFidSettings

REAL = Gaussian(
    mean=torch.tensor([0.5, -0.3, 0.0], dtype=torch.float64),
    covariance=torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 1.0]], dtype=torch.float64),
)


class GaussianPolicy:
    """Draws mean + lower triangle @ noise; starts narrow, off centre and without correlations."""

    def __init__(self) -> None:
        self.mean = torch.full((3,), 1.0, dtype=torch.float64, requires_grad=True)
        self.triangle = (0.4 * torch.eye(3, dtype=torch.float64)).requires_grad_()

    @property
    def gaussian(self) -> Gaussian:
        lower = self.triangle.detach().tril()
        return Gaussian(mean=self.mean.detach(), covariance=lower @ lower.T)

    def log_probs(self, drawn: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(self.mean, scale_tril=self.triangle.tril()).log_prob(drawn)


def distance(policy: GaussianPolicy) -> float:
    return float(squared_frechet(REAL, policy.gaussian.mean, policy.gaussian.covariance))


def learn(settings: LooFidSettings, updates: int = 250) -> tuple[GaussianPolicy, list[float]]:
    """A policy gradient on the reward alone; where it ends, and its true distances on the way."""
    rng = torch.Generator().manual_seed(0)
    real = (
        REAL.mean
        + torch.randn(20_000, 3, generator=rng, dtype=torch.float64) @ torch.linalg.cholesky(REAL.covariance).T
    )
    reward = LeaveOneOutFID(Numbers(3), set_of(real), settings=settings)
    policy = GaussianPolicy()
    optimiser = torch.optim.Adam([policy.mean, policy.triangle], lr=0.03)
    rates = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, updates)
    distances = []
    for _ in range(updates):
        distances.append(distance(policy))
        noise = torch.randn(256, 3, generator=rng, dtype=torch.float64)
        drawn = policy.mean.detach() + noise @ policy.triangle.detach().tril().T
        scores = reward(as_images(drawn), [""] * 256).double()
        optimiser.zero_grad()
        (-(scores * policy.log_probs(drawn)).mean()).backward()
        optimiser.step()
        rates.step()
    return policy, [*distances, distance(policy)]


FULL = LooFidSettings(decay=0.5, shrinkage=0.0)


WAYS = {"fading": FULL, "window": LooFidSettings(window=1024), "shrunk": LooFidSettings(decay=0.5, shrinkage=0.4)}


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_a_narrow_policy_widens_to_the_real_one_and_stops_there(settings) -> None:
    policy, distances = learn(settings)
    assert distances[0] > 1
    assert max(distances[-50:]) < 0.01
    assert torch.allclose(policy.gaussian.covariance, REAL.covariance, atol=0.1)
    assert torch.allclose(policy.gaussian.mean, REAL.mean, atol=0.1)


def test_variances_alone_do_not_teach_what_goes_together() -> None:
    policy, distances = learn(LooFidSettings(decay=0.5, covariance="diagonal"))
    assert torch.allclose(policy.gaussian.variance, REAL.variance, atol=0.1)
    assert distances[-1] > 0.2
    assert min(distances) > 0.15
