"""Equations of the methods as functions of tensors. Shape letters: B images; the rest of a noise is
flattened.
"""

import torch
from torch import Tensor


def norms(noise: Tensor) -> Tensor:
    """The Euclidean norm of each image's noise, (B,) float32."""
    return noise.float().flatten(1).norm(dim=1)


def norm_penalty(noise: Tensor) -> Tensor:
    """Minus the log-density of each noise's norm, up to a constant, (B,) float32 (ReNO's K, negated).

    0.5 n^2 - (d - 1) ln n for the norm n of d numbers: a standard Gaussian's norm is chi-distributed. Least
    at n = sqrt(d - 1).
    """
    norm, dimension = norms(noise), noise[0].numel()
    return 0.5 * norm.square() - (dimension - 1) * norm.log()


def least_penalty(dimension: int) -> float:
    """The least value of `norm_penalty`, at the norm sqrt(dimension - 1)."""
    squared = torch.tensor(dimension - 1, dtype=torch.float64)
    return float(0.5 * squared - 0.5 * squared * squared.log())


def penalty_gradient(noise: Tensor) -> Tensor:
    """The gradient of `norm_penalty`, shaped as the noise: radial, (1 - (d - 1) / n^2) times the noise."""
    squared, dimension = norms(noise).square(), noise[0].numel()
    return _per_image(1 - (dimension - 1) / squared, noise) * noise


def clip_per_image(gradient: Tensor, limit: float) -> Tensor:
    """Each image's gradient, shortened to the norm `limit` if it is longer.

    Per image, not per batch: clipping a batch as one lets one prompt's gradient slow another's.
    """
    length = norms(gradient)
    # A gradient of zero has nothing to shorten; the floor keeps the division finite.
    return _per_image((limit / length.clamp(min=1e-12)).clamp(max=1.0), gradient) * gradient


def nesterov_step(
    noise: Tensor, velocity: Tensor, gradient: Tensor, lr: Tensor, *, momentum: float
) -> tuple[Tensor, Tensor]:
    """Noise and velocity after one descent step of Nesterov's SGD, in PyTorch's form, with a rate per image
    (B,).

    v <- momentum v + g; noise <- noise - lr (g + momentum v). Starting from v = 0 gives PyTorch's first step,
    v = g.
    """
    velocity = momentum * velocity + gradient
    return noise - _per_image(lr, noise) * (gradient + momentum * velocity), velocity


def finite_rows(tensor: Tensor) -> Tensor:
    """Which images' numbers are all finite, (B,) bool."""
    return torch.isfinite(tensor).flatten(1).all(dim=1)


def where_row(rows: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """`chosen` for the images that `rows` (B,) bool marks, `other` for the rest."""
    return torch.where(_per_image(rows, chosen), chosen, other)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) shaped to multiply B images' tensors."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def clipped_policy_loss(log_ratio: Tensor, advantage: Tensor, *, low: float, high: float) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7), negated, of actions (B,).

    max(-A r, -A clip(r, low, high)); log_ratio: the new log-probability minus that of the policy that took the action.
    """
    ratio = log_ratio.exp()
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(low, high))


def rebel_residual(log_ratio: Tensor, advantage: Tensor, *, scale: float) -> Tensor:
    """By how much relative log-ratios miss relative advantages (REBEL, Gao et al. 2024, eq. 3), (P,), of (P, 2) each.

    scale (D_1 - D_2) - (A_1 - A_2) for the two images of a prompt, whose log-ratios D are sums over an image's steps.
    """
    return scale * (log_ratio[:, 0] - log_ratio[:, 1]) - (advantage[:, 0] - advantage[:, 1])


def k3(log_probs: Tensor, reference: Tensor) -> Tensor:
    """An estimate of each action's KL(policy || reference), nats, shaped as its log-probabilities (Schulman 2020).

    exp(d) - d - 1 for d = reference - policy: unbiased for actions that the policy drew, and never below 0.
    """
    apart = reference - log_probs
    return apart.exp() - apart - 1
