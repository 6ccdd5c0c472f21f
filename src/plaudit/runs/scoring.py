"""Scoring pictures that are there: files, folders and lists, one after the other, into a file that can be gone on with.

A list is a .jsonl file with an object on each line, {"image": "a.png", "prompt": "a fox"}; paths are as seen from the
list's folder. Pictures of one size share a batch; no score depends on that.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.runs.provenance import read_provenance
from plaudit.runs.records import Opinion, opinions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from plaudit.rewards.mix import WeightedSum

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""endings of the files in a folder that are pictures"""
LIST = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file to score, and the prompt that its list gives it."""

    file: Path
    prompt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the rewards say about one picture."""

    file: str
    prompt: str
    total: float
    """the weighted sum"""
    parts: dict[str, float]
    """raw: on each reward's own scale, without its weight"""
    normalised: dict[str, float | None]
    """0 and 1 are the ends of the reward's typical raw scale, None if it has none; a score may lie beyond them"""
    judge: Opinion | None = field(default=None)
    """the exact judge's word, for a prompt of the pocket world"""


def pictures_in(names: Sequence[str]) -> Iterator[Picture]:
    """The pictures that files, folders and lists amount to, in order; a run's folder stands for its best pictures.

    Raises BadConfig for a folder without pictures, or a list with a line that is not one of a list.
    """
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from _in_folder(path)
        elif path.suffix.lower() == LIST:
            yield from _in_list(path)
        else:
            yield Picture(file=path)


