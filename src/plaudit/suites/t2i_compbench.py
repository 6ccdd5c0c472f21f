"""T2I-CompBench's scorer (Huang et al. 2023): attributes by BLIP-VQA, space and number by a detector, deeds by CLIP.

Differs from the released evaluation. Things are found by an open-vocabulary detector, OWLv2, where the release has
UniDet; noun phrases are read by rule, not by a parser; CLIP is ViT-L/14, not B/32, and reads complex prompts with
their adjectives, while the detector is asked for their things without. Scores are therefore near the published ones
and not equal to them: compare what one scorer says. All of them are graded; nothing is right or wrong. 3D relations,
which need a map of depth, are refused.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.table import load_reward
from plaudit.rewards.vqa_score import ask_each_phrase
from plaudit.suites.detectors import Detection, Detector, load_detector
from plaudit.suites.dpg_bench import load_asker
from plaudit.suites.dpg_bench_questions import Asker
from plaudit.suites.suite import Opinion, SuitePrompt
from plaudit.suites.t2i_compbench_phrases import (
    Part,
    Relation,
    counts_in,
    parts_of_complex,
    relation_in,
    without_adjectives,
)
from plaudit.suites.t2i_compbench_rules import numeracy_parts, spatial_parts, spatial_score

MEASURES: dict[str, str] = {
    "color": "attribute",
    "shape": "attribute",
    "texture": "attribute",
    "spatial": "spatial",
    "numeracy": "numeracy",
    "non_spatial": "non_spatial",
    "complex": "complex",
}
"""what each category of prompts is scored by"""
MODELS = {"attribute": "vqa", "spatial": "detector", "numeracy": "detector", "non_spatial": "clip"}
"""which model each measure asks; complex prompts take those of what they are about"""
THRESHOLD = 0.2
"""a thing is there if its detection is surer than this; ours, for OWLv2"""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One measure of one image."""

    score: float
    reasons: tuple[str, ...] = ()
    parts: dict[str, float] = field(default_factory=dict)


