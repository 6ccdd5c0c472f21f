import dataclasses

import numpy as np
import pytest
import torch
from pocket_toys import Closeness, Revealer, picture_for, scene_for

from plaudit.core.errors import BadConfig
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.pocket.render import render
from plaudit.suites.pocket_eval import CHANCE, STRICT_CHANCE, pocket_eval_prompts
from plaudit.suites.run import Judged, draw_and_judge, pocket, pocket_opinion, rows_to_draw, score
from plaudit.suites.table import SUITES


@pytest.fixture(scope="module")
def suite():
    """Two prompts of every task, seen and unseen where there are both."""
    every = pocket().prompts
    chosen = [p for task in {p.request.task: None for p in every} for p in _two_of(every, task)]
    return dataclasses.replace(pocket(), prompts=tuple(chosen))


def _two_of(prompts, task):
    of_task = [p for p in prompts if p.request.task == task]
    unseen = [p for p in of_task if p.unseen]
    return [next(p for p in of_task if not p.unseen), unseen[0] if unseen else of_task[1]]


def all_judged(suite, generator, rows, **settings):
    found = draw_and_judge(suite, generator, rows, **settings)
    return sorted((one for batch, _ in found for one in batch), key=lambda one: one.row)


def test_the_row_of_the_table_is_the_suite():
    suite = SUITES.find("pocket").build()
    assert len(suite.prompts) == SUITES.find("pocket").facts["prompts"] == 553


def test_a_scene_drawn_as_asked_is_right_and_another_prompts_scene_is_not(suite):
    pictures = torch.stack([picture_for(prompt.text) for prompt in suite.prompts])
    assert all(verdict.right for verdict in suite.judge(pictures, suite.prompts))
    wrong = suite.judge(pictures.roll(5, dims=0), suite.prompts)
    assert sum(verdict.right for verdict in wrong) <= 2
    assert all(verdict.reasons for verdict in wrong if not verdict.right)


def test_verdicts_do_not_depend_on_batch_size_or_on_what_else_is_drawn(suite):
    rows = rows_to_draw(suite, num_prompts=None, images_per_prompt=3)
    whole = all_judged(suite, Revealer(), rows, images_per_prompt=3)
    assert {one.right for one in whole} == {True, False}
    parts = [all_judged(suite, Revealer(), part, images_per_prompt=3, batch_size=5) for part in (rows[20:], rows[:20])]
    assert [*parts[1], *parts[0]] == whole


def test_another_seed_draws_other_pictures(suite):
    rows = rows_to_draw(suite, num_prompts=None, images_per_prompt=2)
    images = [
        torch.cat([i for _, i in draw_and_judge(suite, Revealer(), rows, images_per_prompt=2, seed=seed)])
        for seed in (0, 1)
    ]
    assert not torch.allclose(*images)


def test_a_method_is_judged_by_its_best_images(suite):
    generator, config = Revealer(), RenoConfig(steps=12, lr=0.5, images_per_prompt=2, batch_size=7)

    def draw(prompts, only):
        return optimise_noise(generator, Closeness(), prompts, config, only=only)

    rows = rows_to_draw(suite, num_prompts=None, images_per_prompt=2)
    plain = all_judged(suite, generator, rows, images_per_prompt=2)
    searched = all_judged(suite, generator, rows, images_per_prompt=2, draw=draw)
    assert [one.row for one in searched] == rows
    assert score(searched).accuracy.value > score(plain).accuracy.value + 0.2


