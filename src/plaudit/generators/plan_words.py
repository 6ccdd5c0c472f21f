"""The words of a model that writes plans: its tokenizer, the frames that prompts stand in, and the signs between them.

A model's folder may say its own frames in plan.json; what it leaves out is as published for Janus-Pro (Chen et al.
2025), and for its plans for ReasonGen-R1 (Zhang et al. 2025).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.plan_policy import Texts

SETTINGS_FILE = "plan.json"
_HOLES = {"planning": "{prompt}", "direct": "{prompt}", "plan": "{plan}"}


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How a model is spoken to."""

    planning: str = "<|User|>: {prompt}. Output a richly detailed prompt:\n\n<|Assistant|>:"
    """around a prompt for which a plan shall be written"""
    direct: str = "<|User|>: {prompt}\n\n<|Assistant|>:"
    """around a prompt that shall be drawn at once"""
    plan: str = " {plan}"
    """around a plan"""
    question: str = (
        "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
        "provides, and assist the user with a variety of tasks using natural language.\n\n"
        "<|User|>: {image}\n{question}\n\n<|Assistant|>:"
    )
    """around a question about an image"""
    yes: tuple[str, ...] = ("Yes", "yes")
    """how an answer begins that says so"""
    no: tuple[str, ...] = ("No", "no")
    max_words: int = 448
    """of a plan, its begin-of-image among them"""
    max_prompt: int = 157
    """words of a prompt in its frame; longer prompts are cut"""

    def __post_init__(self) -> None:
        holes = {**{name: (hole,) for name, hole in _HOLES.items()}, "question": ("{image}", "{question}")}
        for name, wanted in holes.items():
            if any(getattr(self, name).count(hole) != 1 for hole in wanted):
                raise BadConfig(f"{name} must hold {' and '.join(wanted)} once, got {getattr(self, name)!r}")
        if self.max_words < 1 or self.max_prompt < 1:
            raise BadConfig(f"max_words and max_prompt must be at least 1, got {self.max_words} and {self.max_prompt}")


def read_settings(folder: Path) -> PlanSettings:
    """What the folder's plan.json says. Raises BadConfig if it is damaged or says other things than there are."""
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return PlanSettings()
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} is damaged: it is not JSON") from error
    known = {field.name for field in fields(PlanSettings)}
    if not isinstance(found, dict) or set(found) - known:
        raise BadConfig(f"{file} may say {', '.join(sorted(known))}; got {found!r}")
    said: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in found.items()}
    try:
        return PlanSettings(**said)
    except (TypeError, AttributeError) as error:
        raise BadConfig(f"{file} says a setting as what it is not: {error}") from error


def settings_text(settings: PlanSettings) -> str:
    """What `read_settings` reads."""
    return json.dumps(asdict(settings), indent=2) + "\n"


