"""The questions of DPG-Bench (Hu et al. 2024) and of the Davidsonian Scene Graph (Cho et al. 2024), which it follows.

Each prompt has yes-or-no questions that hang on each other: whether the cat is black is not asked of a picture without
a cat. Both benchmarks write one question to a line of a CSV; its columns' names are those of the rows here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from plaudit.core.errors import BadConfig


@dataclass(frozen=True, kw_only=True)
class Question:
    """One yes-or-no question about a picture."""

    number: int
    """within its prompt"""
    text: str
    parents: tuple[int, ...] = ()
    """numbers of the questions without whose yes it means nothing"""
    category: str = ""
    """as in "attribute - color"; what stands before " - " is the broad one"""

    @property
    def broad(self) -> str:
        """The category's first level: entity, attribute, relation, global, other."""
        return self.category.split("-")[0].strip() or "other"


class Asker(Protocol):
    """Answers questions about pictures, as BlipVqa does: a list per image (B, 3, H, W), of (Q,) scores in [0, 1].

    Above a half is a yes. An answer depends on its own picture and question only.
    """

    def yes_to_each(self, images: Tensor, questions: Sequence[Sequence[str]]) -> list[Tensor]: ...


def questions_of(facts: Mapping[str, Any], prompt: str) -> tuple[Question, ...]:
    """The questions under a prompt's fact "questions": Question, or rows of a CSV as mappings.

    Language models wrote these lists: that a question hangs on itself, or on one that is not there, is forgotten; of
    two with one number the later is asked, as in the release.
    Raises BadConfig if there are no questions.
    """
    rows = facts.get("questions") or ()
    if not rows:
        raise BadConfig(
            f"there are no questions for {prompt[:60]!r}; they come from the benchmark's CSV (dpg_bench.csv beside its "
            "prompts), and go into the prompt's facts under 'questions'"
        )
    by_number = {it.number: it for it in (row if isinstance(row, Question) else _question(row) for row in rows)}
    return tuple(
        replace(it, parents=tuple(parent for parent in it.parents if parent in by_number and parent != it.number))
        for it in by_number.values()
    )


def _question(row: Mapping[str, Any]) -> Question:
    try:
        number = int(row["proposition_id"])
        # 0 stands for "on nothing".
        parents = tuple(parent for parent in _numbers(row.get("dependency", "")) if parent != 0)
        text = str(row["question_natural_language"]).strip()
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(
            "a question needs a whole number in 'proposition_id' and a text in 'question_natural_language', "
            f"got {dict(row)}"
        ) from error
    if not text:
        raise BadConfig(f"question {number} is empty")
    # As in "attribute - color (apple, red)".
    category = str(row.get("tuple") or row.get("category_broad") or "").split("(")[0].strip()
    return Question(number=number, text=text, parents=parents, category=category)


def _numbers(said: Any) -> list[int]:
    """The whole numbers of a column such as "1,3"; words between them, which real lists have, say nothing."""
    if isinstance(said, int):
        return [said]
    parts = said.split(",") if isinstance(said, str) else [str(part) for part in said]
    return [int(part) for part in parts if part.strip().isdecimal()]
