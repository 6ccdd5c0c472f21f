import re

import pytest

from plaudit.core.hub import OutOfReach
from plaudit.rewards.published_judges import JUDGES
from plaudit.rewards.table import REWARDS, load_reward

VARIANTS = [entry for entry in REWARDS if entry.name.endswith(("-requirements", "-or-zero"))]
WITH_WEIGHTS = [entry for entry in (*JUDGES, *VARIANTS) if entry.hub_id]


@pytest.mark.parametrize("entry", [*JUDGES, *VARIANTS], ids=lambda entry: entry.name)
def test_every_row_is_in_the_table_and_says_whether_gradients_reach_the_image(entry):
    assert REWARDS.find(entry.name) is entry
    assert entry.facts["differentiable"] == ("no gradient" not in entry.summary)
    assert entry.facts["raw_scale"] == (0.0, 1.0)
    assert callable(entry.resolve())


@pytest.mark.parametrize("entry", WITH_WEIGHTS, ids=lambda entry: entry.name)
def test_weights_are_safetensors_of_a_pinned_commit(entry):
    (files,) = entry.needs
    assert re.fullmatch("[0-9a-f]{40}", entry.revision)
    assert (files.hub_id, files.revision) == (entry.hub_id, entry.revision)
    assert any(pattern.endswith(".safetensors") for pattern in files.patterns)
    assert not any(pattern.endswith((".bin", ".pt", ".pth")) for pattern in files.patterns)
    assert entry.size_mb > 1000


@pytest.mark.parametrize("entry", WITH_WEIGHTS, ids=lambda entry: entry.name)
def test_a_row_whose_weights_are_absent_says_how_to_get_them(entry, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OutOfReach, match=re.escape(f"plaudit fetch {entry.name}")):
        load_reward(entry.name)


@pytest.mark.parametrize("entry", VARIANTS, ids=lambda entry: entry.name)
def test_a_variant_is_its_judge_but_for_what_is_asked_or_what_silence_is_worth(entry):
    judge = REWARDS.find(re.sub(r"-(requirements|or-zero)$", "", entry.name))
    changed = {"protocol": "requirements"} if entry.name.endswith("-requirements") else {"invalid_score": 0.0}
    assert entry.arguments == {**judge.arguments, **changed}
    assert (entry.target, entry.needs, entry.licence) == (judge.target, judge.needs, judge.licence)
    assert entry.restrictions == judge.restrictions
    assert entry.facts["differentiable"] == judge.facts["differentiable"]


def test_there_is_a_variant_of_every_judge_that_talks():
    assert sorted(entry.name for entry in VARIANTS) == [
        "http-judge-boxed-or-zero",
        "http-judge-requirements",
        "qwen2.5-vl-3b-requirements",
        "qwen2.5-vl-7b-boxed-or-zero",
        "qwen2.5-vl-7b-requirements",
    ]


def test_a_hub_id_is_still_the_judge_itself():
    assert REWARDS.row_of("Qwen/Qwen2.5-VL-7B-Instruct").name == "qwen2.5-vl-7b"
