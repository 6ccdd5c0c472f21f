"""What pocket-vqa is measured by: who knows scores all, who guesses scores chance, and every kind has its bar."""

import pytest
import torch

from plaudit.claims import pocket_models
from plaudit.claims.pocket_models import answers_score, judge_score, measure
from plaudit.pocket.judge import judge, read
from plaudit.pocket.prompts import parse
from plaudit.pocket.questions import SHORT, YES_OR_NO
from plaudit.pocket.scenes import BACKGROUNDS, scene_is_held_out


class Knowing:
    """Sees what the exact judge sees; answers questions about backgrounds, and judges prompts."""

    def __init__(self):
        self.scenes = []

    def yes(self, images, questions):
        self.scenes += read(images)
        said = [
            scene.background in question for scene, question in zip(self.scenes[-len(images) :], questions, strict=True)
        ]
        return torch.tensor(said).float()

    def say(self, images, questions):
        self.scenes += read(images)
        assert all("background" in question or "behind" in question for question in questions)
        return [scene.background for scene in self.scenes[-len(images) :]]

    def __call__(self, images, prompts):
        return torch.tensor([float(one.right) for one in judge(images, [parse(prompt) for prompt in prompts])])


class Nodding:
    """Says yes to all, and the same word to whatever cannot be answered with yes."""

    def yes(self, images, questions):
        return torch.ones(len(images))

    def say(self, images, questions):
        return [next(iter(BACKGROUNDS))] * len(images)

    def __call__(self, images, prompts):
        return torch.ones(len(images))


def test_who_knows_is_always_right():
    assert answers_score(Knowing(), "background", count=200) == 1
    assert answers_score(Knowing(), "which background", count=100) == 1
    assert judge_score(Knowing(), count=60) == 1


def test_who_nods_is_right_by_chance():
    for kind in YES_OR_NO:
        assert answers_score(Nodding(), kind, count=400) == pytest.approx(0.5, abs=0.08), kind
    assert answers_score(Nodding(), "which background", count=400) == pytest.approx(1 / 3, abs=0.08)
    assert judge_score(Nodding(), count=20) == 0.5


def test_pairs_are_in_held_out_combinations():
    looking = Knowing()
    answers_score(looking, "relation", count=100)
    assert len(looking.scenes) == 100
    assert all(scene_is_held_out(scene) for scene in looking.scenes)


def test_every_kind_of_question_has_its_bar(monkeypatch, tmp_path):
    monkeypatch.setattr(pocket_models, "pocket_folder", lambda *_, **__: tmp_path)
    monkeypatch.setattr(pocket_models.BlipVqa, "from_pretrained", lambda *_, **__: Nodding())
    monkeypatch.setattr(pocket_models, "answers_score", lambda _, kind: 0.96 if kind in YES_OR_NO else 0.93)
    monkeypatch.setattr(pocket_models, "judge_score", lambda _: 0.89)
    scores = measure("pocket-vqa", root=tmp_path)
    assert [score.what for score in scores[:-1]] == [f"answers right: {kind}" for kind in (*YES_OR_NO, *SHORT)]
    assert [score.met for score in scores] == [True] * (len(scores) - 1) + [False]
    assert {score.low for score in scores[: len(YES_OR_NO)]} == {0.95}
