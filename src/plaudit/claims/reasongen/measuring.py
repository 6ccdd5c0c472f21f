"""Pictures of PocketEval's prompts by one model, and all that is said about them and the plans they were drawn after.

A picture's random numbers depend on seed, prompt and number alone, so every model is asked for the same pictures: with
a plan or without, the same numbers draw its tokens. A look at some prompts sees the first of those that are drawn in
the end. Shape letters: P prompts, I images of each.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.claims.reasongen.models import Bench
from plaudit.claims.reasongen.plan import Asking, Measure
from plaudit.claims.scored_pictures import raw_scores
from plaudit.core.whole_files import write_whole
from plaudit.generators.plan_policy import PlanPolicy, Response
from plaudit.generators.plan_rollout import draw_responses
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import uniforms_for
from plaudit.pocket.judge import judge
from plaudit.pocket.plans import plan_of, say_plan
from plaudit.pocket.scenes import UNCLEAR, Scene
from plaudit.rewards.reward import Reward
from plaudit.runs.files import write_json
from plaudit.runs.looks import sheet
from plaudit.runs.provenance import png_bytes
from plaudit.suites.diversity import in_group_distance
from plaudit.suites.plan_agreement import plan_verdict
from plaudit.suites.pocket_eval import EvalPrompt
from plaudit.suites.run import pocket

BATCH = 64
"""pictures drawn at once; does not change them"""
COLUMNS = 24
"""of a sheet: every prompt's first picture, row by row"""

Keys = Sequence[tuple[int | str, ...]]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pictures of all prompts, prompt by prompt."""

    images: Tensor
    """(P * I, 3, H, W)"""
    plans: tuple[str, ...] | None
    """of each; None where none was to be written"""
    seconds: float
    """of drawing, an image"""


class Panel:
    """All who look at pictures, loaded once."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.suite = bench, pocket()

    @cached_property
    def rewards(self) -> Mapping[str, Reward]:
        """By name; those behind the first are trained on by nothing."""
        return {name: self.bench.load_one(name, device=self.bench.device) for name in self.bench.judged_by}

    def prompts(self, measure: Measure) -> list[EvalPrompt]:
        """The measure's, in the suite's order."""
        return [self.suite.prompts[place] for place in self.suite.spread(measure.prompts)]

    def draw(self, policy: PlanPolicy, measure: Measure, seed: int) -> Drawn:
        """The measure's pictures."""
        rows = [(prompt, image) for prompt in self.prompts(measure) for image in range(measure.images)]
        images: list[Tensor] = []
        plans: list[str] = []
        seconds = 0.0
        for at in range(0, len(rows), BATCH):
            part = rows[at : at + BATCH]
            keys = [(seed, "eval", prompt.index, image) for prompt, image in part]
            started = time.monotonic()
            response, drawn = respond(policy, [prompt.text for prompt, _ in part], keys, measure)
            seconds += time.monotonic() - started
            images.append(drawn)
            plans += policy.read_words(response.words, response.written)
        return Drawn(
            images=torch.cat(images), plans=tuple(plans) if measure.plan else None, seconds=seconds / len(rows)
        )

    def say(self, drawn: Drawn, measure: Measure) -> dict[str, Any]:
        """All that is said of the pictures and their plans, as JSON types."""
        prompts = self.prompts(measure)
        asked = [prompt for prompt in prompts for _ in range(measure.images)]
        verdicts = [
            one
            for at in range(0, len(asked), BATCH)
            for one in judge(drawn.images[at : at + BATCH], [prompt.request for prompt in asked[at : at + BATCH]])
        ]
        seen, texts = [verdict.seen for verdict in verdicts], [prompt.text for prompt in asked]
        each = measure.images
        return {
            "prompts": [prompt.index for prompt in prompts],
            "right": [verdict.right for verdict in verdicts],
            "rewards": raw_scores(self.rewards, drawn.images, texts, batch=BATCH, device=self.bench.device),
            "distance": in_group_distance(drawn.images, each).tolist() if each > 1 else None,
            "plans": None if drawn.plans is None else said_of_plans(drawn.plans, seen, asked),
            "seen": [in_words(scene) for scene in seen],
            "seconds": drawn.seconds,
            "measure": asdict(measure),
        }


def respond(
    policy: PlanPolicy, prompts: Sequence[str], keys: Keys, measure: Measure
) -> tuple[Response, Tensor]:  # fmt: skip
    """Responses to B prompts in the measure's way, each by its own key's numbers, and the images (B, 3, H, W)."""
    encoder: Any = policy if measure.plan else policy.direct
    response = draw_responses(
        policy, encoder.encode(list(prompts)), uniforms_for(list(keys), policy.max_words + policy.num_tokens),
        words=Sampling(), image=Sampling(guidance=measure.guidance, temperature=measure.temperature),
        plans=None if measure.plan else policy.words_of([""] * len(prompts)),
    )  # fmt: skip
    with torch.no_grad():
        return response, policy.decode(response.tokens).cpu()


def said_of_plans(plans: Sequence[str], seen: Sequence[Scene], prompts: Sequence[EvalPrompt]) -> dict[str, list[Any]]:
    """The plans, and what can be said of each, by the names in a PlanVerdict."""
    found = [asdict(plan_verdict(*one)) for one in zip(plans, seen, (it.request for it in prompts), strict=True)]
    return {"texts": list(plans), **{name: [one[name] for one in found] for name in found[0]}}


def in_words(scene: Scene) -> str:
    """What the judge saw, as a plan would say it; a list where no plan can."""
    try:
        return say_plan(plan_of(scene), 0)
    except ValueError:
        things = [f"{thing.colour} {thing.shape if thing.shape != UNCLEAR else 'thing'}" for thing in scene.things]
        return f"on a {scene.background} background: {', '.join(things) or 'nothing'}"


def measure_into(file: Path, policy: PlanPolicy, measure: Measure, *, seed: int, panel: Panel) -> None:
    """Draw, ask, and leave `file` (JSON) last, beside every prompt's first picture."""
    drawn = panel.draw(policy, measure, seed)
    found = panel.say(drawn, measure)
    write_whole(file.with_suffix(".png"), png_bytes(first_pictures(drawn.images, measure.images)))
    write_json(file, found)


def ask_into(file: Path, policy: PlanPolicy, asking: Asking, bench: Bench) -> None:
    """Ask, and leave `file` (JSON): whether each answer is right, and the seconds of one."""
    started = time.monotonic()
    right = bench.ask(policy, count=asking.questions)
    write_json(file, {"right": right, "seconds": (time.monotonic() - started) / max(1, len(right))})


def first_pictures(images: Tensor, each: int) -> Tensor:
    """A sheet of COLUMNS columns: of each prompt's pictures, `each` one behind the other, the first."""
    first = images[::each]
    missing = math.ceil(len(first) / COLUMNS) * COLUMNS - len(first)
    return sheet(torch.cat([first, first.new_ones(missing, *first.shape[1:])]), COLUMNS)


def timed(policy: PlanPolicy, prompts: Sequence[str], ways: Sequence[Measure], *, times: int) -> dict[str, list[float]]:
    """Seconds per image in each way, by its name, `times` times over; in turns, so that all meet the same load."""
    texts = (list(prompts) * BATCH)[:BATCH]
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(times):
        keys = [("timing", number, place) for place in range(BATCH)]
        for way in ways:
            started = time.monotonic()
            respond(policy, texts, keys, way)
            found[way.name].append((time.monotonic() - started) / BATCH)
    return found
