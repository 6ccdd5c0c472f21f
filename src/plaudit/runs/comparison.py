"""A comparison on disk: a folder for each system, and what was found in all of them.

    comparison.json    settings, the plan of costs, and the results
    comparison.csv     the same numbers, one row for each system and measure
    compare.html       the report
    trade_offs.svg     its plot
    NAME/              an evaluation for each system: images/, evaluation.json
    NAME/cost.json     what drawing its pictures took
    NAME/scores.json   what each reward says of them, as they were kept

A system that is complete is not drawn again, and a reward that has scored its pictures is not asked again; so a
comparison that was stopped goes on where it was, and one more system or reward costs what is new about it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plaudit import __version__
from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.runs.evaluation import FILE as EVALUATION
from plaudit.runs.evaluation import EvaluationFolder
from plaudit.runs.files import finite, read_json, slug, write_json
from plaudit.runs.provenance import FORMAT, hardware, versions
from plaudit.suites.comparison import ACCURACY, DISTANCE, SCORE, Table
from plaudit.suites.diversity import in_group_distance
from plaudit.suites.run import Judged

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.rewards.reward import Reward
    from plaudit.suites.suite import Overall

FILE, COST, SCORES = "comparison.json", "cost.json", "scores.json"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What drawing some images took."""

    images: int = 0
    """that were kept"""
    pictures: int = 0
    """that were drawn to choose from"""
    seconds: float = 0.0
    forwards: int | None = 0
    """of networks; None where they cannot be counted"""

    def plus(self, other: "Cost", *, sign: int = 1) -> "Cost":
        """Both together."""
        known = self.forwards is not None and other.forwards is not None
        return Cost(
            images=self.images + sign * other.images, pictures=self.pictures + sign * other.pictures,
            seconds=self.seconds + sign * other.seconds,
            forwards=(self.forwards or 0) + sign * (other.forwards or 0) if known else None,
        )  # fmt: skip

    def less(self, other: "Cost") -> "Cost":
        """What came after the other."""
        return self.plus(other, sign=-1)


class ComparisonFolder:
    """The folder of one comparison, new or to be continued."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings: what all systems have in common, such as the suite and the seed.

        Raises BadConfig if the folder holds something else, or a comparison with other settings.
        """
        self.path = path
        self.content: dict[str, Any] = {
            "format": FORMAT, "plaudit": __version__, "settings": finite(dict(settings)), "plan": {}, "entrants": {},
            "results": None, "versions": versions(), "hardware": hardware(),
        }  # fmt: skip
        if (path / FILE).exists():
            self._continue()
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadConfig(f"{str(path)!r} is in use and holds no comparison; choose another --out")

    def place_of(self, name: str) -> Path:
        """The folder of a system's pictures. Two names never share one."""
        taken: dict[str, str] = self.content.setdefault("places", {})
        if name not in taken:
            base, number = slug(name), 1
            place = base
            while place in taken.values():
                number += 1
                place = f"{base}-{number}"
            taken[name] = place
        return self.path / taken[name]

    def save(self) -> None:
        """Replace comparison.json."""
        write_json(self.path / FILE, self.content)

    def _continue(self) -> None:
        file = self.path / FILE
        found = read_json(file)
        if not isinstance(found, dict) or not {"settings", "plan", "entrants"} <= set(found):
            raise BadConfig(f"{str(file)!r} is damaged; choose another --out, or delete it")
        there, asked = found["settings"], json.loads(json.dumps(self.content["settings"]))
        if "scorer" in asked and "scorer" not in there:
            raise BadConfig(
                f"{str(self.path)!r} does not say who judged its pictures, as folders of before do not; choose another "
                "--out"
            )
        if there != asked:
            other = sorted(name for name in {*there, *asked} if there.get(name) != asked.get(name))
            raise BadConfig(
                f"{str(self.path)!r} holds a comparison with another {', '.join(other)}; choose another --out"
            )
        self.content = found | {"versions": versions(), "hardware": hardware()}


