"""Is the text that the prompt asks for in the picture? Read by PP-OCR, after Flow-GRPO's reward (Liu et al. 2025).

The text wanted is what stands in double quotes in the prompt. Spaces and case do not count. The score is 1 if what
was read contains it, else 1 - d / n: d is the edit distance between what was read and what was wanted, at most n,
the wanted text's length. Differs from the published code: everything in quotes counts, not only the first (the mean
of the scores), curly quotes are quotes, all white space is space, letters compare in Unicode's compatibility form;
a prompt without quotes scores 0 instead of stopping the run; what was read is put in reading order by us. The reader
is RapidOCR, whose models come inside its package.
"""

import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from plaudit.core.errors import MissingExtra

_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”')
_log = logging.getLogger("plaudit")


class Reader(Protocol):
    """Reads the text in a picture."""

    def __call__(self, pixels: Any) -> list[str]:
        """The pieces of text in an (H, W, 3) uint8 array, in reading order."""
        ...


class OcrMatch:
    """How much of the wanted text is in the picture, 0 to 1; without gradient. Keeps the Reward contract.

    The reader runs on the CPU, one picture at a time: a second or two each.
    """

    differentiable = False

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._warned = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against what their prompts have in quotes."""
        arrays = (images.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        scores = [self._score(pixels, prompt) for pixels, prompt in zip(arrays, prompts, strict=True)]
        return torch.tensor(scores, dtype=torch.float32, device=images.device)

    def _score(self, pixels: Any, prompt: str) -> float:
        wanted = wanted_texts(prompt)
        if not wanted:
            if not self._warned:
                _log.warning("plaudit: the prompt %r wants no text (nothing is in quotes): its score is 0", prompt)
            self._warned = True
            return 0.0
        read = plain("".join(self.reader(pixels)))
        return sum(match(read, text) for text in wanted) / len(wanted)


def wanted_texts(prompt: str) -> list[str]:
    """What stands in double quotes, straight or curly, in the form in which it is compared."""
    found = (plain(straight or curly) for straight, curly in _QUOTED.findall(prompt))
    return [text for text in found if text]


def plain(text: str) -> str:
    """The text without white space and differences of case and width, in which texts are compared."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def match(read: str, wanted: str) -> float:
    """1 if `wanted`, not empty, is within `read`, else 1 - d / n as the module says; both plain."""
    if wanted in read:
        return 1.0
    return 1.0 - min(edit_distance(read, wanted), len(wanted)) / len(wanted)


def edit_distance(first: str, second: str) -> int:
    """The fewest letters to insert, remove or replace that make one text the other (Levenshtein)."""
    before = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        now = [row]
        for column, other in enumerate(second, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (letter != other)))
        before = now
    return before[-1]


def reading_order(boxes: Sequence[tuple[float, float, float, float]]) -> list[int]:
    """Indices of boxes (left, top, right, bottom), line by line, each from left to right.

    A box belongs to a line if its middle is nearer to the line's first box's middle than half the lower of the two.
    """
    lines: list[list[int]] = []
    for index in sorted(range(len(boxes)), key=lambda it: _middle(boxes[it])):
        if lines and _on_one_line(boxes[lines[-1][0]], boxes[index]):
            lines[-1].append(index)
        else:
            lines.append([index])
    return [index for line in lines for index in sorted(line, key=lambda it: boxes[it][0])]


def _middle(box: tuple[float, float, float, float]) -> float:
    return (box[1] + box[3]) / 2


def _on_one_line(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    lower = min(first[3] - first[1], second[3] - second[1])
    return abs(_middle(first) - _middle(second)) < lower / 2


class RapidReader:
    """PP-OCR through RapidOCR; what it is less than half sure of does not count, as in PP-OCR itself."""

    def __init__(self) -> None:
        """Raises MissingExtra if RapidOCR is not installed."""
        try:
            from rapidocr import RapidOCR
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"'ocr' needs the package {error.name!r}. Install it with: pip install 'plaudit[ocr]'"
            ) from error
        # As many threads as the rest of the process uses: the reader's own choice is all cores.
        threads = "EngineConfig.onnxruntime.intra_op_num_threads"
        self._engine: Any = RapidOCR(params={"Global.log_level": "critical", threads: torch.get_num_threads()})

    def __call__(self, pixels: Any) -> list[str]:
        """The pieces of text in an (H, W, 3) uint8 RGB array, in reading order."""
        found = self._engine(pixels[:, :, ::-1].copy())  # it reads BGR
        if found.txts is None:
            return []
        boxes = [(*box.min(axis=0).tolist(), *box.max(axis=0).tolist()) for box in found.boxes]
        return [found.txts[index] for index in reading_order(boxes)]


def load_ocr(**_: object) -> OcrMatch:
    """A table row's reward; it runs on the CPU, so that the device does not matter. Raises MissingExtra."""
    return OcrMatch(RapidReader())
