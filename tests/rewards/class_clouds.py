"""Features with a known answer: a net that reads numbers off the pixels, and sets that differ by class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.rewards.feature_statistics import FeatureSet, Moments


class Numbers:
    """Sees the pixels themselves."""

    def __init__(self, dimensions: int, fingerprint: str = "0123456789abcdef") -> None:
        self.name, self.dimensions, self.fingerprint = "numbers", dimensions, fingerprint

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


def as_images(features: Tensor) -> Tensor:
    """(B, D, 1, 1): what Numbers reads as these features."""
    return features[:, :, None, None]


def set_of(features: Tensor, fingerprint: str = "0123456789abcdef") -> FeatureSet:
    return FeatureSet(
        moments=Moments.of(features),
        sample=features.float(),
        groups=None,
        net="numbers",
        fingerprint=fingerprint,
        images="clouds",
    )


@dataclass(frozen=True, kw_only=True)
class Clouds:
    """A real set, what a model made before, and a batch of it: 12 classes of 12, each class a cloud."""

    real: Tensor
    before: Tensor
    batch: Tensor
    classes: Tensor


def clouds(dimensions: int = 48, seed: int = 0) -> Clouds:
    """The model's clouds are narrower than the real ones, and correlated otherwise."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    spectrum = torch.linspace(1.5, 0.3, dimensions, dtype=torch.float64)
    mix = normal(dimensions, dimensions) / dimensions**0.5 + torch.diag(spectrum)
    other = mix + 0.5 * normal(dimensions, dimensions) / dimensions**0.5
    centres = normal(100, dimensions) @ mix.T * 0.7

    def made(labels: Tensor) -> Tensor:
        return 0.9 * centres[labels] + 0.6 * normal(len(labels), dimensions) @ other.T + 0.1

    real = centres[torch.arange(5000) % 100] + normal(5000, dimensions) @ mix.T
    before = made(torch.arange(5000) % 100)
    classes = torch.randperm(100, generator=rng)[:12].repeat_interleave(12)
    return Clouds(real=real, before=before, batch=made(classes), classes=classes)


def within_groups(scores: Tensor, groups: Tensor) -> Tensor:
    """Each score less the mean of its group."""
    found = scores.double().clone()
    for group in groups.unique():
        found[groups == group] -= found[groups == group].mean()
    return found


def correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.double(), second.double()]))[0, 1])
