"""What is kept of a set of pictures: mean and covariance of their features, and some of the features themselves.

Moments of parts add up to those of the whole (Chan, Golub & LeVeque 1983) without the loss of digits that sums of
squares bring, so batches and processes can be as small or as many as they like.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import precise
from plaudit.core.team import Team
from plaudit.core.whole_files import write_whole
from plaudit.rewards.feature_nets import FeatureNet

FORMAT = "plaudit feature statistics 1"
SAMPLE = 10_000
"""features kept at most, for what looks at single pictures"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Count, mean and spread of N features of D numbers each, in float64."""

    count: int
    mean: Tensor
    """(D,); zeros if there is nothing"""
    scatter: Tensor
    """(D, D): the sum over all features of (f - mean)(f - mean)^T"""

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Those of features (N, D). Raises BadConfig if any is not finite."""
        wide = precise(features.detach())
        if not wide.isfinite().all():
            raise BadConfig("moments need finite features; look for NaN in the pictures")
        if not len(wide):
            return cls.none(wide.shape[1])
        mean = wide.mean(dim=0)
        return cls(count=len(wide), mean=mean, scatter=(wide - mean).T @ (wide - mean))

    @classmethod
    def none(cls, dimensions: int) -> Self:
        """Those of nothing, to add to."""
        nothing = torch.zeros(dimensions, dtype=torch.float64)
        return cls(count=0, mean=nothing, scatter=torch.outer(nothing, nothing))

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """(D, D), the unbiased estimate, over N - 1. Raises BadConfig for fewer than 2 features."""
        if self.count < 2:
            raise BadConfig(f"a covariance needs at least 2 images, got {self.count}")
        return self.scatter / (self.count - 1)

    def __add__(self, other: "Moments") -> "Moments":
        """Those of both sets together. Raises BadConfig for another number of dimensions."""
        if self.dimensions != other.dimensions:
            raise BadConfig(
                f"moments in {self.dimensions} and {other.dimensions} dimensions do not add up; use one feature net"
            )
        count = self.count + other.count
        share = other.count / max(count, 1)
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(apart, apart) * (self.count * share)
        return Moments(count=count, mean=self.mean + apart * share, scatter=scatter)

    def to(self, device: torch.device) -> "Moments":
        """The same there."""
        return Moments(count=self.count, mean=self.mean.to(device), scatter=self.scatter.to(device))

    def over(self, team: Team) -> "Moments":
        """Those of all processes' sets together, the same on each."""
        dimensions = self.dimensions
        packed = torch.cat([self.mean.new_tensor([self.count]), self.mean, self.scatter.flatten()])
        parts = team.collect(packed[None], torch.tensor([team.rank]), team.size)
        # Folded in the order of ranks, so that every process gets the same digits.
        whole = _unpacked(parts[0], dimensions)
        for part in parts[1:]:
            whole = whole + _unpacked(part, dimensions)
        return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """A set of pictures as one net sees it."""

    moments: Moments
    """of all pictures"""
    sample: Tensor
    """(S, D) float32: the features of S pictures drawn evenly from all of them, in their order"""
    groups: Tensor | None
    """(S,) int64: which of the sample belong together, as pictures of one prompt or class; None if nobody said"""
    net: str
    fingerprint: str
    images: str
    """in a phrase, what pictures they are"""

    def save(self, file: str | Path) -> None:
        """Write it as safetensors, whole or not at all."""
        tensors = {"mean": self.moments.mean, "scatter": self.moments.scatter, "sample": self.sample}
        if self.groups is not None:
            tensors["groups"] = self.groups
        said = {
            "format": FORMAT,
            "net": self.net,
            "fingerprint": self.fingerprint,
            "images": self.images,
            "count": str(self.moments.count),
        }
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_whole(Path(file), save(kept, metadata=said))


