import json

import pytest

from plaudit.runs.lineage import (
    PROMPTS,
    followed_by_training,
    follows_rewards,
    trained_on,
    trainings_behind,
    write_training_prompts,
)

SUITE = ["a photo of two red stars", "a blue ring above a green heart"]


def training(folder, *, model="pocket-janus", **content):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"kind": "training", "settings": {"model": str(model)}, **content}))
    return folder


def following(*names):
    return {"rewards": [{"name": name} for name in names]}


def test_what_a_training_followed_is_known_by_any_of_its_names(tmp_path):
    run = training(tmp_path / "run", sources=following("pocket-hps", "compressibility"))
    assert followed_by_training(run, ["clip", "hps", "compressibility"]) == ("hps", "compressibility")
    assert followed_by_training(run, ["hps:smooth=4"]) == ("hps:smooth=4",)
    assert followed_by_training(tmp_path, ["hps"]) == followed_by_training("pocket-turbo", ["hps"]) == ()


def test_what_lessons_watched_they_did_not_follow(tmp_path):
    lessons = training(tmp_path / "lessons", method="plans", sources=following("hps"))
    assert followed_by_training(lessons, ["hps"]) == ()
    alone = training(tmp_path / "loo-fid alone", method="ar-grpo", sources=following("hps"), follows=False)
    assert followed_by_training(alone, ["hps"]) == ()
    assert not follows_rewards({"method": "plans"})
    assert follows_rewards({"method": "rlcm"})


def test_what_trainings_below_followed_and_learned_counts_too(tmp_path):
    first = training(tmp_path / "first", sources=following("hps"))
    second = training(tmp_path / "second", model=first, sources=following("clip"))
    write_training_prompts(first, ["Two red stars!"])
    write_training_prompts(second, ["something else"])
    assert trainings_behind(second) == (second, first)
    assert followed_by_training(second, ["hps", "clip", "pickscore"]) == ("hps", "clip")
    (said,) = trained_on(second, "mine", SUITE)
    assert said.startswith("mine: 1 of 2 prompts are trained on word by word")
    assert trained_on(second, "mine", ["a prompt that nobody saw"]) == []


def test_a_training_that_names_itself_has_an_end(tmp_path):
    run = training(tmp_path / "run", model=tmp_path / "run")
    assert trainings_behind(run) == (run,)
    assert trainings_behind(None) == trainings_behind(__file__) == ()


def test_prompts_are_written_once_each_and_on_one_line(tmp_path):
    write_training_prompts(tmp_path, ["two\nred  stars", "two red stars", "a ring"])
    assert (tmp_path / PROMPTS).read_text() == "two red stars\na ring\n"


@pytest.mark.parametrize(("suite", "place"), [("pocket", 0), ("geneval", 1)])
def test_of_a_training_without_its_prompts_what_it_noted_is_said(tmp_path, suite, place):
    said = ["PocketEval, seen combinations: 3 of 450 prompts are trained on", "geneval: 1 of 553 prompts"]
    run = training(tmp_path / "run", overlaps=said)
    assert trained_on(run, suite, SUITE) == said[place : place + 1]
    assert trained_on(run, "drawbench", SUITE) == trained_on(tmp_path, suite, SUITE) == []