class EntrantFolder:
    """One system's pictures, verdicts, cost and scores."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings: what decides its pictures. Raises BadConfig if the folder holds something else."""
        self.path = path
        self.evaluation = EvaluationFolder(path, settings)
        self.cost = _cost_in(path / COST)

    @classmethod
    def there(cls, path: Path) -> "EntrantFolder":
        """One that is on disk, with its own settings. Raises BadConfig if there is none."""
        content = read_json(path / EVALUATION)
        if not isinstance(content, dict) or "settings" not in content:
            raise BadConfig(f"{str(path)!r} holds no evaluation")
        return cls(path, content["settings"])

    def keep(self, judged: Sequence[Judged], images: "Tensor", cost: Cost) -> None:
        """Write a batch (B, 3, H, W), and what it took."""
        self.evaluation.keep(judged, images)
        self.cost = self.cost.plus(cost)
        write_json(self.path / COST, asdict(self.cost))

    def judged(self, rows: Sequence[int]) -> list[Judged]:
        """What is there of these rows, in their order."""
        wanted = set(rows)
        return [one for one in self.evaluation.judged if one.row in wanted]

    def picture_of(self, one: Judged) -> Path:
        """The file of a kept picture."""
        return self.path / "images" / f"{one.prompt_index:04d}-{one.image_index}-{slug(one.prompt)}.png"

    def score(
        self,
        judged: Sequence[Judged],
        name: str,
        reward: "Reward",
        *,
        source: Any,
        put: Callable[["Tensor"], "Tensor"],
        batch_size: int = 16,
    ) -> None:
        """Have a reward score the kept pictures that it has not yet. `put` moves a batch to the reward's device.

        `source`: what the reward is; scores of another one under the same name are forgotten. Each batch is written as
        soon as it is scored. Raises BadConfig for a score that is not finite, with all others so far written.
        """
        kept = self._scores()
        entry = kept.get(name)
        source = json.loads(json.dumps(finite(source)))
        if entry is None or entry["source"] != source:
            entry = kept[name] = {"source": source, "scores": {}}
        left = [one for one in judged if str(one.row) not in entry["scores"]]
        for start in range(0, len(left), batch_size):
            batch = left[start : start + batch_size]
            images = torch.stack([read_image(self.picture_of(one)) for one in batch])
            with torch.no_grad():
                found = reward(put(images), [one.prompt for one in batch]).float().tolist()
            finite_ones = {str(one.row): value for one, value in zip(batch, found, strict=True) if value - value == 0}
            entry["scores"] |= finite_ones
            write_json(self.path / SCORES, kept)
            if bad := [one for one in batch if str(one.row) not in finite_ones]:
                raise BadConfig(f"reward {name!r} gave no finite score for {str(self.picture_of(bad[0]))!r}")

    def scores_of(self, name: str, judged: Sequence[Judged]) -> list[float]:
        """What the reward said of each. Raises BadConfig if it was not asked."""
        entry = self._scores().get(name, {"scores": {}})["scores"]
        missing = sum(str(one.row) not in entry for one in judged)
        if missing:
            raise BadConfig(f"reward {name!r} has not scored {missing} pictures in {str(self.path)!r} yet")
        return [entry[str(one.row)] for one in judged]

    def _scores(self) -> dict[str, Any]:
        found = read_json(self.path / SCORES)
        return found if isinstance(found, dict) else {}


def table_of(
    name: str,
    folder: EntrantFolder,
    rows: Sequence[int],
    rewards: Sequence[str],
    *,
    overall: "Overall" = "categories",
    followed: Sequence[str] = (),
) -> Table:
    """A complete system's table over the rows: verdicts, the suite's score, every reward, diversity, cost.

    On a board, where the suite's score is one of the rewards, it is there once.

    Raises BadConfig if a row is missing, or prompts have different numbers of images.
    """
    judged = folder.judged(rows)
    if len(judged) != len(rows):
        raise BadConfig(f"{name} has {len(judged)} of {len(rows)} images")
    prompts = list(dict.fromkeys(one.prompt_index for one in judged))
    images = len(judged) // len(prompts)
    shape = (len(prompts), images)

    def grid(values: Sequence[float]) -> Any:
        return np.array(values, dtype=np.float64).reshape(shape)

    scores = {}
    if all(one.right is not None for one in judged):
        scores[ACCURACY] = grid([float(bool(one.right)) for one in judged])
    board = all(one.right is None and one.parts and set(one.parts) <= set(rewards) for one in judged)
    if not board and all(one.score is not None for one in judged):
        scores[SCORE] = grid([one.score or 0.0 for one in judged])
    scores |= {reward: grid(folder.scores_of(reward, judged)) for reward in rewards}
    if images > 1:
        scores[DISTANCE] = _distances(folder, judged, images)
    cost = folder.cost
    return Table(
        name=name, prompts=tuple(prompts), categories=tuple(one.category for one in judged[::images]), scores=scores,
        overall=overall, followed=tuple(followed), seconds=cost.seconds / cost.images if cost.images else None,
        forwards=cost.forwards / cost.images if cost.images and cost.forwards is not None else None,
    )  # fmt: skip


def _distances(folder: EntrantFolder, judged: Sequence[Judged], group: int) -> Any:
    """(P, 1): how different each prompt's pictures are."""
    found = []
    for start in range(0, len(judged), group):
        images = torch.stack([read_image(folder.picture_of(one)) for one in judged[start : start + group]])
        found.append(in_group_distance(images, group).tolist())
    return np.array(found, dtype=np.float64)


def _cost_in(file: Path) -> Cost:
    content = read_json(file)
    try:
        return Cost() if content is None else Cost(**content)
    except TypeError as error:
        raise BadConfig(f"{str(file)!r} is damaged; choose another --out, or delete it") from error