def test_a_subset_keeps_every_task_and_the_prompts_own_places():
    suite = pocket()
    rows = rows_to_draw(suite, num_prompts=24, images_per_prompt=4)
    assert len(rows) == 96
    assert len({suite.prompts[row // 4].request.task for row in rows}) == 6
    assert rows[-1] == 553 * 4 - 1


def test_finished_rows_are_not_drawn_again(suite):
    assert rows_to_draw(suite, num_prompts=None, images_per_prompt=1, done=range(10)) == [10, 11]


@pytest.mark.parametrize("count", [0, -1, 554])
def test_a_suite_has_so_many_prompts_and_no_more(count):
    with pytest.raises(BadConfig, match="553"):
        rows_to_draw(pocket(), num_prompts=count, images_per_prompt=1)


def verdict(prompt, image, task, right, *, unseen=False):
    return Judged(
        row=prompt * 2 + image, prompt_index=prompt, image_index=image, prompt="", category=task, unseen=unseen,
        right=right, reasons=(),
    )  # fmt: skip


def test_accuracy_is_the_mean_of_the_tasks_accuracies():
    judged = [verdict(p, i, "counting", p < 2) for p in range(3) for i in range(2)]
    judged += [verdict(3, i, "position", False) for i in range(2)]
    found = score(judged)
    assert found.accuracy.value == pytest.approx((2 / 3 + 0) / 2)
    assert found.tasks["counting"].value == pytest.approx(2 / 3)
    assert (found.accuracy.prompts, found.images) == (4, 8)
    assert found.seen is found.unseen is None


def test_seen_prompts_are_those_of_the_tasks_that_have_unseen_ones():
    judged = [verdict(0, 0, "counting", False), verdict(1, 0, "position", True)]
    judged += [verdict(2, 0, "position", False, unseen=True)]
    found = score(judged)
    assert found.seen.value == 1.0
    assert found.seen.prompts == 1
    assert found.unseen.value == 0.0


def test_nothing_judged_is_no_score():
    with pytest.raises(BadConfig, match="nothing was judged"):
        score([])


def test_partial_credit_is_the_share_of_requirements_that_hold(suite):
    prompts = [p for p in suite.prompts if p.request.task == "color_attr"]
    (first, second), prompt = prompts[0].request.wanted, prompts[0]
    half = dataclasses.replace(prompt.request, task="colors", wanted=(first,), relation=None)
    picture = render([scene_for(half)])
    (opinion,) = suite.judge(picture, [prompt])
    assert opinion.right is False
    # The first object is there and has its colour; the second is not there.
    assert opinion.score == (0.5 if first.shape != second.shape else 0.75)
    assert list(opinion.parts.values()).count(1.0) == len(opinion.parts) * opinion.score


def test_all_that_is_right_has_full_credit_and_nothing_else_has(suite):
    pictures = torch.stack([picture_for(prompt.text) for prompt in suite.prompts])
    every = [*suite.judge(pictures, suite.prompts), *suite.judge(pictures.roll(3, dims=0), suite.prompts)]
    assert {it.right for it in every} == {True, False}
    assert all((it.score == 1) == it.right for it in every)


def test_chance_is_what_faultless_pictures_of_other_prompts_get():
    prompts = pocket_eval_prompts()
    scenes = [scene_for(prompt.request) for prompt in prompts]
    said = [(p, pocket_opinion(scenes[(p.index + turn) % 553], p)) for turn in (1, 137, 291, 400) for p in prompts]
    tasks = {prompt.category for prompt in prompts}
    means = [[(it.score, it.right) for p, it in said if p.category == task] for task in tasks]
    score, right = np.mean([np.mean(of_task, axis=0) for of_task in means], axis=0)
    assert score == pytest.approx(CHANCE, abs=0.02)
    assert right == pytest.approx(STRICT_CHANCE, abs=0.015)


def scored(prompt, category, values, *, right=None, parts=()):
    return [
        Judged(
            row=prompt * 9 + image, prompt_index=prompt, image_index=image, prompt="", category=category, unseen=False,
            right=right, reasons=(), score=value, parts=dict(parts),
        )
        for image, value in enumerate(values)
    ]  # fmt: skip


def test_the_overall_score_is_the_mean_of_prompts_or_of_categories():
    judged = [*scored(0, "a", [1.0, 3.0]), *scored(1, "a", [4.0]), *scored(2, "b", [-3.0])]
    by_prompt, by_category = (score(judged, overall=overall) for overall in ("prompts", "categories"))
    assert by_prompt.score.overall.value == pytest.approx((2 + 4 - 3) / 3)
    assert by_category.score.overall.value == pytest.approx((3 - 3) / 2)
    assert by_category.score.categories["a"].value == pytest.approx(3)
    assert by_category.score.categories["a"].low < 3 < by_category.score.categories["a"].high


def test_where_there_is_no_right_and_wrong_there_is_no_accuracy():
    found = score(scored(0, "a", [1.0]), overall="prompts")
    assert found.accuracy is None
    assert found.tasks == {}
    assert found.seen is found.unseen is None


def test_parts_are_summed_up_by_name_or_by_kind():
    judged = [
        *scored(0, "a", [1.0], right=True, parts={"entity: a kite?": 1.0, "entity: a hill?": 0.0, "hps": 0.3}),
        *scored(1, "b", [0.5], right=False, parts={"hps": 0.5}),
    ]
    found = score(judged, overall="prompts", parts=("entity", "hps", "relation"))
    assert list(found.parts) == ["entity", "hps"]
    assert found.parts["entity"].overall.value == 0.5
    assert found.parts["entity"].overall.prompts == 1
    assert found.parts["hps"].overall.value == pytest.approx(0.4)


def test_an_evaluation_of_before_scores_were_kept_has_accuracies_alone():
    old = [dataclasses.replace(one, score=None) for one in scored(0, "a", [1.0], right=True)]
    assert score(old).score is None
    assert score(old).accuracy.value == 1.0
    # One new image of the same prompt does not make the prompt's mean known.
    assert score([*old, *scored(0, "a", [1.0, 1.0], right=True)[1:]]).score is None


def test_some_categories_alone_can_be_drawn(suite):
    rows = rows_to_draw(suite, num_prompts=None, images_per_prompt=2, categories=["counting"])
    assert [suite.prompts[row // 2].category for row in rows] == ["counting"] * 4
