"""Looks at a model in training: the same prompts and noises every time, scored, and kept as one picture.

Beside each picture lies a JSON file with every picture's own numbers, so that two looks can be compared pair by pair.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.files import finite, read_json
from plaudit.runs.provenance import png_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.rewards.reward import Reward

SAMPLES = "samples"
ACCURACY, DIVERSITY, DRIFT, COLOUR, SATURATION = "accuracy", "diversity", "drift", "colour", "saturation"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look measured of each picture."""

    done: int
    """updates before it"""
    rows: Sequence[Mapping[str, Sequence[float | None]]]
    """of each prompt its measures by name, each a number for every picture, None where a score was no number; of
    diversity there is one for all of them. Only prompts that the judge understands have an accuracy"""


@dataclass(frozen=True, kw_only=True)
class FixedLook:
    """Called with the number of updates done, it draws, scores, and leaves samples/000120.png and .json.

    Each row of the picture is a prompt. The JSON file has a list of the prompts, each with the scores of its pictures,
    and with what the model said of them, such as plans, where it says something. `draw` must give the same pictures
    for the same weights.

    Besides the scores it measures, of all pictures together:

    accuracy    share that the exact judge calls right, of the prompts that it understands, if there are any
    diversity   distance of a prompt's pictures from each other (plaudit.suites.diversity), 0 to 1
    drift       distance of each picture from the first look's of the same noise, in the same measure
    colour      how strong colours are: the largest channel less the smallest, 0 for grey to 1, the mean over pixels
    saturation  share of the pictures' numbers that are fully off or on
    """

    folder: Path
    draw: "Callable[[], Tensor]"
    """images (P * G, 3, H, W) in [0, 1] of the prompts, G for each"""
    prompts: Sequence[str]
    """P of them"""
    scores: "Mapping[str, Reward]"
    """by the name of the metric, its mean over the images; sums of several rewards tell their parts too"""
    batch_size: int = 16
    """images that a reward sees at once"""
    tell: "Callable[[], Sequence[str]]" = tuple
    """what the model says of each image; nothing, if it says none"""

    def __call__(self, done: int) -> dict[str, float]:
        import torch

        with torch.no_grad():
            images = self.draw()
            group = len(images) // len(self.prompts)
            write_whole(self._file(done, "png"), png_bytes(sheet(images, group)))
            rows = self._measured(images, group) | self._seen(done, images, group)
        said = list(self.tell())
        told = [
            {
                "prompt": prompt,
                "scores": {name: values[i] for name, values in rows.items() if values[i]},
                **({"said": said[i * group :][:group]} if said else {}),
            }
            for i, prompt in enumerate(self.prompts)
        ]
        write_whole(self._file(done, "json"), json.dumps(finite(told), indent=1).encode())
        return {name: _mean(values) for name, values in rows.items()}

    def _file(self, done: int, kind: str) -> Path:
        return self.folder / SAMPLES / f"{done:06d}.{kind}"

    def _measured(self, images: "Tensor", group: int) -> dict[str, list[list[float]]]:
        """The scores, by name and prompt."""
        import torch

        texts = [prompt for prompt in self.prompts for _ in range(group)]
        found: dict[str, list[Tensor]] = {}
        for at in range(0, len(images), self.batch_size):
            part = slice(at, at + self.batch_size)
            for name, reward in self.scores.items():
                for one, scores in _with_parts(name, reward, images[part], texts[part]).items():
                    found.setdefault(one, []).append(scores)
        return {name: _by_prompt(torch.cat(scores), group) for name, scores in found.items()}

    def _seen(self, done: int, images: "Tensor", group: int) -> dict[str, list[list[float]]]:
        """What the pictures themselves show."""
        from plaudit.suites.diversity import in_group_distance

        rows: dict[str, list[list[float]]] = {}
        judged = [_judged(prompt, images[i * group :][:group]) for i, prompt in enumerate(self.prompts)]
        if any(judged):
            rows[ACCURACY] = judged
        if group > 1:
            rows[DIVERSITY] = [[value] for value in in_group_distance(images, group).tolist()]
        rows[COLOUR] = _by_prompt((images.amax(dim=1) - images.amin(dim=1)).float().mean(dim=(1, 2)), group)
        rows[SATURATION] = _by_prompt(((images <= 0) | (images >= 1)).float().mean(dim=(1, 2, 3)), group)
        drift = self._drift(done, group)
        return rows | ({DRIFT: drift} if drift else {})

    def _drift(self, done: int, group: int) -> list[list[float]]:
        """Read from the two files, so that a training that goes on measures what it would have; none without them."""
        import torch

        from plaudit.core.picture_files import read_image
        from plaudit.suites.diversity import in_group_distance

        if not self._file(0, "png").is_file():
            return []
        sheets = [read_image(self._file(at, "png")) for at in (0, done)]
        if sheets[0].shape != sheets[1].shape:
            return []
        first, now = (unsheet(one, len(self.prompts), group) for one in sheets)
        pairs = torch.stack([first, now], dim=1).flatten(0, 1)
        return _by_prompt(in_group_distance(pairs, 2), group)


def _with_parts(name: str, reward: "Reward", images: "Tensor", texts: Sequence[str]) -> "dict[str, Tensor]":
    """The reward's scores (B,), and those of its parts as name_part if there are several."""
    from plaudit.rewards.mix import WeightedSum

    if not isinstance(reward, WeightedSum) or len(reward.parts) < 2:
        return {name: reward(images, texts)}
    parts = reward.score_parts(images, texts)
    return {name: reward.total(parts)} | {f"{name}_{part}": scores for part, scores in parts.items()}


def _judged(prompt: str, images: "Tensor") -> list[float]:
    """1 for each picture that the exact judge calls right, 0 for the others; none where it does not know the prompt."""
    from plaudit.runs.records import opinions

    return [float(opinion.right) for opinion in opinions(prompt, images.float().cpu()) or ()]


def _by_prompt(values: "Tensor", group: int) -> list[list[float]]:
    rows: list[list[float]] = values.float().cpu().unflatten(0, (-1, group)).tolist()
    return rows


def _mean(rows: Sequence[Sequence[float]]) -> float:
    values = [value for row in rows for value in row]
    return sum(values) / len(values)


def read_looks(folder: Path) -> list[Look]:
    """All looks of a training's folder that kept each picture's numbers, the first one first."""
    found = []
    for file in sorted((folder / SAMPLES).glob("*.json")):
        told: Any = read_json(file)
        # What older versions left says nothing of scores.
        if isinstance(told, list) and told and all(isinstance(row, dict) and "scores" in row for row in told):
            found.append(Look(done=int(file.stem), rows=tuple(row["scores"] for row in told)))
    return found


def spread_over(prompts: Sequence[str], count: int) -> Sequence[str]:
    """`count` of the prompts, at equal distances from the first on; all, if there are fewer."""
    return prompts[:: max(1, len(prompts) // count)][:count]


def sheet(images: "Tensor", columns: int) -> "Tensor":
    """Images (B, 3, H, W) side by side, (3, rows H, columns W); B is a multiple of `columns`."""
    import torch

    return torch.cat([torch.cat(list(row), dim=2) for row in images.unflatten(0, (-1, columns))], dim=1)


def unsheet(picture: "Tensor", rows: int, columns: int) -> "Tensor":
    """The images (rows * columns, 3, H, W) of such a sheet."""
    height, width = picture.shape[1] // rows, picture.shape[2] // columns
    return picture.view(3, rows, height, columns, width).permute(1, 3, 0, 2, 4).reshape(-1, 3, height, width)
