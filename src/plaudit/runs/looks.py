"""Looks at a model in training: the same prompts and noises every time, scored, and kept as one picture."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.core.whole_files import write_whole
from plaudit.runs.provenance import png_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.rewards.reward import Reward

SAMPLES = "samples"


@dataclass(frozen=True, kw_only=True)
class FixedLook:
    """Called with the number of updates done, it draws, scores, and leaves samples/000120.png.

    Where the model says something of its pictures, such as a plan, samples/000120.json has it, a list for each prompt.
    Each row of the picture is a prompt. `draw` must give the same pictures for the same weights.
    """

    folder: Path
    draw: "Callable[[], Tensor]"
    """images (P * G, 3, H, W) in [0, 1] of the prompts, G for each"""
    prompts: Sequence[str]
    """P of them"""
    scores: "Mapping[str, Reward]"
    """by the name of the metric, its mean over the images"""
    batch_size: int = 16
    """images that a reward sees at once"""
    tell: "Callable[[], Sequence[str]]" = tuple
    """what the model says of each image; nothing, if it says none"""

    def __call__(self, done: int) -> dict[str, float]:
        import torch

        from plaudit.suites.diversity import in_group_distance

        with torch.no_grad():
            images = self.draw()
            group = len(images) // len(self.prompts)
            texts = [prompt for prompt in self.prompts for _ in range(group)]
            found = {name: self._mean(reward, images, texts) for name, reward in self.scores.items()}
        if group > 1:
            found["diversity"] = float(in_group_distance(images, group).mean())
        write_whole(self.folder / SAMPLES / f"{done:06d}.png", png_bytes(sheet(images, group)))
        if said := list(self.tell()):
            told = [{"prompt": prompt, "said": said[i * group :][:group]} for i, prompt in enumerate(self.prompts)]
            write_whole(self.folder / SAMPLES / f"{done:06d}.json", json.dumps(told, indent=1).encode())
        return found

    def _mean(self, reward: "Reward", images: "Tensor", texts: Sequence[str]) -> float:
        pieces = range(0, len(images), self.batch_size)
        sums = [reward(images[at : at + self.batch_size], texts[at : at + self.batch_size]).sum() for at in pieces]
        return float(sum(sums)) / len(images)


def spread_over(prompts: Sequence[str], count: int) -> Sequence[str]:
    """`count` of the prompts, at equal distances from the first on; all, if there are fewer."""
    return prompts[:: max(1, len(prompts) // count)][:count]


def sheet(images: "Tensor", columns: int) -> "Tensor":
    """Images (B, 3, H, W) side by side, (3, rows H, columns W); B is a multiple of `columns`."""
    import torch

    return torch.cat([torch.cat(list(row), dim=2) for row in images.unflatten(0, (-1, columns))], dim=1)