def _in_folder(folder: Path) -> Iterator[Picture]:
    within = folder / "images" if (folder / "run.json").is_file() and (folder / "images").is_dir() else folder
    files = sorted(file for file in within.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
    if not files:
        raise BadConfig(f"the folder {str(folder)!r} holds no picture ({', '.join(PICTURES)})")
    yield from (Picture(file=file) for file in files)


def _in_list(path: Path) -> Iterator[Picture]:
    seen, found = 0, 0
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for line in lines:
                seen += 1
                if line.strip():
                    found += 1
                    yield _listed(line, path.parent)
    except ValueError as error:  # JSON's and UTF-8's errors are such too
        raise BadConfig(
            f"line {max(1, seen)} of {str(path)!r} is not one of a list of pictures; "
            'write it like {"image": "a.png", "prompt": "a fox"}'
        ) from error
    except OSError as error:
        raise BadConfig(f"cannot read the list {str(path)!r}: {(error.strerror or str(error)).lower()}") from error
    if not found:
        raise BadConfig(f"the list {str(path)!r} names no picture")


def _listed(line: str, folder: Path) -> Picture:
    content = json.loads(line)
    image = content.get("image") if isinstance(content, dict) else None
    prompt = content.get("prompt") if isinstance(content, dict) else None
    if not isinstance(image, str) or not isinstance(prompt, str | None) or prompt == "":
        raise ValueError(line)
    # JSON can spell names that no file has, and text that is none: both raise UnicodeEncodeError, a ValueError.
    os.fsencode(image)
    (prompt or "").encode()
    return Picture(file=folder / image, prompt=prompt)


def prompt_of(picture: Picture, given: str | None) -> str:
    """The prompt of a picture's list, else the one given for all, else the one that Plaudit drew it of.

    Raises BadConfig if there is none.
    """
    if picture.prompt is not None:
        return picture.prompt
    if given is not None:
        return given
    made = read_provenance(picture.file)
    if made is None:
        raise BadConfig(f"{str(picture.file)!r} does not say what it shows; give --prompt")
    return str(made["prompt"])


def score_pictures(
    pictures: Iterable[Picture],
    reward: "WeightedSum",
    *,
    prompt: str | None = None,
    device: "torch.device | str",
    batch_size: int = 16,
    skip: Callable[[Picture, BadConfig], None],
) -> Iterator[Score]:
    """The pictures' scores, in order. One that cannot be read, or gets no finite score, is handed to `skip` instead.

    Raises BadConfig if a picture has no prompt.
    """
    if batch_size < 1:
        raise BadConfig(f"--batch-size must be at least 1, got {batch_size}")
    batch: list[tuple[Picture, str, Tensor]] = []
    for picture in pictures:
        try:
            image = read_image(picture.file)
        except BadConfig as error:
            skip(picture, error)
            continue
        if batch and (len(batch) == batch_size or image.shape != batch[0][2].shape):
            yield from _scored(batch, reward, device, skip)
            batch = []
        batch.append((picture, prompt_of(picture, prompt), image))
    if batch:
        yield from _scored(batch, reward, device, skip)


def _scored(
    batch: "Sequence[tuple[Picture, str, Tensor]]",
    reward: "WeightedSum",
    device: "torch.device | str",
    skip: Callable[[Picture, BadConfig], None],
) -> list[Score]:
    import torch

    pictures, prompts, images = zip(*batch, strict=True)
    pixels = torch.stack(images)
    with torch.no_grad():
        scores = reward.score_parts(pixels.to(device), prompts)
        totals = reward.total(scores).tolist()
    columns = {name: values.tolist() for name, values in scores.items()}
    found = []
    for place, picture in enumerate(pictures):
        file = str(picture.file)
        parts = {name: values[place] for name, values in columns.items()}
        if broken := [name for name, value in parts.items() if not math.isfinite(value)]:
            rewards = ", ".join(map(repr, broken))
            skip(picture, BadConfig(f"reward {rewards} gave no finite score for {file!r}"))
            continue
        said = opinions(prompts[place], pixels[place : place + 1])
        found.append(
            Score(
                file=file,
                prompt=prompts[place],
                total=totals[place],
                parts=parts,
                normalised={name: on_scale(value, reward.scales.get(name)) for name, value in parts.items()},
                judge=said[0] if said else None,
            )
        )
    return found


def on_scale(score: float, scale: tuple[float, float] | None) -> float | None:
    """Where a raw score lies between the ends, 0 and 1, of its typical scale."""
    return None if scale is None else (score - scale[0]) / (scale[1] - scale[0])


class ScoreFile:
    """A .jsonl file of scores, one a line in the order in which they were found; what is there is not scored again."""

    def __init__(self, path: Path, reward: "WeightedSum") -> None:
        """Takes up what an earlier call left, less half a line at its end.

        Raises BadConfig if the file holds anything else, or scores of other rewards or weights.
        """
        self.path, self.tally = path, Tally()
        self._done: Counter[tuple[str, str]] = Counter()
        if path.is_dir():
            raise BadConfig(f"{str(path)!r} is a folder; name a file for the scores, as in scores.jsonl")
        if path.exists():
            self._take_up(reward)
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, scores: Sequence[Score]) -> None:
        """Add lines, and have the machine write them. Raises OSError if the disk is full; then a part may be there."""
        with self.path.open("a", encoding="utf-8") as file:
            for score in scores:
                file.write(as_line(score) + "\n")
                self.tally.add(asdict(score))

    def left(self, pictures: Iterable[Picture], prompt: str | None) -> Iterator[Picture]:
        """Those of the pictures that the file lacks; one that is named twice is wanted twice."""
        here = Counter(self._done)
        names = {file for file, _ in here}
        for picture in pictures:
            key = (str(picture.file), prompt_of(picture, prompt)) if str(picture.file) in names else None
            if key is not None and here[key] > 0:
                here[key] -= 1
            else:
                yield picture

    def _take_up(self, reward: "WeightedSum") -> None:
        whole = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                content = self._read(line, number)
                self._check(content, reward)
                self._done[content["file"], content["prompt"]] += 1
                self.tally.add(content)
        with self.path.open("r+b") as file:
            file.truncate(whole)

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            content = json.loads(line)
            if isinstance(content, dict) and {"file", "prompt", "total", "parts", "normalised"} <= set(content):
                return content
        except (json.JSONDecodeError, UnicodeDecodeError):
            pass
        raise BadConfig(f"{str(self.path)!r} holds something else than scores (line {number}); choose another --out")

    def _check(self, content: dict[str, Any], reward: "WeightedSum") -> None:
        import torch

        parts = {name: torch.tensor([float(value)]) for name, value in content["parts"].items()}
        same = set(parts) == set(reward.parts)
        if not same or not math.isclose(float(reward.total(parts)), content["total"], rel_tol=1e-4, abs_tol=1e-5):
            rewards = ", ".join(parts)
            raise BadConfig(
                f"{str(self.path)!r} holds scores of other rewards or weights ({rewards}); choose another --out"
            )


class Tally:
    """How many scores there are, and their means."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, Counter[str]] = {"parts": Counter(), "normalised": Counter()}
        self._total = 0.0

    def add(self, score: dict[str, Any]) -> None:
        """Count one, given as its line in a file has it."""
        self.count += 1
        self._total += score["total"]
        for kind, sums in self._sums.items():
            sums.update({name: value for name, value in score[kind].items() if value is not None})

    def means(self) -> dict[str, Any]:
        """Of totals, raw scores and normalised ones; nothing if there are none."""
        if not self.count:
            return {}
        means = {kind: {name: value / self.count for name, value in sums.items()} for kind, sums in self._sums.items()}
        return {"total": self._total / self.count, **means}


def as_line(score: Score) -> str:
    """One JSON object without line breaks, in ASCII: names of files may be no UTF-8, and come back from \\udce9."""
    return json.dumps(asdict(score))