def features_of(
    batches: Iterable[Tensor],
    net: FeatureNet,
    *,
    images: str = "pictures",
    groups: Sequence[Hashable] | None = None,
    sample: int = SAMPLE,
) -> FeatureSet:
    """What `net` sees in the images of all batches, (B, 3, H, W) in [0, 1] each.

    `images` says what they are; `groups` has one label per image, in their order. Which are sampled, where there are
    more than `sample`, depends on their number alone. Raises BadConfig for features that are not finite, groups that
    are not as many as the images, and a sample of less than 1.
    """
    if sample < 1:
        raise BadConfig(f"the sample must hold at least 1 image, got {sample}")
    moments = Moments.none(net.dimensions)
    drawn = _EvenSample(net.dimensions, sample)
    for batch in batches:
        with torch.no_grad():
            features = net(batch).float().cpu()
        _check(features, batch, net, moments.count)
        moments = moments + Moments.of(features)
        drawn.see(features)
    if groups is not None and len(groups) != moments.count:
        raise BadConfig(f"{len(groups)} groups for {moments.count} images; give one label per image")
    places = {label: place for place, label in enumerate(dict.fromkeys(groups or ()))}
    chosen = None if groups is None else [places[groups[index]] for index in drawn.indices.tolist()]
    return FeatureSet(
        moments=moments,
        sample=drawn.features,
        groups=None if chosen is None else torch.tensor(chosen, dtype=torch.int64),
        net=net.name,
        fingerprint=net.fingerprint,
        images=images,
    )


def read_features(file: str | Path, net: FeatureNet | None = None) -> FeatureSet:
    """What `FeatureSet.save` wrote. Raises BadConfig if it is something else, or another net than `net` made it."""
    file = Path(file)
    if not file.is_file():
        raise BadConfig(f"there is no statistics file {str(file)!r}")
    try:
        with safe_open(file, framework="pt") as opened:
            said: Mapping[str, str] = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except SafetensorError as error:
        raise BadConfig(f"{str(file)!r} is damaged or no safetensors file; make it anew") from error
    if said.get("format") != FORMAT:
        raise BadConfig(f"{str(file)!r} holds no feature statistics that this version reads; make it anew")
    found = FeatureSet(
        moments=Moments(count=int(said["count"]), mean=tensors["mean"], scatter=tensors["scatter"]),
        sample=tensors["sample"],
        groups=tensors.get("groups"),
        net=said["net"],
        fingerprint=said["fingerprint"],
        images=said["images"],
    )
    if net is not None:
        check_same_net(found, net.name, net.fingerprint)
    return found


def check_same_net(reference: FeatureSet, name: str, fingerprint: str) -> None:
    """Raise BadConfig unless the reference was seen by the net of that fingerprint."""
    if reference.fingerprint != fingerprint:
        raise BadConfig(
            f"the reference ({reference.images}) was seen by {reference.net} ({reference.fingerprint}), the pictures "
            f"are seen by {name} ({fingerprint}); a distance needs one net for both, so make the reference anew with it"
        )


class _EvenSample:
    """Keeps `size` of however many rows come, each as likely as any other, whatever the batches."""

    def __init__(self, dimensions: int, size: int) -> None:
        self._size = size
        self._seen = 0
        # Every row draws a number; those with the smallest stay. The draws depend on a row's place alone.
        self._rng = np.random.default_rng(0)
        self._drawn = np.zeros(0)
        self.indices = np.zeros(0, dtype=np.int64)
        self.features = torch.zeros(0, dimensions)

    def see(self, features: Tensor) -> None:
        """More rows (B, D)."""
        drawn = np.concatenate([self._drawn, self._rng.random(len(features))])
        indices = np.concatenate([self.indices, np.arange(self._seen, self._seen + len(features))])
        kept = np.sort(np.argsort(drawn, kind="stable")[: self._size])
        self._seen += len(features)
        self._drawn, self.indices = drawn[kept], indices[kept]
        self.features = torch.cat([self.features, features])[torch.from_numpy(kept)]


def _unpacked(packed: Tensor, dimensions: int) -> Moments:
    mean, scatter = packed[1:].split([dimensions, dimensions**2])
    return Moments(count=round(packed[0].item()), mean=mean, scatter=scatter.view(dimensions, dimensions))


def _check(features: Tensor, batch: Tensor, net: FeatureNet, before: int) -> None:
    if features.shape != (len(batch), net.dimensions):
        raise BadConfig(
            f"{net.name} made features {tuple(features.shape)} of {len(batch)} images, "
            f"wanted ({len(batch)}, {net.dimensions})"
        )
    bad = (~features.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise BadConfig(
            f"{net.name} sees no finite features in {len(bad)} of the images, the first of them number "
            f"{before + int(bad[0])}; look for NaN in the pictures"
        )
