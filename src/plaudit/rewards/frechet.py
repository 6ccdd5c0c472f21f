"""The Fréchet distance of two Gaussians, how the one is carried onto the other, and what a single sample does to it.

FID (Heusel et al. 2017) is the squared 2-Wasserstein distance of two Gaussians. The cheapest way to carry what was made
onto what is real is a known linear map (Dowson & Landau 1982), and the distance's derivative with respect to the made
set is the potential of that map (Kantorovich): a quadratic function of the features, one for all samples. So what
leaving out a sample does to FID (the reward of Baran et al. 2026, arXiv 2603.23086) needs one eigendecomposition for
the whole batch instead of one per sample. That paper's released code compares variances only; the full covariance,
its potential and the second-order term are ours.

Shape letters: B samples, D dimensions. All in float64; the distance is in squared units of the features.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-8
"""smallest eigenvalue that is told from 0, as a share of the largest"""
TOGETHER = 16
"""matrices (D, D) held at once where each sample has its own"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """A set of samples as far as mean and covariance tell."""

    mean: Tensor
    """(D,)"""
    covariance: Tensor
    """(D, D)"""

    @functools.cached_property
    def root(self) -> Tensor:
        """H (D, D), symmetric, with H H the covariance, its eigenvalues at least FLOOR of the largest."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * _at_least_floor(values).sqrt()) @ vectors.T

    @property
    def variance(self) -> Tensor:
        """(D,): the covariance's diagonal."""
        return self.covariance.diagonal()

    def onto(self, basis: Tensor) -> "Gaussian":
        """The same in the coordinates along `basis` (D, K), whose columns are orthonormal."""
        return Gaussian(mean=self.mean @ basis, covariance=symmetric(basis.T @ self.covariance @ basis))

    def shrunk(self, share: float, ridge: float) -> "Gaussian":
        """`share` of what lies off the diagonal taken away, `ridge` times the mean variance added on it.

        Few samples make some directions look emptier than they are; this fills them again (Ledoit & Wolf 2004).
        """
        diagonal = torch.diag(self.variance)
        added = ridge * self.variance.mean() * torch.eye(len(self.mean)).to(diagonal)
        return Gaussian(mean=self.mean, covariance=(1 - share) * self.covariance + share * diagonal + added)

    def to(self, device: torch.device) -> "Gaussian":
        """The same there."""
        return self if self.mean.device == device else Gaussian(
            mean=self.mean.to(device), covariance=self.covariance.to(device)
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """All that was made, and the part of it, the pool, that a sample can be left out of."""

    whole: Gaussian
    pool: Gaussian
    """covariance over N, not N - 1"""
    weight: float
    """c: the pool's share of the whole, in 0..1, over N - 1, where N samples are in the pool"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transport:
    """The linear part G = U diag(1 / s) U^T of the cheapest way from one Gaussian onto another."""

    directions: Tensor
    """U (D, D): H V, where V are the eigenvectors of H C H, C the covariance to start from, H the root to arrive at"""
    scales: Tensor
    """s (D,), positive: roots of the eigenvalues, which sum up to what the two Gaussians share"""

    @property
    def matrix(self) -> Tensor:
        """G (D, D); G C G is the covariance to arrive at."""
        return (self.directions / self.scales) @ self.directions.T


def joined(old: Gaussian, new: Gaussian, share: float) -> Gaussian:
    """The moments of a mixture with `share` of the new in it; exact, without sums of squares."""
    apart = new.mean - old.mean
    between = share * (1 - share) * torch.outer(apart, apart)
    return Gaussian(
        mean=old.mean + share * apart, covariance=(1 - share) * old.covariance + share * new.covariance + between
    )


def squared_frechet(real: Gaussian, means: Tensor, covariances: Tensor) -> Tensor:
    """(...): FID of Gaussians with these means (..., D) and covariances (..., D, D) from the real one.

    |m - m_r|^2 + tr C + tr C_r - 2 tr (H C H)^(1/2), where H H = C_r.
    """
    shared = torch.linalg.eigvalsh(symmetric(real.root @ covariances @ real.root)).clamp(min=0).sqrt().sum(dim=-1)
    spread = covariances.diagonal(dim1=-2, dim2=-1).sum(dim=-1) + real.variance.sum()
    return (means - real.mean).square().sum(dim=-1) + spread - 2 * shared


def squared_frechet_by_axis(real: Gaussian, means: Tensor, variances: Tensor) -> Tensor:
    """(...): FID as if no two axes had anything to do with each other; means and variances (..., D)."""
    spread = (variances.clamp(min=0).sqrt() - real.variance.sqrt()).square()
    return ((means - real.mean).square() + spread).sum(dim=-1)


def transport(made: Gaussian, real: Gaussian) -> Transport:
    """How the made Gaussian is carried onto the real one."""
    values, vectors = torch.linalg.eigh(symmetric(real.root @ made.covariance @ real.root))
    return Transport(directions=real.root @ vectors, scales=_at_least_floor(values).sqrt())


def kantorovich_potential(features: Tensor, made_mean: Tensor, real_mean: Tensor, way: Transport) -> Tensor:
    """(B,): |f - m_r|^2 - (f - m)^T G (f - m), the potential of the way from made to real, up to a constant.

    The map itself is f less half its gradient. Minus this is how much one more sample like f brings the sets together,
    to first order: far from the real mean is bad, out where too little was made (G above 1) is good.
    """
    along = (features - made_mean) @ way.directions
    return (features - real_mean).square().sum(dim=1) - (along.square() / way.scales).sum(dim=1)


def potential_by_axis(features: Tensor, made: Gaussian, real: Gaussian) -> Tensor:
    """(B,): the same for variances alone, where G is the ratio of standard deviations on each axis."""
    ratio = (real.variance / _at_least_floor(made.variance)).sqrt()
    return ((features - real.mean).square() - ratio * (features - made.mean).square()).sum(dim=1)


def second_order(features: Tensor, made_mean: Tensor, way: Transport, weight: float) -> Tensor:
    """(B,): the leading part of what the potential leaves out, to add to minus the potential.

    c / 2 times the sum over k and l of u_k^2 u_l^2 / (s_k s_l (s_k + s_l)), where u = U^T (f - m) and c is the weight
    of one sample.
    """
    squares = ((features - made_mean) @ way.directions).square() / way.scales
    sums = way.scales[:, None] + way.scales
    return weight / 2 * ((squares @ sums.reciprocal()) * squares).sum(dim=1)


def left_out(features: Tensor, made: Made) -> tuple[Tensor, Tensor]:
    """Mean (B, D) and covariance (B, D, D) of all that was made but one sample of the pool, for each of these.

    The pool keeps its share: its other samples make up for the missing one. With d = f - m_pool and q = m - m_pool:
    m - c d, and C + c C_pool - c (1 + c) d d^T + c (q d^T + d q^T).
    """
    c, away = made.weight, features - made.pool.mean
    offset = made.whole.mean - made.pool.mean
    mixed = away[:, :, None] * offset
    gone = (1 + c) * away[:, :, None] * away[:, None, :] - mixed - mixed.mT
    return made.whole.mean - c * away, made.whole.covariance + c * (made.pool.covariance - gone)


def left_out_by_axis(features: Tensor, made: Made) -> tuple[Tensor, Tensor]:
    """Means and variances (B, D) of all but one sample: the diagonal of `left_out`."""
    c, away = made.weight, features - made.pool.mean
    offset = made.whole.mean - made.pool.mean
    gone = (1 + c) * away.square() - 2 * offset * away
    return made.whole.mean - c * away, made.whole.variance + c * (made.pool.variance - gone)


def leave_one_out(features: Tensor, made: Made, real: Gaussian, *, shrinkage: float = 0, ridge: float = 0) -> Tensor:
    """(B,): how much further from the real set all that was made is without each sample. Higher: it helps more.

    FID without it less FID with it, exactly: an eigendecomposition per sample. The made covariances are shrunk as
    Gaussian.shrunk does; the real one is taken as it comes.
    """
    whole = made.whole.shrunk(shrinkage, ridge)
    with_all = squared_frechet(real, whole.mean, whole.covariance)
    found = []
    for part in features.split(TOGETHER):
        means, covariances = left_out(part, made)
        variances = covariances.diagonal(dim1=-2, dim2=-1)
        added = shrinkage * variances + ridge * variances.mean(dim=-1, keepdim=True)
        fitted = (1 - shrinkage) * covariances + torch.diag_embed(added)
        found.append(squared_frechet(real, means, fitted) - with_all)
    return torch.cat(found)


def leave_one_out_by_axis(features: Tensor, made: Made, real: Gaussian) -> Tensor:
    """(B,): the same for variances alone, as in the released code of Baran et al. 2026."""
    with_all = squared_frechet_by_axis(real, made.whole.mean, made.whole.variance)
    return squared_frechet_by_axis(real, *left_out_by_axis(features, made)) - with_all


def principal_directions(covariance: Tensor, count: int) -> Tensor:
    """(D, count), orthonormal columns: where a set varies most, most first."""
    vectors = torch.linalg.eigh(covariance).eigenvectors[:, -count:].flip(1)
    # In the layout that a saved tensor comes back in: products with another one are rounded otherwise.
    return vectors.contiguous()


def symmetric(matrices: Tensor) -> Tensor:
    """Matrices (..., D, D) without what rounding has put between their halves."""
    return (matrices + matrices.mT) / 2


def _at_least_floor(values: Tensor) -> Tensor:
    return values.clamp(min=FLOOR * float(values.max()))