class CompBenchScorer:
    """A graded score in [0, 1] by the prompt's category. Keeps the Scorer contract."""

    def __init__(
        self,
        detector: Detector | str,
        vqa: Asker | str,
        clip: ClipTowers | str,
        *,
        questions: Callable[[str], Sequence[str]] = ask_each_phrase,
        threshold: float = THRESHOLD,
        device: torch.device | str | None = None,
    ) -> None:
        """A model that is given by its name is loaded when a measure first asks it.

        `questions`: what is asked of a prompt's attributes; the score is the product of the answers.
        """
        self._named = detector, vqa, clip
        self._device = device
        self.questions = questions
        self.threshold = threshold
        self._measures = {
            "attribute": self._attributes,
            "spatial": self._spatial,
            "numeracy": self._numeracy,
            "non_spatial": self._non_spatial,
            "complex": self._complex,
        }

    @functools.cached_property
    def detector(self) -> Detector:
        """Finds things. Raises as loading it does."""
        detector = self._named[0]
        return load_detector(detector, device=self._device) if isinstance(detector, str) else detector

    @functools.cached_property
    def vqa(self) -> Asker:
        """Answers questions. Raises as loading it does."""
        vqa = self._named[1]
        return load_asker(vqa, device=self._device) if isinstance(vqa, str) else vqa

    @functools.cached_property
    def clip(self) -> ClipTowers:
        """Scores deeds. Raises as loading it does, and BadConfig for what is no CLIP score."""
        clip = self._named[2]
        towers = load_reward(clip, device=self._device) if isinstance(clip, str) else clip
        if not isinstance(towers, ClipTowers):
            raise BadConfig(f"deeds are scored by a CLIP score, which {clip!r} is not; take one such as 'clip-vit-l14'")
        return towers

    def get_ready(self, prompts: Sequence[SuitePrompt]) -> None:
        """Load the models that these prompts take. Raises as loading them does, BadConfig for what has no rule."""
        needed = {MODELS[part] for prompt in prompts for part in _parts_of(prompt)}
        for model in sorted(needed):
            getattr(self, model)

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
        """One opinion per image of images (B, 3, H, W) in [0, 1]. Raises BadConfig for a category without a rule."""
        measures = [measure_of(prompt) for prompt in prompts]
        opinions: dict[int, Opinion] = {}
        for measure in dict.fromkeys(measures):
            rows = [row for row, other in enumerate(measures) if other == measure]
            scored = self._measures[measure](images[rows], [prompts[row].text for row in rows])
            for row, one in zip(rows, scored, strict=True):
                opinions[row] = Opinion(score=one.score, right=None, reasons=one.reasons, parts=one.parts)
        return [opinions[row] for row in range(len(prompts))]

    def _attributes(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        """The product of P(yes) of each question."""
        asked = [list(self.questions(prompt)) for prompt in prompts]
        scored = []
        for questions, answers in zip(asked, self.vqa.yes_to_each(images, asked), strict=True):
            answered = list(zip(questions, answers.tolist(), strict=True))
            parts = {f"{row}. {question}": yes for row, (question, yes) in enumerate(answered, start=1)}
            doubts = tuple(f"no to {question!r}" for question, yes in answered if yes <= 0.5)
            scored.append(Scored(score=float(answers.prod()), reasons=doubts, parts=parts))
        return scored

    def _spatial(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        return self._places(images, [_place_in(prompt) for prompt in prompts])

    def _places(self, images: Tensor, relations: Sequence[Relation]) -> list[Scored]:
        found = self._find(images, [list(dict.fromkeys((it.first, it.second))) for it in relations])
        scored = []
        for relation, those in zip(relations, found, strict=True):
            parts = spatial_parts(those, relation, picture=float(max(images.shape[-2:])))
            reasons = tuple(f"no {name}" if number < 2 else f"not: {name}" for number, name in _zeros(parts))
            scored.append(Scored(score=spatial_score(parts), reasons=reasons, parts=parts))
        return scored

    def _numeracy(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        counts = [counts_in(prompt) for prompt in prompts]
        for prompt, wanted in zip(prompts, counts, strict=True):
            if not wanted:
                raise BadConfig(f"{prompt!r} names no number of things, as in 'two cats and three dogs'")
        scored = []
        for those, wanted in zip(self._find(images, [list(it) for it in counts]), counts, strict=True):
            parts = numeracy_parts(those, wanted)
            reasons = tuple(f"not: {name}" for name, part in parts.items() if part < 1)
            scored.append(Scored(score=sum(parts.values()) / len(parts), reasons=reasons, parts=parts))
        return scored

    def _non_spatial(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        """The cosine of picture and prompt, at least 0."""
        cosine = (self.clip.embed_images(images) * self.clip.embed_texts(prompts)).sum(dim=-1)
        return [Scored(score=value, parts={"clip": value}) for value in cosine.clamp(0, 1).tolist()]

    def _complex(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        """The mean of those measures that a prompt is about."""
        kinds: list[tuple[Part, ...]] = [parts_of_complex(prompt) for prompt in prompts]
        scored: list[list[Scored]] = [[] for _ in prompts]
        measures = {"attribute": self._attributes, "spatial": self._bare_places, "non_spatial": self._non_spatial}
        for name, measure in measures.items():
            rows = [row for row, parts in enumerate(kinds) if name in parts]
            if rows:
                made = measure(images[rows], [prompts[row] for row in rows])
                for row, one in zip(rows, made, strict=True):
                    scored[row].append(one)
        return [_mean(parts, those) for parts, those in zip(kinds, scored, strict=True)]

    def _bare_places(self, images: Tensor, prompts: Sequence[str]) -> list[Scored]:
        """A complex prompt's things without the adjectives, which BLIP is asked about."""
        return self._places(images, [without_adjectives(_place_in(prompt)) for prompt in prompts])

    def _find(self, images: Tensor, labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        found = self.detector(images, labels)
        return [[one for one in those if one.score > self.threshold] for those in found]


def t2i_compbench_scorer(
    *,
    detector: Detector | str = "owlv2-base",
    vqa: Asker | str = "blip-vqa",
    clip: ClipTowers | str = "clip-vit-l14",
    questions: Callable[[str], Sequence[str]] = ask_each_phrase,
    device: torch.device | str | None = None,
) -> CompBenchScorer:
    """T2I-CompBench's scorer; of a name, that detector, BLIP or CLIP score is loaded when a prompt first takes it."""
    return CompBenchScorer(detector, vqa, clip, questions=questions, device=device)


def measure_of(prompt: SuitePrompt) -> str:
    """What a prompt's category is scored by. Raises BadConfig if nothing does."""
    name = prompt.category.lower().replace("-", "_").replace(" ", "_").replace("colour", "color")
    if name not in MEASURES:
        raise BadConfig(
            f"T2I-CompBench's scorer has no rule for {prompt.category!r} prompts; it has them for {', '.join(MEASURES)}"
        )
    return MEASURES[name]


def _parts_of(prompt: SuitePrompt) -> tuple[str, ...]:
    """The measures that a prompt's score is made of."""
    measure = measure_of(prompt)
    return parts_of_complex(prompt.text) if measure == "complex" else (measure,)


def _place_in(prompt: str) -> Relation:
    """The relation that a prompt tells. Raises BadConfig if it tells none."""
    if (relation := relation_in(prompt)) is None:
        raise BadConfig(
            f"{prompt!r} tells no place that can be measured; prompts of space are such as 'a cat on the left of a "
            "dog', with 'on the right of', 'on the top of', 'on the bottom of', 'next to' or 'near'"
        )
    return relation


def _zeros(parts: dict[str, float]) -> list[tuple[int, str]]:
    """Which parts are nothing: 0 and 1 are the things, 2 is their place, which is nothing to say without them."""
    missing = [(number, name) for number, (name, part) in enumerate(parts.items()) if part == 0]
    return [one for one in missing if one[0] < 2] or missing


def _mean(names: Sequence[Part], those: Sequence[Scored]) -> Scored:
    parts = {
        f"{name}: {key}": value for name, one in zip(names, those, strict=True) for key, value in one.parts.items()
    }
    return Scored(
        score=sum(one.score for one in those) / len(those),
        reasons=tuple(reason for one in those for reason in one.reasons),
        parts=parts,
    )
