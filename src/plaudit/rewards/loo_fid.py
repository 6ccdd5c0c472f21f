"""LOO-FID: each picture's reward is how much further from real ones a model's pictures would be, as a set, without it.

After Baran, Kandemir & Cinbis 2026 (arXiv 2603.23086), who leave each picture of a batch out of running moments and
compare FIDs. Their released code compares the variances of single features; here the covariance is whole. And instead
of an FID for each picture there is one optimal transport for the batch, whose potential says the same of every picture
(`plaudit.rewards.frechet`). The paper's form and the exact one can be chosen for comparison.

Differs from that code in more: running moments start unbiased; both covariances are shrunk alike; nets and
preprocessing of all statistics are checked; features that are not finite are an error; all of the state is in a
checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import float64_device
from plaudit.core.team import Team
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet, Moments, check_same_net
from plaudit.rewards.frechet import (
    Gaussian,
    Made,
    Transport,
    kantorovich_potential,
    leave_one_out,
    leave_one_out_by_axis,
    potential_by_axis,
    principal_directions,
    second_order,
    squared_frechet,
    squared_frechet_by_axis,
    transport,
)
from plaudit.rewards.loo_fid_memory import FadingMemory, Memory, WindowMemory, all_rows

Covariance = Literal["full", "diagonal"]
Form = Literal["potential", "second-order", "exact"]


@dataclass(frozen=True, kw_only=True)
class LooFidSettings:
    """How sets of pictures are remembered and compared."""

    covariance: Covariance = "full"
    """all of it, or, for comparison with the paper's code, the variances alone"""
    form: Form = "potential"
    """the derivative of FID; with its leading second-order term; or exactly, an eigendecomposition a picture"""
    decay: float = 0.98
    """weight of what was made before, in 0..1: 0.98 remembers some fifty batches, 0 only the last"""
    window: int | None = None
    """remember the features of so many last pictures, all of equal weight, in place of fading moments"""
    components: int | None = None
    """look only at this many principal directions of the real features; all if not given"""
    shrinkage: float = 0.05
    """share of what lies off the covariances' diagonals that is taken away, in 0..1"""
    ridge: float = 1e-6
    """added to their diagonals, in mean variances"""
    refresh: int = 1
    """batches for which one optimal transport serves"""
    clip: float = 5.0
    """scores are pulled in to within this many median absolute deviations of the median"""
    batch_size: int = 64
    """pictures that the net sees at once"""

    def __post_init__(self) -> None:
        _in_range("decay", self.decay, 0, 1, below=True)
        _in_range("shrinkage", self.shrinkage, 0, 1)
        _in_range("ridge", self.ridge, 0, 1)
        if not self.clip > 0:
            raise BadConfig(f"clip must be above 0, got {self.clip}")
        for name, least in (("window", 2), ("components", 1), ("refresh", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadConfig(f"{name} must be at least {least}, got {value}")
        if self.covariance == "diagonal" and (self.components is not None or self.form == "second-order"):
            raise BadConfig(
                "the diagonal covariance compares the net's own features, to first order or exactly; "
                "leave components out, and take the form 'potential' or 'exact'"
            )


class LeaveOneOutFID:
    """LOO-FID on one net against one reference. Keeps the DistributionReward contract.

    Scores are in units of the features' squares, whatever the number of pictures and the decay: what leaving out the
    picture does to FID, divided by the picture's weight among all that was made. They are brought to mean 0 over the
    batch after those beyond `clip` median absolute deviations have been pulled in. Comparing within groups and scaling
    are the method's.
    """

    def __init__(
        self,
        net: FeatureNet,
        reference: FeatureSet,
        *,
        start: FeatureSet | None = None,
        settings: LooFidSettings | None = None,
    ) -> None:
        """`reference`: real pictures. `start`: pictures of the model before training, drawn as those to be scored.

        Raises BadConfig if another net saw either, or there are too few for a covariance.
        """
        self.net, self.settings = net, settings or LooFidSettings()
        for pictures in (reference, start):
            if pictures is not None:
                check_same_net(pictures, net.name, net.fingerprint)
        dimensions = net.dimensions
        if (self.settings.components or 0) > dimensions:
            raise BadConfig(f"{net.name} has {dimensions} dimensions, got components {self.settings.components}")
        self._reference = Gaussian(mean=reference.moments.mean, covariance=reference.moments.covariance)
        if self.settings.window is None:
            self._memory: Memory = FadingMemory.starting(self.settings.decay, start)
        else:
            self._memory = WindowMemory.starting(self.settings.window, dimensions, start)
        self._basis: Tensor | None = None
        if self.settings.components is not None:
            self._basis = principal_directions(self._reference.covariance, self.settings.components)
        self._real = self._fitted(self._reference)
        self._way: Transport | None = None
        self._scored = 0

    def __call__(self, images: Tensor, prompts: Sequence[str], team: Team | None = None) -> Tensor:
        """As the contract says; what the prompts ask for does not matter here.

        Raises BadConfig for features that are not finite, and for fewer than 2 pictures in all.
        """
        team = team or Team()
        with team.together():
            features = self.features_of(images)
        return self.score_features(features, team).to(images.device)

    def features_of(self, images: Tensor) -> Tensor:
        """(B, D) float32: what the net sees in the images. Raises BadConfig if any of it is not finite."""
        with torch.no_grad():
            parts = [self.net(part).float() for part in images.split(self.settings.batch_size) if len(part)]
        features = torch.cat(parts) if parts else torch.zeros(0, self.net.dimensions, device=images.device)
        bad = (~features.isfinite().all(dim=1)).nonzero().flatten()
        if len(bad):
            raise BadConfig(
                f"{self.net.name} sees no finite features in {len(bad)} of {len(images)} pictures, the first of them "
                f"number {int(bad[0])}, and one would spoil the scores of all; look for NaN in the pictures"
            )
        return features

    @torch.no_grad()
    def score_features(self, features: Tensor, team: Team | None = None) -> Tensor:
        """Scores (B,) float32 of finite features (B, D), this process's part; then remembers them."""
        team = team or Team()
        rows = features.detach().to(float64_device(features.device))
        batch = Moments.of(rows).to(rows.device).over(team)
        if batch.count < 2:
            raise BadConfig(f"leaving one picture out needs at least 2 in all, got {batch.count}")
        memory, made = self._memory.with_batch(rows, batch, team)
        raw = self._scores(rows.double(), made)
        scores = centred(raw, all_rows(raw, team), clip=self.settings.clip)
        # Only now: if anything above fails, nothing has been remembered.
        self._memory, self._scored = memory, self._scored + 1
        return scores.float().to(features.device)

    def distance(self) -> float:
        """FID between what is remembered and the reference, as both are fitted. Raises BadConfig if that is nothing.

        Only for watching a training: it is the net that the training pleases.
        """
        seen = self._memory.gaussian
        if seen is None:
            raise BadConfig("nothing has been scored yet, so there is no distance; score a batch first")
        made, real = self._fitted(seen), self._real.to(seen.mean.device)
        if self.settings.covariance == "diagonal":
            return float(squared_frechet_by_axis(real, made.mean, made.variance))
        return float(squared_frechet(real, made.mean, made.covariance))

    def state(self) -> dict[str, Tensor]:
        """All that the next scores depend on but net, reference and settings."""
        state = {"net": self._net_tensor(), "scored": torch.tensor(self._scored), **self._memory.tensors()}
        if self._basis is not None:
            # An eigenvector's sign is the machine's choice.
            state["basis"] = self._basis
        if self._way is not None and self.settings.refresh > 1:
            state |= {"directions": self._way.directions, "scales": self._way.scales}
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state. Raises BadConfig for that of another net, or of other settings."""
        if not torch.equal(state["net"].cpu(), self._net_tensor()):
            raise BadConfig(
                f"this state of LOO-FID was made with another feature net than {self.net.name} "
                f"({self.net.fingerprint}); go on with the net that it began with"
            )
        try:
            memory = self._memory.loaded(state)
            basis = None if self._basis is None else state["basis"]
        except KeyError as error:
            raise BadConfig(
                f"this state of LOO-FID holds no {error.args[0]!r}, so it was made with another window or other "
                "components; go on with the settings that it began with"
            ) from error
        if basis is not None and self._basis is not None and basis.shape != self._basis.shape:
            raise BadConfig(
                f"this state of LOO-FID has {basis.shape[1]} components, the settings say {self._basis.shape[1]}; "
                "go on with the settings that it began with"
            )
        self._memory, self._basis, self._scored = memory, basis, int(state["scored"])
        self._real = self._fitted(self._reference)
        kept = "directions" in state and "scales" in state
        self._way = Transport(directions=state["directions"], scales=state["scales"]) if kept else None

    def _scores(self, rows: Tensor, made: Made) -> Tensor:
        """(B,) float64, each with the same unknown constant in it."""
        self._move(rows.device)
        if self.settings.covariance == "diagonal":
            whole = self._fitted(made.whole)
            if self.settings.form == "exact":
                return leave_one_out_by_axis(rows, replace(made, whole=whole), self._real) / made.weight
            return -potential_by_axis(rows, whole, self._real)
        if self._basis is not None:
            rows = rows @ self._basis
            made = replace(made, whole=made.whole.onto(self._basis), pool=made.pool.onto(self._basis))
        if self.settings.form == "exact":
            fit = {"shrinkage": self.settings.shrinkage, "ridge": self.settings.ridge}
            return leave_one_out(rows, made, self._real, **fit) / made.weight
        if self._way is None or self._scored % self.settings.refresh == 0:
            self._way = transport(made.whole.shrunk(self.settings.shrinkage, self.settings.ridge), self._real)
        scores = -kantorovich_potential(rows, made.whole.mean, self._real.mean, self._way)
        if self.settings.form == "second-order":
            scores = scores + second_order(rows, made.whole.mean, self._way, made.weight)
        return scores

    def _fitted(self, found: Gaussian) -> Gaussian:
        """In the directions that are looked at, and shrunk: real and made alike, so that equal ones stay equal."""
        seen = found if self._basis is None else found.onto(self._basis.to(found.mean.device))
        return seen.shrunk(self.settings.shrinkage, self.settings.ridge)

    def _move(self, device: torch.device) -> None:
        self._real = self._real.to(device)
        if self._basis is not None:
            self._basis = self._basis.to(device)
        if self._way is not None:
            self._way = Transport(directions=self._way.directions.to(device), scales=self._way.scales.to(device))

    def _net_tensor(self) -> Tensor:
        return torch.tensor(list(self.net.fingerprint.encode()), dtype=torch.uint8)


def centred(scores: Tensor, of_all: Tensor, *, clip: float) -> Tensor:
    """Scores (B,), pulled to within `clip` median absolute deviations of the median of all (N,), less all's mean.

    The potential is quadratic, so that a single odd picture would outweigh the rest of its group. Where most scores
    are the same there is no such measure, and nothing is pulled in.
    """
    median = of_all.quantile(0.5)
    reach = clip * (of_all - median).abs().quantile(0.5)
    if not reach > 0:
        return scores - of_all.mean()
    low, high = median - reach, median + reach
    return scores.clamp(low, high) - of_all.clamp(low, high).mean()


def _in_range(name: str, value: float, low: float, high: float, *, below: bool = False) -> None:
    if not low <= value <= high or (below and value == high):
        raise BadConfig(f"{name} must be at least {low} and {'below' if below else 'at most'} {high}, got {value}")