class PlanWords:
    """Texts into words and back."""

    def __init__(self, tokenizer: Any, settings: PlanSettings, *, said: Mapping[str, int | None], count: int) -> None:
        """`said`: numbers of signs that the model's configuration knows, for those that the tokenizer does not name.

        `count`: of words that the model foretells. Raises BadConfig if a sign is nowhere, or beyond these.
        """
        self.tokenizer, self.settings = tokenizer, settings
        self.begin = _sign("bos", "begin-of-sentence", tokenizer, said, count)
        self.end = _sign("eos", "end-of-sentence", tokenizer, said, count)
        self.padding = _sign("pad", "padding", tokenizer, said, count)
        self.begin_of_image = _sign("boi", "begin-of-image", tokenizer, said, count)
        self.end_of_image = _named(tokenizer, "eoi")
        self.image = _named(tokenizer, "image")
        self.max_words = settings.max_words
        self.writable = _writable(tokenizer, count)
        self.writable[[self.begin, self.end, self.padding]] = False
        self.writable[self.begin_of_image] = True
        self._signs = tuple(sorted(map(str, tokenizer.all_special_tokens), key=len, reverse=True))

    def prompts(self, prompts: Sequence[str], frame: str) -> Texts:
        """The prompts in their frame, "planning" or "direct". Raises BadConfig for one that holds a sign.

        A full stop at a prompt's end goes where the frame has its own behind it.
        """
        shape: str = getattr(self.settings, frame)
        stripped = [prompt.strip() for prompt in prompts]
        if "{prompt}." in shape:
            stripped = [prompt.rstrip(".") for prompt in stripped]
        for prompt in stripped:
            self.check_plain(prompt, "prompt")
        return self.padded([[self.begin, *self._framed(shape, prompt)] for prompt in stripped])

    def padded(self, rows: Sequence[Sequence[int]]) -> Texts:
        """Rows of words, padding first."""
        longest = max(map(len, rows), default=0)
        ids = torch.full((len(rows), longest), self.padding)
        mask = torch.zeros((len(rows), longest), dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = torch.tensor(row)
            mask[index, longest - len(row) :] = True
        return Texts(ids=ids, mask=mask)

    def plans(self, plans: Sequence[str], *, cut: bool) -> tuple[Tensor, Tensor]:
        """As a PlanPolicy's `words_of`."""
        words = torch.full((len(plans), self.max_words), self.begin_of_image)
        written = torch.zeros(words.shape, dtype=torch.bool)
        for index, plan in enumerate(plans):
            found = self._plan(plan, cut=cut)
            words[index, : len(found)] = torch.tensor(found)
            written[index, : len(found)] = True
        return words, written

    def texts(self, words: Tensor, written: Tensor) -> list[str]:
        """As a PlanPolicy's `read_words`."""
        plain = written & (words != self.begin_of_image)
        return [self.text(row[kept].tolist()) for row, kept in zip(words.cpu(), plain.cpu(), strict=True)]

    def text(self, ids: Sequence[int]) -> str:
        """Without signs, and without the space that a plan or answer begins with."""
        found: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return found.strip()

    def ids(self, text: str) -> list[int]:
        """Words of a text, nothing added."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def check_plain(self, text: str, what: str) -> None:
        """Raises BadConfig for a text that holds one of the model's signs, which would be read as it."""
        sign = next((sign for sign in self._signs if sign in text), None)
        if sign is not None:
            raise BadConfig(f"the {what} {text!r} holds {sign!r}, which is a sign to this model; leave it out")

    def _framed(self, shape: str, prompt: str) -> list[int]:
        ids, room = self.ids(shape.replace("{prompt}", prompt)), self.settings.max_prompt - 1
        if len(ids) <= room:
            return ids
        kept = self.ids(prompt)[: max(0, room - len(self.ids(shape.replace("{prompt}", ""))))]
        # Cut words may join otherwise than they did, to one more than there is room for.
        return self.ids(shape.replace("{prompt}", self.text(kept)))[:room]

    def _plan(self, plan: str, *, cut: bool) -> list[int]:
        plan = plan.strip()
        self.check_plain(plan, "plan")
        ids = self.ids(self.settings.plan.replace("{plan}", plan)) if plan else []
        if len(ids) >= self.max_words and not cut:
            raise BadConfig(
                f"the plan {plan[:60]!r} has {len(ids)} words as the model counts, and it reads no more than "
                f"{self.max_words - 1}; shorten it"
            )
        if any(not self.writable[word] for word in ids):
            raise BadConfig(
                f"the plan {plan[:60]!r} says {self._unknown(plan)!r}, which is no word of this model; say it in those "
                "that it writes"
            )
        return [*ids[: self.max_words - 1], self.begin_of_image]

    def _unknown(self, plan: str) -> str:
        """What in the plan is no word that may be written."""
        read = self.tokenizer(plan, add_special_tokens=False, return_offsets_mapping=True)
        places = zip(read["input_ids"], read["offset_mapping"], strict=True)
        return next((plan[start:end] for word, (start, end) in places if not self.writable[word]), plan)


def _named(tokenizer: Any, name: str) -> int | None:
    """The number of a sign that the tokenizer names, such as its boi_token."""
    text = tokenizer.special_tokens_map.get(f"{name}_token")
    return None if text is None else int(tokenizer.convert_tokens_to_ids(str(text)))


def _sign(name: str, words: str, tokenizer: Any, said: Mapping[str, int | None], count: int) -> int:
    found = _named(tokenizer, name)
    found = said.get(name) if found is None else found
    if found is None:
        raise BadConfig(f"neither tokenizer nor configuration of this model say which word is {words} ({name}_token)")
    if not 0 <= found < count:
        raise BadConfig(f"{words} is word {found} of a model that knows {count}")
    return found


def _writable(tokenizer: Any, count: int) -> Tensor:
    """(U,) bool: words with a text that are no sign. Models foretell more, behind the tokenizer's last."""
    found = torch.zeros(count, dtype=torch.bool)
    known = torch.tensor([number for number in tokenizer.get_vocab().values() if number < count])
    found[known] = True
    signs = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    found[[number for number in signs | set(tokenizer.all_special_ids) if number < count]] = False
    return found
