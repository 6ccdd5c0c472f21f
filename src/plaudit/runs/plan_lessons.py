"""The lessons in planning that a task names: the pocket world's own scenes, or rows of described pictures."""

import numpy as np
import torch

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.generators.described_images import DescribedImage, read_described
from plaudit.generators.plan_policy import PlanPolicy
from plaudit.methods.plan_sft import Lessons
from plaudit.pocket.plans import PlannedScene, draw_planned
from plaudit.pocket.render import render
from plaudit.presets.reasongen import SCENES, LessonsTask
from plaudit.suites.run import pocket

AT_ONCE = 32
"""pictures that are made tokens together"""


def load_lessons(task: LessonsTask, policy: PlanPolicy) -> Lessons:
    """The task's lessons, with their pictures as this model's tokens. Raises BadConfig for a broken one."""
    return _of_scenes(task, policy) if task.lessons == SCENES else _of_rows(task, policy)


def scenes_of(task: LessonsTask) -> list[PlannedScene]:
    """The scenes that lessons of the pocket world are of, with prompts and plans.

    No prompt is one of PocketEval's word by word; some are but for an opening "a photo of". Raises BadConfig without a
    count.
    """
    if task.count < 1:
        raise BadConfig("scenes have no end; say how many with --count")
    seed = int(torch.randint(2**31, (1,), generator=stream(task.config.seed, "scenes")))
    rng, tested = np.random.default_rng(seed), set(pocket().texts())
    drawn: list[PlannedScene] = []
    while len(drawn) < task.count:
        lesson = draw_planned(rng)
        if lesson.prompt not in tested:
            drawn.append(lesson)
    return drawn


def _of_scenes(task: LessonsTask, policy: PlanPolicy) -> Lessons:
    drawn = scenes_of(task)
    tokens = [
        policy.encode_images(render([it.scene for it in drawn[at : at + AT_ONCE]]).to(policy.device)).cpu()
        for at in range(0, len(drawn), AT_ONCE)
    ]
    return Lessons(
        prompts=tuple(it.prompt for it in drawn), plans=tuple(it.plan for it in drawn), tokens=torch.cat(tokens)
    )


def _of_rows(task: LessonsTask, policy: PlanPolicy) -> Lessons:
    rows = read_described(task.lessons)
    count = min(task.count, len(rows)) if task.count else len(rows)
    rng, size = np.random.default_rng(task.config.seed), policy.image_size
    prompts, plans, tokens = [], [], []
    for start in range(0, count, AT_ONCE):
        some = [rows[number] for number in range(start, min(start + AT_ONCE, count))]
        asked = [row.draw_prompt(rng) for row in some]
        for row, prompt in zip(some, asked, strict=True):
            _check_words(row, prompt, policy)
        prompts += asked
        plans += [row.detailed for row in some]
        images = torch.stack([row.picture(size, rng) for row in some])
        tokens.append(policy.encode_images(images.to(policy.device)).cpu())
    return Lessons(prompts=tuple(prompts), plans=tuple(plans), tokens=torch.cat(tokens))


def _check_words(row: DescribedImage, prompt: str, policy: PlanPolicy) -> None:
    """Raises BadConfig, with file and line, for words that the model cannot read: an update would stop at them."""
    try:
        policy.encode([prompt])
        policy.words_of([row.detailed], cut=True)
    except BadConfig as error:
        raise BadConfig(f"{row.origin}: {error}") from error
