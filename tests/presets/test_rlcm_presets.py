"""The presets of RLCM are listed with all that decides a training, and can be trained with."""

import json
from pathlib import Path

import pytest

from plaudit.presets.rlcm import TASKS
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.shells.cli import main


def listed(capsys):
    assert main(["list", "presets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


def test_they_are_listed_beside_renos(capsys):
    rows = listed(capsys)
    assert [name for name, row in rows.items() if row["method"] == "rlcm"] == list(TASKS)
    assert any(row["method"] == "reno" for row in rows.values())
    alignment, pocket = rows["alignment"], rows["pocket-aesthetic"]
    assert (alignment["prompts"], alignment["updates"], alignment["images_per_update"]) == (135, 708, 120)
    assert "Oertell et al. 2024, table 1" in alignment["origin"]
    assert (pocket["rewards"], pocket["held_out"]) == (["hps:1"], "imagereward")
    assert pocket["images_per_update"] == 64
    assert pocket["origin"].startswith("ours")


def test_people_read_the_same(capsys):
    assert main(["list", "presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("pocket-alignment "))
    assert "judged by pocket-clip" in lines[place]
    assert "method rlcm · model pocket-lcm · rewards clip:1 · held out imagereward" in lines[place + 1]
    assert "origin ours" in lines[place + 1]


@pytest.mark.parametrize("name", TASKS)
def test_every_preset_can_be_made_and_knows_its_rewards(name):
    task = TASKS[name]()
    assert task.prompts
    assert all(prompt.strip() == prompt != "" for prompt in task.prompts)
    assert len(set(task.prompts)) == len(task.prompts)
    known = [read_spec(spec)[0] for spec in task.rewards]
    assert task.held_out not in known
    assert all(it in REWARDS for it in (*known, task.held_out))
    assert task.origin.startswith("ours" if name.startswith("pocket-") else "Oertell et al. 2024")


@pytest.mark.parametrize("name", TASKS)
def test_what_is_held_out_shares_no_network_with_what_is_trained_on(name):
    """All weights that either loads, by repository or by the miniature's name."""
    task = TASKS[name]()

    def networks(reward):
        row = REWARDS.find(reward)
        miniature = {row.arguments["name"]} if "name" in row.arguments else set()
        return {files.hub_id for files in row.needs} | miniature

    held_out = networks(task.held_out)
    assert held_out
    assert not any(networks(read_spec(spec)[0]) & held_out for spec in task.rewards)


def test_the_papers_presets_have_the_papers_numbers():
    """Table 1, as images an update, updates, rank and alpha of the LoRA, buffer."""
    found = {
        name: (
            it.config.prompts_per_update * it.config.images_per_prompt, it.config.updates, it.rank, it.alpha,
            it.config.buffer_size, it.config.lr, it.config.comparison,
        )
        for name in ("compression", "incompression", "aesthetic", "alignment")
        for it in [TASKS[name]()]
    }  # fmt: skip
    assert found == {
        "compression": (16, 1000, 16, 32.0, 16, 1e-4, "running"),
        "incompression": (16, 1000, 16, 32.0, 16, 1e-4, "running"),
        "aesthetic": (32, 1000, 8, 8.0, 32, 1e-4, "running"),
        "alignment": (120, 708, 16, 32.0, 32, 1e-4, "running"),
    }


def test_the_page_about_rlcm_shows_them_as_they_are():
    text = (Path(__file__).resolve().parents[2] / "docs" / "rlcm.md").read_text()
    table = text.split("## Presets")[1].split("##")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines() if "|" in line]
    expected = [
        (
            name, " ".join(task.rewards), task.held_out or "-", str(len(task.prompts)),
            str(task.config.prompts_per_update * task.config.images_per_prompt), str(task.config.updates),
        )
        for name, task in ((name, make()) for name, make in TASKS.items())
    ]  # fmt: skip
    assert rows[2:] == expected
