"""Training prompts are held against benchmarks' prompts: word by word, and by rows of words."""

import pytest
from tiny_lists import write_lists

from plaudit.core.errors import BadConfig
from plaudit.presets.reasongen import TASKS
from plaudit.suites.prompt_overlap import benchmarks_at_hand, overlaps, own_benchmarks, without_overlap

LONG = "a red fox sleeps beside an old grey stone wall in the snow"


@pytest.mark.parametrize(
    ("trained", "exact", "near"),
    [
        ("a red fox", ("A photo of a red fox.",), ()),
        ("A Photo of a red FOX!", ("A photo of a red fox.",), ()),
        ("two red foxes", (), ()),
        ("the red fox", (), ()),
        (LONG, (LONG,), ()),
        ("one summer a red fox sleeps beside an old grey cat", (), (LONG,)),
        ("a red fox sleeps beside an old cat", (), ()),
        ("photo of a red fox", (), ()),
        ("", (), ()),
    ],
)
def test_what_overlaps(trained, exact, near):
    (found,) = overlaps([trained], {"mine": ["A photo of a red fox.", LONG]})
    assert (found.exact, found.near) == (exact, near)
    assert found.any == bool(exact or near)
    assert without_overlap([trained], {"mine": ["A photo of a red fox.", LONG]}) == (() if found.any else (trained,))


def test_benchmarks_are_told_apart_and_training_prompts_are_read_once():
    found = overlaps(iter(["a fox", "x y z"]), {"foxes": ["a fox", "a hen"], "letters": ["w x y z"]}, words=3)
    assert [one.benchmark for one in found] == ["foxes", "letters"]
    assert found[0].exact == ("a fox",)
    assert found[1].near == ("w x y z",)
    assert str(found[0]) == (
        "foxes: 1 of 2 prompts are trained on word by word, 0 more share 3 words in a row with a training prompt "
        "('a fox' ...)"
    )
    assert "..." not in str(overlaps([], {"foxes": ["a fox"]})[0])


def test_a_benchmark_without_prompts_is_refused():
    with pytest.raises(BadConfig, match="'mine' has no prompts"):
        overlaps(["a fox"], {"mine": []})


def test_what_overlaps_is_left_out_and_the_rest_stays_in_its_order():
    kept = without_overlap(iter(["b fox", "x y z", "a fox", "a hen"]), {"foxes": ["a fox"], "w": ["w x y z"]}, words=3)
    assert kept == ("b fox", "a hen")


@pytest.mark.parametrize("name", TASKS)
def test_no_preset_of_reasongen_trains_on_prompts_of_pocket_eval(name):
    prompts = TASKS[name]().prompts
    assert prompts
    assert not any(found.any for found in overlaps(prompts, own_benchmarks()))


def test_pocket_eval_is_at_hand_its_unseen_prompts_apart():
    benchmarks = own_benchmarks()
    assert sum(map(len, benchmarks.values())) == 553
    unseen = benchmarks["PocketEval, unseen combinations"]
    by_name = {one.benchmark: one for one in overlaps([unseen[0]], benchmarks)}
    assert by_name["PocketEval, unseen combinations"].exact == (unseen[0],)
    assert not by_name["PocketEval, seen combinations"].any


def test_suites_whose_lists_are_here_are_compared_with_and_all_others_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PLAUDIT_SUITES_DIR", raising=False)
    assert benchmarks_at_hand() == own_benchmarks()
    monkeypatch.setenv("PLAUDIT_SUITES_DIR", str(write_lists(tmp_path / "lists")))
    found = benchmarks_at_hand()
    assert {"geneval", "t2i-compbench", "dpg-bench", "partiprompts", "drawbench", "hpsv2"} <= set(found)
    (geneval,) = [it for it in overlaps(["A photo of two kites!"], found) if it.benchmark == "geneval"]
    assert geneval.exact == ("a photo of two kites",)
    # A damaged list is no reason not to train.
    (tmp_path / "lists/geneval/evaluation_metadata.jsonl").write_text("{")
    (tmp_path / "lists/drawbench/test.txt").unlink()
    assert set(found) - set(benchmarks_at_hand()) == {"geneval", "drawbench"}
