"""The presets of AR-GRPO are listed with all that decides a training, and can be trained with."""

import json
from dataclasses import replace

import pytest

from plaudit.generators.table import GENERATORS
from plaudit.pocket.build.llamagen import CLASS_NAMES
from plaudit.presets.ar_grpo import TASKS
from plaudit.rewards.feature_table import FEATURE_NETS
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.shells.cli import main
from plaudit.suites.reference_sets import RENDERS, renders_of


def test_they_are_listed_beside_the_others(capsys):
    assert main(["list", "presets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["name"] for row in rows}) == len(rows)
    ours = {row["name"]: row for row in rows if row["method"] == "ar-grpo"}
    assert list(ours) == list(TASKS)
    pocket = ours["pocket-llamagen"]
    assert (pocket["model"], pocket["net"], pocket["reference"]) == ("pocket-llamagen", "pocket-clip", "renders")
    assert (pocket["prompts"], pocket["updates"], pocket["images_per_update"], pocket["rank"]) == (64, 120, 128, 0)
    assert ours["llamagen"]["images_per_update"] == 144


@pytest.mark.parametrize("name", TASKS)
def test_every_preset_can_be_made_and_knows_its_model_net_and_rewards(name):
    task = TASKS[name]()
    assert task.prompts
    assert len(set(task.prompts)) == len(task.prompts)
    known = [read_spec(spec)[0] for spec in task.rewards]
    assert task.held_out not in known
    assert all(it in REWARDS for it in (*known, task.held_out))
    assert GENERATORS.find(task.model).facts["kind"] == "tokens"
    assert task.net in FEATURE_NETS
    assert task.rank == 0
    assert task.reference in (RENDERS, "")
    assert task.origin


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("pocket-")])
def test_the_pocket_presets_prompts_are_the_models_classes_and_can_be_rendered(name):
    task = TASKS[name]()
    assert task.prompts == CLASS_NAMES
    scenes = renders_of(task.prompts, images=1)
    assert len(scenes.groups) == len(task.prompts)


def test_the_ablation_measures_the_distribution_and_does_not_follow_it():
    whole, instance = TASKS["pocket-llamagen"](), TASKS["pocket-llamagen-instance"]()
    assert (whole.config.distribution_weight, instance.config.distribution_weight) == (2.0, 0.0)
    assert replace(instance, config=whole.config) == whole


def test_the_papers_preset_has_the_released_scripts_numbers():
    """Classes, images of each, passes, rate, guidance, clip, and the distribution's weight."""
    config = TASKS["llamagen"]().config
    found = (
        config.prompts_per_update, config.images_per_prompt, config.passes, config.lr, config.guidance, config.clip,
        config.distribution_weight, config.updates, config.weight_decay,
    )  # fmt: skip
    assert found == (12, 12, 2, 1e-5, 1.5, 0.2, 2.0, 600, 0.01)
