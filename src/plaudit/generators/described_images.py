"""Pictures with a short and a detailed caption: what a model is taught to plan from, in ReasonGen-R1's row format.

After the published data (Zhang et al. 2025, arXiv 2505.24875) and the code that reads it. A row holds an image, a
brief_caption, a detailed_caption, which is the plan, and augmented_prompts: five ways of asking for the picture. Rows
are lines of a JSONL file, or of a data set of the package `datasets`; they are read one by one, when they are needed.

Differs from the released code: a row that lacks some of the five ways is asked for in one of the others.
"""

import base64
import binascii
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.core.errors import BadConfig, MissingExtra
from plaudit.core.picture_files import as_seen

if TYPE_CHECKING:
    from torch import Tensor

WAYS = ("short_caption", "paraphrases", "tags", "varied_captions", "object_prompts")
"""of asking for a picture, each as likely as any other; all but the first are lists"""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""endings by which an image is a file's name, else base64"""


@dataclass(frozen=True, kw_only=True)
class DescribedImage:
    """One row."""

    image: bytes | Path
    """the picture as a file holds it, or the file"""
    brief: str
    detailed: str
    """the plan"""
    prompts: Mapping[str, tuple[str, ...]]
    """by WAYS, those that the row has; no list is empty"""
    origin: str
    """where it stands, for messages: "rows.jsonl, line 3" """

    def draw_prompt(self, rng: np.random.Generator) -> str:
        """A prompt for the picture: one of its ways, then one of the way's texts, as published.

        Tags and objects are not chosen from but joined; a dot at the end goes.
        """
        if not self.prompts:
            return self.brief.strip().removesuffix(".")
        way = list(self.prompts)[int(rng.integers(len(self.prompts)))]
        texts = self.prompts[way]
        if way == "tags":
            text = ", ".join(texts)
        elif way == "object_prompts":
            text = ", ".join(texts[:-1]) + (" and " if len(texts) > 1 else "") + texts[-1]
        else:
            text = texts[int(rng.integers(len(texts)))]
        return text.strip().removesuffix(".")

    def picture(self, size: int, rng: np.random.Generator | None = None) -> "Tensor":
        """A square of the picture, (3, size, size) float32 in [0, 1]: its middle, or with `rng` any.

        The square is as large as the picture's shorter side. Raises BadConfig if the picture cannot be read.
        """
        import torch
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.image if isinstance(self.image, Path) else io.BytesIO(self.image)) as opened:
                whole = as_seen(opened, origin=f"{self.origin}: its image")
        except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError, OSError) as error:
            raise BadConfig(f"{self.origin}: its image cannot be read; mend the row or leave it out") from error
        side = min(whole.size)
        left, top = ((full - side) // 2 if rng is None else int(rng.integers(full - side + 1)) for full in whole.size)
        square = whole.crop((left, top, left + side, top + side))
        if side != size:
            square = square.resize((size, size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(square, dtype=np.float32) / 255).permute(2, 0, 1)


class DescribedImages(Sequence[DescribedImage]):
    """Rows that are read when they are asked for. Reading raises BadConfig, with file and line, for a broken one."""

    def __init__(self, fetch: Callable[[int], tuple[Any, str]], count: int, *, folder: Path | None = None) -> None:
        """`fetch`: a row's content and origin by its number; `folder`: where names of files begin."""
        self._fetch, self._count, self._folder = fetch, count, folder

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            raise IndexError(number)
        content, origin = self._fetch(int(number) % self._count)
        return _row(content, origin, self._folder)

    def __iter__(self) -> Iterator[DescribedImage]:
        return (self[number] for number in range(self._count))


def read_described(source: str | Path, *, split: str = "train") -> DescribedImages:
    """The rows of a JSONL file, of a folder of the package `datasets`, or of a hub id that it fetches.

    `split` is that of a data set. Raises BadConfig if there are none, MissingExtra without the package.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _of_lines(path)
    if not path.is_dir() and (path.suffix or len(path.parts) != 2):
        raise BadConfig(f"there are no rows at {str(source)!r}; give a JSONL file, a data set's folder or its hub id")
    return of_dataset(_load_dataset(path if path.is_dir() else str(source), split), name=str(source))


def of_dataset(dataset: Any, *, name: str) -> DescribedImages:
    """The rows of a loaded data set: anything with a length whose items are mappings. `name` is for messages."""
    if not len(dataset):
        raise BadConfig(f"{name} holds no rows")
    return DescribedImages(lambda number: (dataset[number], f"{name}, row {number}"), len(dataset))


def check_rows(rows: DescribedImages, *, pictures: bool = False) -> None:
    """Read all rows, with `pictures` their images too. Raises BadConfig at the first that is broken."""
    for row in rows:
        if isinstance(row.image, Path) and not row.image.is_file():
            raise BadConfig(f"{row.origin}: there is no image {str(row.image)!r}")
        if pictures:
            row.picture(8)


def _of_lines(path: Path) -> DescribedImages:
    """Rows of a file of which only the places of lines are kept: images make it large."""
    places = []
    try:
        with path.open("rb") as file:
            start = 0
            for line_number, line in enumerate(file, start=1):
                if line.strip():
                    places.append((line_number, start))
                start += len(line)
    except OSError as error:
        raise BadConfig(f"cannot read {str(path)!r}: {(error.strerror or str(error)).lower()}") from error
    if not places:
        raise BadConfig(f"{str(path)!r} holds no rows; write one JSON object a line")

    def fetch(number: int) -> tuple[Any, str]:
        line_number, start = places[number]
        origin = f"{path.name}, line {line_number}"
        with path.open("rb") as file:
            file.seek(start)
            line = file.readline()
        try:
            return json.loads(line.decode("utf-8-sig")), origin
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadConfig(f"{origin}: this is not JSON in UTF-8; mend the line or leave it out") from error

    return DescribedImages(fetch, len(places), folder=path.parent)


def _load_dataset(source: str | Path, split: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the rows of {str(source)!r} need the package 'datasets'. Install it with: pip install 'plaudit[data]'"
        ) from error
    try:
        if isinstance(source, Path) and (source / "dataset_info.json").is_file():
            return datasets.load_from_disk(str(source))
        if isinstance(source, Path) and (source / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(source))[split]
        return datasets.load_dataset(str(source), split=split)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BadConfig(f"the data set {str(source)!r} has no rows {split!r} that can be read: {reason}") from error


def _row(content: Any, origin: str, folder: Path | None) -> DescribedImage:
    if not isinstance(content, Mapping):
        raise BadConfig(f"{origin}: a row is an object with image and detailed_caption, got {_kind(content)}")
    detailed = _text(content, "detailed_caption", origin)
    prompts = _prompts(content.get("augmented_prompts"), origin)
    brief = _text(content, "brief_caption", origin) if content.get("brief_caption") is not None or not prompts else ""
    if content.get("image") is None:
        raise BadConfig(f"{origin}: there is no image; give base64 or the name of a file")
    return DescribedImage(
        image=_image(content["image"], origin, folder), brief=brief, detailed=detailed, prompts=prompts, origin=origin
    )


def _text(content: Mapping[str, Any], name: str, origin: str) -> str:
    text = content.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadConfig(f"{origin}: {name} must be a text that says something, got {_kind(text)}")
    return text.strip()


def _prompts(said: Any, origin: str) -> dict[str, tuple[str, ...]]:
    """The ways that the row has, in the order of WAYS."""
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except json.JSONDecodeError as error:
            raise BadConfig(f"{origin}: augmented_prompts is a text that is not JSON") from error
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise BadConfig(f"{origin}: augmented_prompts must be an object with {', '.join(WAYS)}, got {_kind(said)}")
    found = {}
    for way in WAYS:
        texts = said.get(way)
        texts = [texts] if isinstance(texts, str) else [] if texts is None else texts
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise BadConfig(f"{origin}: {way} of augmented_prompts must be texts, got {_kind(texts)}")
        if kept := tuple(text.strip() for text in texts if text.strip()):
            found[way] = kept
    return found


def _image(said: Any, origin: str, folder: Path | None) -> bytes | Path:
    """The file's content or its name, from what JSON or a data set holds for an image."""
    if isinstance(said, Mapping):  # how `datasets` keeps images undecoded
        said = said.get("bytes") or said.get("path")
    if isinstance(said, bytes):
        return said
    if isinstance(said, str):
        if said.lower().endswith(PICTURES):
            return (folder or Path()) / said
        try:
            return base64.b64decode(said.partition(",")[2] if said.startswith("data:") else said, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadConfig(f"{origin}: its image is neither base64 nor a .jpg or .png file's name") from error
    if callable(save := getattr(said, "save", None)):  # and decoded, as PIL's
        kept = io.BytesIO()
        save(kept, format="PNG")
        return kept.getvalue()
    raise BadConfig(f"{origin}: its image must be base64 or the name of a file, got {_kind(said)}")


def _kind(found: Any) -> str:
    if found is None:
        return "nothing"
    return repr(found) if isinstance(found, str | int | float) else f"a {type(found).__name__}"
