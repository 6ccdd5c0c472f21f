"""The contract of suites, over every row of the table; their lists are tiny and made up."""

import dataclasses
import json

import pytest
import torch
from tiny_lists import write_lists

from plaudit.core.errors import BadConfig, BrokenContract, UnknownName
from plaudit.suites import listed
from plaudit.suites.suite import Opinion, Suite, SuitePrompt
from plaudit.suites.table import BOARD, SUITES, has_detector, is_board, load_suite

ROWS = list(SUITES)


def of_rows(test):
    return pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)(test)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a row's suite from tiny lists."""
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    folder = write_lists(tmp_path / "lists")
    return lambda row: load_suite(row.name, rewards=("compressibility", "incompressibility"), folder=folder)


@of_rows
def test_a_row_says_of_its_suite_what_the_suite_says_of_itself(row, build):
    suite = build(row)
    assert suite.name == row.name
    assert suite.licence == row.licence
    for name in ("images_per_prompt", "overall", "measures", "paper", "chance", "strict_chance"):
        assert getattr(suite, name) == row.facts.get(name), name
    # Whoever lists the table reads JSON.
    json.dumps(dict(row.facts))
    assert row.facts["prompts"] >= len(suite.prompts)
    assert row.facts["scored_by"]


@of_rows
def test_prompts_are_numbered_by_their_place_and_say_something(row, build):
    suite = build(row)
    assert [prompt.index for prompt in suite.prompts] == list(range(len(suite.prompts)))
    assert all(prompt.text == prompt.text.strip() != "" and prompt.category for prompt in suite.prompts)
    assert suite.texts() == [prompt.text for prompt in suite.prompts]
    assert suite.spread(None) == tuple(range(len(suite.prompts)))


@of_rows
def test_building_a_suite_loads_no_model(row, build, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a scorer is built when the first image comes")

    monkeypatch.setattr(listed, "load_board", never)
    if "scorer" in row.arguments:
        monkeypatch.setattr(row.arguments["scorer"].replace(":", "."), never)
    suite = build(row)
    if row.name != "pocket":
        with pytest.raises(AssertionError, match="when the first image comes"):
            suite.judge(torch.zeros(1, 3, 8, 8), suite.prompts[:1])


@of_rows
def test_a_row_names_a_scorer_that_is_there(row):
    """Loading its models is for who has them; that the function exists and takes a device is for here."""
    import importlib
    import inspect

    if "scorer" not in row.arguments:
        assert row.name == "pocket" or is_board(row.name)
        return
    module, _, function = row.arguments["scorer"].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert "device" in parameters
    assert all(it.default is not inspect.Parameter.empty for it in parameters.values())


@pytest.mark.parametrize("row", [r for r in ROWS if r.name == "pocket" or r.facts["scored_by"] == BOARD], ids=str)
def test_opinions_are_one_per_image_and_each_of_its_own(row, build):
    suite = build(row)
    prompts = [suite.prompts[place] for place in suite.spread(2)] * 2
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together = suite.judge(images, prompts)
    alone = [suite.judge(images[at : at + 1], prompts[at : at + 1])[0] for at in (3, 0, 2, 1)]
    assert [alone[1], alone[3], alone[2], alone[0]] == together
    for opinion in together:
        assert set(suite.parts) <= set(opinion.parts)
        assert (opinion.right is None) == (row.facts["scored_by"] == BOARD)


def test_a_scorer_is_built_once(build):
    suite = build(SUITES.find("pocket"))
    built = []

    def build_again():
        built.append(1)
        return suite.scorer()

    counted = dataclasses.replace(suite, scorer=build_again)
    for _ in range(2):
        counted.judge(torch.zeros(1, 3, 64, 64), counted.prompts[:1])
    assert built == [1]


def test_getting_ready_builds_the_scorer_for_those_prompts():
    class Scorer:
        def __init__(self):
            self.asked = []

        def get_ready(self, prompts):
            self.asked += prompts

        def __call__(self, images, prompts):
            return [Opinion(score=1.0, right=True) for _ in prompts]

    scorer = Scorer()
    suite = made(scorer)
    suite.get_ready(suite.prompts[:2])
    assert scorer.asked == list(suite.prompts[:2])
    # Most have nothing more to load than what building them loads.
    built = []
    plain = dataclasses.replace(suite, scorer=lambda: built.append(1) or (lambda *_: []))
    plain.get_ready(plain.prompts)
    plain.get_ready(plain.prompts)
    assert built == [1]


@pytest.mark.parametrize("name", ["geneval", "t2i-compbench", "t2i-compbench-numeracy", "dpg-bench", "partiprompts"])
def test_a_detector_takes_the_place_of_the_rows_own(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    folder = write_lists(tmp_path / "lists")
    usual, other = (
        load_suite(name, rewards=["compressibility"], folder=folder, detector=detector) for detector in (None, "mine")
    )
    assert tuple(usual.models.values()) == SUITES.find(name).facts["models"]
    assert has_detector(name) == ("detector" in usual.models)
    assert other.models == (usual.models | {"detector": "mine"} if has_detector(name) else usual.models)


def made(scorer, count=4):
    prompts = tuple(SuitePrompt(index=i, text=f"p{i}", category="ab"[i % 2]) for i in range(count))
    return Suite(name="made", prompts=prompts, scorer=lambda: scorer, measures="nothing", paper="", licence="")


def test_a_spread_keeps_to_its_categories_and_the_prompts_own_places():
    suite = made(None, 10)
    assert suite.spread(3) == (0, 4, 9)
    assert suite.spread(None, ["b"]) == (1, 3, 5, 7, 9)
    assert suite.spread(2, ["b"]) == (1, 9)
    assert suite.categories() == ["a", "b"]
    with pytest.raises(BadConfig, match="made has no category 'c'; it has a, b"):
        suite.spread(None, ["b", "c"])
    with pytest.raises(BadConfig, match="1 to 5 prompts"):
        suite.spread(6, ["a"])


def test_a_scorer_that_loses_an_image_or_gives_no_number_is_named():
    images, fine = torch.zeros(2, 3, 8, 8), Opinion(score=1.0, right=True)
    with pytest.raises(BrokenContract, match="2 images were scored, and 1 opinions came"):
        made(lambda *_: [fine]).judge(images, made(None).prompts[:2])
    bad = Opinion(score=float("nan"), right=None)
    with pytest.raises(BrokenContract, match="the score of 'p1' is nan"):
        made(lambda *_: [fine, bad]).judge(images, made(None).prompts[:2])


def test_a_users_file_is_a_board_of_its_own(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a kite", "category": "toys"}\n{"prompt": "a hill"}\n')
    suite = load_suite(str(file), rewards=["compressibility"])
    assert is_board(str(file))
    assert suite.texts() == ["a kite", "a hill"]
    assert suite.categories() == ["toys", "all"]
    assert suite.parts == ("compressibility",)


def test_what_looks_like_a_file_and_is_none_is_said_to_be_none(tmp_path):
    for name in (str(tmp_path / "mine"), "mine.txt"):
        with pytest.raises(BadConfig, match="there is no file of prompts"):
            load_suite(name)
    with pytest.raises(UnknownName, match="Did you mean 'geneval'"):
        load_suite("genevall")


def test_a_board_without_rewards_is_refused_before_its_prompts_are_looked_for():
    with pytest.raises(BadConfig, match="needs a reward to score by"):
        load_suite("partiprompts")
