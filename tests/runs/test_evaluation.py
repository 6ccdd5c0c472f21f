import json

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.runs.evaluation import FILE, EvaluationFolder
from plaudit.suites.run import Judged, score


def verdict(row, *, right=True):
    return Judged(
        row=row, prompt_index=row, image_index=0, prompt=f"prompt {row}", task="counting", unseen=False,
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
