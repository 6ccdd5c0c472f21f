import math
import os
import re

import pytest
import torch

from plaudit.core.errors import BadConfig, MissingExtra, UnknownName
from plaudit.core.hub import OutOfReach
from plaudit.pocket.folders import WEIGHTS
from plaudit.rewards.check import check_reward
from plaudit.rewards.image_reward import ImageReward
from plaudit.rewards.table import REWARDS, load_reward, load_rewards, read_spec

ROWS = pytest.mark.parametrize("entry", list(REWARDS), ids=lambda entry: entry.name)


@pytest.fixture
def _an_empty_machine(tmp_path, monkeypatch):
    """Nothing of the hub, no network, no judge's server: what stands here is what every machine has."""
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "plaudit"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in os.environ:
        if name.startswith("PLAUDIT_JUDGE"):
            monkeypatch.delenv(name)


@ROWS
def test_every_row_says_what_a_user_must_know(entry):
    low, high = entry.facts["raw_scale"]
    assert low < high
    assert math.isfinite(entry.facts["default_weight"])
    assert entry.facts["paper"]
    assert entry.licence
    assert isinstance(entry.facts["differentiable"], bool)
    for needed in entry.needs:
        assert re.fullmatch("[0-9a-f]{40}", needed.revision or ""), "what is downloaded is pinned"
    if entry.hub_id is not None:
        assert entry.size_mb > 0
        assert entry.facts["memory_mb"] > 0
    if entry.extra is None:
        assert callable(entry.resolve())


def remedy_for(entry):
    """What an empty machine's user is told to do before the row works; None if it works as it is."""
    if entry.needs:
        return f"plaudit fetch {entry.name}"
    if "environment" in entry.facts:
        return "environment variable"
    try:
        entry.build()
    except MissingExtra:
        return f"pip install 'plaudit[{entry.extra}]'"
    return None


@pytest.mark.weights
@pytest.mark.usefixtures("_an_empty_machine")
@ROWS
def test_every_row_keeps_the_contract_or_says_in_a_sentence_what_it_lacks(entry):
    """Rows with files of the hub keep it too, with tiny files in their format: test_published_rows has those."""
    if "name" in entry.arguments and not (WEIGHTS / entry.arguments["name"]).is_dir():
        pytest.skip(f"{entry.arguments['name']} is not built into this installation")
    remedy = remedy_for(entry)
    if remedy is not None:
        with pytest.raises((OutOfReach, MissingExtra, BadConfig), match=re.escape(remedy)) as caught:
            load_reward(entry.name)
        assert "\n" not in str(caught.value)
        return
    reward = load_reward(entry.name)
    check_reward(reward, name=entry.name)
    assert reward.differentiable == entry.facts["differentiable"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hps:2", ("hps", 2.0)),
        ("HPS", ("hps", 5.0)),
        ("imagereward", ("imagereward", 1.0)),
        ("pocket-clip:0.25", ("pocket-clip", 0.25)),
        ("clip:-1", ("clip", -1.0)),
        ("./mine:3", ("./mine", 3.0)),
        ("./mine", ("./mine", 1.0)),
    ],
)
def test_a_spec_is_a_name_and_a_weight(spec, expected):
    assert read_spec(spec) == expected


@pytest.mark.parametrize("spec", ["hps:", "hps:much", "hps:5:x"])
def test_a_weight_that_is_no_number_is_refused(spec):
    with pytest.raises(BadConfig, match="not a number"):
        read_spec(spec)


def test_a_spec_without_a_name_is_refused():
    with pytest.raises(BadConfig, match="has no name"):
        read_spec(":5")


def test_a_folder_whose_name_has_a_colon_is_a_folder(tmp_path):
    folder = tmp_path / "mine:2"
    folder.mkdir()
    assert read_spec(str(folder)) == (str(folder), 1.0)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'imagereward'"):
        load_reward("imagerewad")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="no reward folder"):
        load_reward(str(tmp_path / "nothing"))


def test_a_folder_that_holds_no_reward_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UnknownName, match=r"holds no reward.*'t5'"):
        load_reward(str(tmp_path))


def test_the_same_reward_twice_is_refused(clip_folder):
    with pytest.raises(BadConfig, match="given twice"):
        load_rewards([f"{clip_folder}:1", f"{clip_folder}:2"])


def test_rewards_load_from_folders_with_their_weights(clip_folder, image_reward_folder):
    mix = load_rewards([f"{clip_folder}:0.5", str(image_reward_folder)])
    assert [weight for weight, _ in mix.parts.values()] == [0.5, 1.0]
    assert isinstance(mix.parts[str(image_reward_folder)][1], ImageReward)
    images = torch.rand(2, 3, 16, 16)
    parts = mix.score_parts(images, ["a red star", "a ring"])
    torch.testing.assert_close(
        mix(images, ["a red star", "a ring"]), 0.5 * parts[str(clip_folder)] + parts[str(image_reward_folder)]
    )
