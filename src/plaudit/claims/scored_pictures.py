"""Who looks at the pictures of a reproduction that trains, and what they see."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.presets.task import Task
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet, Moments
from plaudit.rewards.reward import Reward
from plaudit.rewards.table import read_spec


def trained_on(task: Task) -> list[str]:
    """The names of the rewards that are trained on."""
    return [read_spec(spec)[0] for spec in task.rewards]


def judged_by(task: Task) -> list[str]:
    """The names of all rewards that pictures are scored by; the last one is trained on by nothing. Raises BadConfig."""
    if task.held_out is None:
        raise BadConfig("the claims need a reward that nothing is trained on, and the preset names none")
    return [*trained_on(task), task.held_out]


def raw_scores(
    rewards: Mapping[str, Reward], images: Tensor, texts: Sequence[str], *, batch: int, device: torch.device
) -> dict[str, list[float]]:
    """B scores by each reward, by its name, of images (B, 3, H, W) of B texts, `batch` at once."""
    spans = [slice(at, at + batch) for at in range(0, len(images), batch)]
    with torch.no_grad():
        return {
            name: [value for span in spans for value in reward(images[span].to(device), texts[span]).tolist()]
            for name, reward in rewards.items()
        }


def features_seen(net: FeatureNet, images: Tensor, *, batch: int, device: torch.device) -> Tensor:
    """What the net sees in images (B, 3, H, W), `batch` at once: (B, D) float32 on the CPU."""
    with torch.no_grad():
        return torch.cat([net(part.to(device)).float().cpu() for part in images.split(batch)])


def feature_set(net: FeatureNet, features: Tensor, *, groups: Tensor | None = None) -> FeatureSet:
    """The features (B, D) that the net saw, to be compared with others; `groups`, (B,), tells prompts apart."""
    return FeatureSet(
        moments=Moments.of(features), sample=features, groups=groups, net=net.name, fingerprint=net.fingerprint,
        images="pictures",
    )  # fmt: skip
