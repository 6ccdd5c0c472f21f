"""Scenes written as rows of captioned pictures, and read by the reader of published rows."""

import numpy as np
import pytest
import torch

from plaudit.generators.described_images import WAYS, check_rows, read_described
from plaudit.pocket.described_scenes import draw_rows, write_rows
from plaudit.pocket.judge import judge, read
from plaudit.pocket.plans import agreement, read_plan
from plaudit.pocket.prompts import parse
from plaudit.pocket.scenes import scene_is_held_out
from plaudit.suites.prompt_overlap import overlaps, own_benchmarks


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "scenes.jsonl"
    write_rows(file, 60, seed=3)
    found = read_described(file)
    check_rows(found, pictures=True)
    return list(found)


def test_every_row_has_all_five_ways(rows):
    assert len(rows) == 60
    assert all(tuple(row.prompts) == WAYS for row in rows)


def test_every_prompt_is_true_of_the_picture_and_the_plan_says_what_it_shows(rows):
    rng = np.random.default_rng(0)
    for row in rows:
        picture = row.picture(64)[None]
        asked = {row.brief, *(row.draw_prompt(rng) for _ in range(12))}
        assert len(asked) > 2
        for prompt in asked:
            request = parse(prompt)
            assert request is not None, prompt
            assert judge(picture, [request])[0].right, prompt
        plan, seen = read_plan(row.detailed), read(picture)[0]
        assert plan is not None
        assert agreement(plan, seen).whole
        assert not scene_is_held_out(seen)


def test_rows_are_the_same_for_the_same_seed_only():
    first, again, other = (list(draw_rows(3, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert first[0]["hash"] != first[1]["hash"]


def test_a_picture_comes_back_as_it_was_drawn(rows):
    assert rows[0].picture(64).shape == (3, 64, 64)
    torch.testing.assert_close(rows[0].picture(64) * 255, (rows[0].picture(64) * 255).round())


def test_no_unseen_prompt_of_pocket_eval_is_trained_on():
    benchmarks = own_benchmarks()
    said = [text for row in draw_rows(300, seed=4) for text in row["augmented_prompts"]["varied_captions"]]
    found = {one.benchmark: one for one in overlaps(said, benchmarks)}
    assert not found["PocketEval, unseen combinations"].exact
    assert found["PocketEval, seen combinations"].exact, "there are few ways of asking for one thing"
