import dataclasses
import json

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.runs.evaluation import FILE, EvaluationFolder
from plaudit.suites.run import Judged, score


def verdict(row, *, right=True):
    return Judged(
        row=row, prompt_index=row, image_index=0, prompt=f"prompt {row}", category="counting", unseen=False,
        right=right, reasons=() if right else ("no star",),
    )  # fmt: skip


def test_what_was_kept_is_there_again(tmp_path):
    folder = EvaluationFolder(tmp_path / "out", {"model": "toy", "seed": 0})
    folder.keep([verdict(1), verdict(0, right=False)], torch.rand(2, 3, 8, 8))
    again = EvaluationFolder(tmp_path / "out", {"model": "toy", "seed": 0})
    assert again.judged == [verdict(0, right=False), verdict(1)]
    assert sorted(p.name for p in (tmp_path / "out/images").iterdir()) == [
        "0000-0-prompt-0.png",
        "0001-0-prompt-1.png",
    ]


def test_the_scores_come_last(tmp_path):
    folder = EvaluationFolder(tmp_path, {})
    folder.keep([verdict(0), verdict(1, right=False)], torch.rand(2, 3, 8, 8))
    assert json.loads((tmp_path / FILE).read_text())["scores"] is None
    folder.finish(score(folder.judged))
    assert json.loads((tmp_path / FILE).read_text())["scores"]["accuracy"]["value"] == 0.5


def test_another_setting_is_refused_by_name(tmp_path):
    EvaluationFolder(tmp_path, {"model": "toy", "seed": 0}).keep([verdict(0)], torch.rand(1, 3, 8, 8))
    with pytest.raises(BadConfig, match="another seed"):
        EvaluationFolder(tmp_path, {"model": "toy", "seed": 1})


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(BadConfig, match="in use"):
        EvaluationFolder(tmp_path, {})


@pytest.mark.parametrize(
    "content", ["", "{}", '{"settings": {}, "judged": [1]}', "[]", '{"settings": {}, "judged": [{}]}']
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(BadConfig, match="damaged"):
        EvaluationFolder(tmp_path, {})


def test_scores_and_what_they_are_made_of_are_kept(tmp_path):
    one = dataclasses.replace(verdict(0), right=None, score=0.25, parts={"hps": 0.25, "clip": -1.0})
    EvaluationFolder(tmp_path, {}).keep([one], torch.rand(1, 3, 8, 8))
    assert EvaluationFolder(tmp_path, {}).judged == [one]
    (record,) = json.loads((tmp_path / FILE).read_text())["judged"]
    assert (record["category"], record["score"], record["right"]) == ("counting", 0.25, None)


def test_what_the_numbers_are_stands_beside_them(tmp_path):
    folder = EvaluationFolder(tmp_path, {})
    folder.keep([verdict(0)], torch.rand(1, 3, 8, 8))
    folder.finish(score(folder.judged), {"name": "pocket", "chance": 0.12})
    assert json.loads((tmp_path / FILE).read_text())["suite"] == {"name": "pocket", "chance": 0.12}


OLD = {
    "settings": {"seed": 0},
    "scores": None,
    "judged": [
        {
            "row": 3, "prompt_index": 1, "image_index": 1, "prompt": "a star", "task": "colors", "unseen": True,
            "right": False, "reasons": ["no star"],
        }
    ],
}  # fmt: skip


def test_an_evaluation_of_before_there_were_scores_goes_on(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(OLD))
    folder = EvaluationFolder(tmp_path, {"seed": 0})
    (old,) = folder.judged
    assert (old.category, old.score, old.right, old.reasons) == ("colors", None, False, ("no star",))
    folder.keep([verdict(0)], torch.rand(1, 3, 8, 8))
    assert [one.row for one in EvaluationFolder(tmp_path, {"seed": 0}).judged] == [0, 3]


def settings(**changes):
    """As `plaudit evaluate` has them, of a model as it is."""
    return {"model": "toy", "method": "none", "seed": 0, "steps": 50, "lr": None, "batch_size": 16} | changes


def test_images_at_once_decide_nothing(tmp_path):
    folder = EvaluationFolder(tmp_path, settings(method="reno"))
    folder.keep([verdict(0)], torch.rand(1, 3, 8, 8))
    assert "batch_size" not in json.loads((tmp_path / FILE).read_text())["settings"]
    assert len(EvaluationFolder(tmp_path, settings(method="reno", batch_size=4)).judged) == 1
    with pytest.raises(BadConfig, match="another steps;"):
        EvaluationFolder(tmp_path, settings(method="reno", batch_size=4, steps=20))


def test_a_search_that_does_not_take_place_decides_nothing(tmp_path):
    EvaluationFolder(tmp_path, settings()).keep([verdict(0)], torch.rand(1, 3, 8, 8))
    assert len(EvaluationFolder(tmp_path, settings(steps=20, lr=0.1)).judged) == 1
    with pytest.raises(BadConfig, match="another method, steps;"):
        EvaluationFolder(tmp_path, settings(method="best-of-n"))


@pytest.mark.parametrize("method", ["none", "reno"])
def test_a_folder_that_noted_how_many_at_once_goes_on(tmp_path, method):
    (tmp_path / FILE).write_text(json.dumps(OLD | {"settings": settings(method=method)}))
    folder = EvaluationFolder(tmp_path, settings(method=method, batch_size=4))
    folder.keep([verdict(0)], torch.rand(1, 3, 8, 8))
    assert len(EvaluationFolder(tmp_path, settings(method=method)).judged) == 2
