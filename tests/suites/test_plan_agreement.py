"""Plans held against their prompts, and pictures against their plans, on scenes whose truth is known."""

import numpy as np
import pytest
from pocket_toys import scene_for

from plaudit.core.errors import BadConfig
from plaudit.pocket.judge import read
from plaudit.pocket.plans import agrees, plan_of, read_plan, words_in, write_plan
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, Thing
from plaudit.suites.plan_agreement import plan_scores
from plaudit.suites.pocket_eval import pocket_eval_prompts

NUM_PROMPTS = {"counting": 3, "position": 2}


@pytest.fixture(scope="module")
def prompts():
    """Those of two tasks, no two alike."""
    every = pocket_eval_prompts()
    return [p for task, count in NUM_PROMPTS.items() for p in [p for p in every if p.request.task == task][:count]]


@pytest.fixture(scope="module")
def scenes(prompts):
    """One that is right for each prompt."""
    return [scene_for(prompt.request) for prompt in prompts]


@pytest.fixture(scope="module")
def seen(scenes):
    """What the judge sees in their pictures."""
    return read(render(scenes))


@pytest.fixture(scope="module")
def plans(scenes):
    rng = np.random.default_rng(3)
    return [write_plan(scene, rng) for scene in scenes]


def mean_of_tasks(values):
    """Of values of all prompts in order."""
    return pytest.approx((np.mean(values[:3]) + np.mean(values[3:])) / 2)


def test_right_plans_whose_pictures_were_drawn_score_full(plans, seen, prompts):
    found = plan_scores(plans, seen, prompts)
    assert all(it.value == 1 for it in (found.readable, found.meets, found.agrees, found.agrees_whole))
    assert found.readable.prompts == 5
    assert found.words.value == mean_of_tasks([len(words_in(plan)) for plan in plans])


def test_right_plans_with_the_pictures_of_others_meet_their_prompts_and_disagree(plans, seen, prompts):
    others = [*seen[1:], seen[0]]
    found = plan_scores(plans, others, prompts)
    shares = [agrees(read_plan(plan), scene) for plan, scene in zip(plans, others, strict=True)]
    assert (found.readable.value, found.meets.value, found.agrees_whole.value) == (1, 1, 0)
    assert found.agrees.value == mean_of_tasks(shares)
    assert 0 < found.agrees.value < 0.9


def test_plans_of_other_prompts_miss_theirs_though_the_pictures_show_them(plans, seen, prompts):
    found = plan_scores([*plans[1:], plans[0]], [*seen[1:], seen[0]], prompts)
    assert (found.readable.value, found.meets.value, found.agrees_whole.value) == (1, 0, 1)


def test_an_object_more_than_planned_is_no_whole_agreement(plans, scenes, prompts):
    more = Thing(shape="heart", colour="pink", x=32.0, y=32.0, radius=6.0)
    crowded = [Scene(background=scene.background, things=(*scene.things, more)) for scene in scenes]
    found = plan_scores(plans, crowded, prompts)
    assert found.agrees_whole.value == 0
    assert found.agrees.value == mean_of_tasks([1 - 1 / (2 + 4 * len(plan_of(scene).things)) for scene in scenes])


def test_a_plan_that_cannot_be_read_misses_its_prompt_and_says_nothing_of_its_picture(plans, seen, prompts):
    spoilt = ["a nice picture", "", *plans[2:]]
    found = plan_scores(spoilt, seen, prompts)
    assert found.readable.value == found.meets.value == mean_of_tasks([0, 0, 1, 1, 1])
    assert (found.agrees.value, found.agrees_whole.value) == (1, 1)
    assert (found.agrees.prompts, found.readable.prompts) == (3, 5)
    nothing = plan_scores(["?"] * 5, seen, prompts)
    assert (nothing.readable.value, nothing.meets.value) == (0, 0)
    assert nothing.agrees is nothing.agrees_whole is None
    assert nothing.words.value == 1


def test_pictures_of_one_prompt_count_as_one(plans, seen, prompts):
    twice = [0, 0, 0, 0, *range(5)]
    spoilt = ["?"] * 4 + plans
    found = plan_scores(spoilt, [seen[i] for i in twice], [prompts[i] for i in twice])
    assert found.readable.value == mean_of_tasks([1 / 5, 1, 1, 1, 1])
    assert found.readable.prompts == 5


def test_what_does_not_belong_together_is_one_sentence(plans, seen, prompts):
    with pytest.raises(BadConfig, match=r"a plan, a scene that was seen and a prompt; got 4, 5 and 5"):
        plan_scores(plans[1:], seen, prompts)
    with pytest.raises(BadConfig, match="there is no prompt"):
        plan_scores([], [], [])
