"""The page about rewards: its tables are what the rows say, and its example is a reward."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from plaudit.core.registry import Registry
from plaudit.rewards.table import REWARDS
from plaudit.shells.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("rewards_page", ROOT / "tools" / "rewards_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_rows_say(tool):
    """If this fails: python tools/rewards_page.py"""
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.written(page) == page
    assert tool.main(["--check"]) == 0


def test_every_row_is_on_the_page_once(tool):
    cells = [line.split("|")[1] for line in tool.table().splitlines()[2:]]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted(entry.name for entry in REWARDS)


def test_a_changed_row_changes_the_page(tool, monkeypatch):
    page = tool.PAGE.read_text(encoding="utf-8")
    rows = [replace(entry, licence="Of its own") if entry.name == "ocr" else entry for entry in REWARDS]
    monkeypatch.setattr(tool, "REWARDS", Registry("reward", rows))
    assert "| Of its own |" in tool.written(page)
    assert tool.main(["--check"]) == 1


def test_every_published_reward_has_its_paragraph(tool):
    prose = re.sub(r"<!-- generated.*?<!-- end: \w+ -->", "", tool.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    told = {name for bold in re.findall(r"^\*\*.*?\*\* \((.*?)\)\.", prose, re.MULTILINE) for name in bold.split("`")}
    families = {re.sub(r"(-7b|-3b)?(-boxed)?$", "", name) for name in told}
    for entry in REWARDS:
        family = re.sub(r"(-7b|-3b)?(-boxed)?$", "", entry.name)
        assert family in families or "name" in entry.arguments, entry.name


def test_what_hacking_did_was_measured_with_the_prompts_that_are_told(tool):
    measured = json.loads(tool.MEASURED.read_text(encoding="utf-8"))
    assert measured["prompts"] == list(tool.PROMPTS)
    assert [tuple(hack["followed"]) for hack in measured["hacks"]] == list(tool.HACKS)
    for hack in measured["hacks"]:
        followed = {spec.partition(":")[0] for spec in hack["followed"]}
        if len(followed) == 1:
            (name,) = followed
            assert hack["after"][name] > hack["before"][name]


def test_the_worked_example_is_short_and_keeps_the_contract(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "adding_a_reward.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert code.count("\n") < 60
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").write_text(code)
    assert main(["check", "reward", "./my_rewards.py:Colourful"]) == 0
    assert "keeps the contract" in capsys.readouterr().out
