"""DPG-Bench's scorer (Hu et al. 2024, ELLA): the share of a dense prompt's questions that are answered with yes.

A yes counts only if every question that it hangs on counts as well. Differs from the released evaluation: BLIP-VQA
answers, P(yes) above P(no) being a yes, where the release asks mPLUG-large and compares its words; numbers are
therefore near the published ones and not equal to them. The release also skips the first question of its CSV, and any
picture with a question that hangs on one that is not there; here no question is skipped.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.table import load_reward
from plaudit.rewards.vqa_score import BlipVqa
from plaudit.suites.dpg_bench_questions import Asker, Question, questions_of
from plaudit.suites.suite import Opinion, SuitePrompt

YES = 0.5
"""a score above it is a yes"""


class DpgScorer:
    """The share of questions that hold; right if all do. Keeps the Scorer contract.

    The parts of an opinion are the plain answers, 0 or 1, named "category: question"; `category_scores` sums them up.
    """

    def __init__(self, vqa: Asker) -> None:
        self.vqa = vqa

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
        """One opinion per image of images (B, 3, H, W) in [0, 1]. Raises BadConfig for prompts without questions."""
        asked = [questions_of(prompt.facts, prompt.text) for prompt in prompts]
        answers = self.vqa.yes_to_each(images, [[question.text for question in those] for those in asked])
        return [opinion_of(those, given.tolist()) for those, given in zip(asked, answers, strict=True)]


def dpg_scorer(*, vqa: Asker | str = "blip-vqa", device: torch.device | str | None = None) -> DpgScorer:
    """DPG-Bench's scorer; a name loads that reward to answer the questions. Raises as loading it does."""
    return DpgScorer(load_asker(vqa, device=device) if isinstance(vqa, str) else vqa)


def load_asker(name_or_path: str, *, device: torch.device | str | None = None) -> Asker:
    """The reward of that name, if it answers questions. Raises BadConfig if it does not."""
    vqa = load_reward(name_or_path, device=device)
    if not isinstance(vqa, BlipVqa):
        raise BadConfig(f"questions are answered by a BLIP such as 'blip-vqa', which {name_or_path!r} is not")
    return vqa


def holding(questions: Sequence[Question], yes: Mapping[int, bool]) -> dict[int, bool]:
    """By number: whether a question is answered with yes, and so is every one that it hangs on, all the way up."""
    held = dict(yes)
    while fallen := [q.number for q in questions if held[q.number] and not all(held[it] for it in q.parents)]:
        held.update(dict.fromkeys(fallen, False))
    return held


def opinion_of(questions: Sequence[Question], answers: Sequence[float]) -> Opinion:
    """What answers in [0, 1], one per question, say of a picture."""
    yes = {question.number: answer > YES for question, answer in zip(questions, answers, strict=True)}
    held = holding(questions, yes)
    parts: dict[str, float] = {}
    for question in questions:
        name = f"{question.broad}: {question.text}"
        parts[name if name not in parts else f"{name} ({question.number})"] = float(yes[question.number])
    return Opinion(
        score=sum(held.values()) / len(held),
        right=all(held.values()),
        reasons=tuple(
            f"no to {question.text!r}" if not yes[question.number] else f"{question.text!r} hangs on a no"
            for question in questions
            if not held[question.number]
        ),
        parts=parts,
    )


def category_scores(opinions: Iterable[Opinion]) -> dict[str, float]:
    """The share of plain yeses by broad category, over all questions of all pictures, as the release reports it."""
    answers: dict[str, list[float]] = {}
    for opinion in opinions:
        for name, yes in opinion.parts.items():
            answers.setdefault(name.partition(": ")[0], []).append(yes)
    return {category: sum(those) / len(those) for category, those in answers.items()}
