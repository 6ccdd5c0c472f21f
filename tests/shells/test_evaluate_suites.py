"""`plaudit evaluate` on other suites than PocketEval: reward boards, own prompts, benchmarks with their scorers."""

import dataclasses
import json

import pytest
from tiny_detectors import save_owlv2
from tiny_lists import write_lists

import plaudit.shells.drawing
import plaudit.suites.geneval
from plaudit.core.errors import BadConfig
from plaudit.shells.cli import main
from plaudit.shells.evaluate import about
from plaudit.shells.evaluation_table import as_table
from plaudit.suites.run import Judged, pocket, score
from plaudit.suites.suite import Opinion

REWARDS = ("--reward", "incompressibility:3", "--held-out", "compressibility")

LIGHT = """
class Bright:
    differentiable = True

    def __call__(self, images, prompts):
        return images.float().mean(dim=(1, 2, 3))


class Dark(Bright):
    def __call__(self, images, prompts):
        return -super().__call__(images, prompts)
"""


@pytest.fixture
def lists(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PLAUDIT_SUITES_DIR", raising=False)
    return write_lists(tmp_path / "lists")


def evaluate(*arguments, capsys):
    assert main(["evaluate", *map(str, arguments)]) == 0
    return capsys.readouterr()


def test_a_users_prompts_are_scored_by_the_rewards_that_are_named(sd_folder, tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a red star", "category": "stars"}\n{"prompt": "two rings"}\n')
    line = (file, "--model", sd_folder, *REWARDS, "--images-per-prompt", 2)
    said = json.loads(evaluate(*line, "--json", capsys=capsys).out)
    assert said["accuracy"] is None
    assert said["images"] == 4
    # What nobody followed is the headline; a weight is no part of a score.
    assert list(said["parts"]) == ["compressibility", "incompressibility"]
    assert said["score"] == said["parts"]["compressibility"]
    assert said["score"]["overall"]["value"] == -said["parts"]["incompressibility"]["overall"]["value"]
    assert set(said["score"]["categories"]) == {"stars", "all"}
    table = evaluate(*line, capsys=capsys).out
    assert "compressibility" in table.splitlines()[0]
    assert "  stars" in table
    assert "no chance level" in table


def test_a_board_goes_on_where_it_stopped_unless_other_rewards_or_prompts_are_asked_for(sd_folder, tmp_path, capsys):
    file, out = tmp_path / "mine.txt", tmp_path / "out"
    file.write_text("a red star\ntwo rings\n")
    line = ["evaluate", str(file), "--model", str(sd_folder), "--out", str(out), "--json"]
    assert main([*line, *REWARDS, "--prompts", "1"]) == 0
    assert main([*line, *REWARDS]) == 0
    assert len(list((out / "images").iterdir())) == 2
    kept = json.loads((out / "evaluation.json").read_text())
    assert kept["settings"]["images_per_prompt"] == 1
    assert [it["name"] for it in kept["settings"]["sources"]["rewards"]] == ["compressibility", "incompressibility"]
    assert set(kept["judged"][0]["parts"]) == {"compressibility", "incompressibility"}
    capsys.readouterr()
    assert main([*line, "--reward", "compressibility"]) == 1
    assert "another" in capsys.readouterr().err
    file.write_text("a red star\ntwo hearts\n")
    assert main([*line, *REWARDS]) == 1
    assert "another sources" in capsys.readouterr().err


def test_a_method_is_scored_by_what_it_followed_and_by_what_it_did_not(sd_folder, tmp_path, capsys):
    file, code = tmp_path / "mine.txt", tmp_path / "mine.py"
    file.write_text("a red star\ntwo rings\na blue circle\n")
    code.write_text(LIGHT)
    rewards = ("--reward", f"{code}:Bright", "--held-out", f"{code}:Dark")
    line = (file, "--model", sd_folder, *rewards, "--method", "best-of-n", "--json")
    one, best = (json.loads(evaluate(*line, "--steps", steps, capsys=capsys).out) for steps in (1, 6))
    assert list(best["parts"]) == [f"{code}:Dark", f"{code}:Bright"]
    # The best of six by one reward is the worst of six by its opposite.
    means = [it["parts"][f"{code}:Bright"]["overall"]["value"] for it in (one, best)]
    assert means[1] > means[0]
    assert best["score"]["overall"]["value"] == -means[1]


def test_a_list_that_is_not_the_pinned_one_is_no_benchmark(sd_folder, lists, capsys):
    line = ("partiprompts", "--model", sd_folder, *REWARDS, "--lists", lists, "--category", "Arts", "--json")
    out, err = evaluate(*line, capsys=capsys)
    said = json.loads(out)
    assert said["images"] == 1
    assert list(said["score"]["categories"]) == ["Arts"]
    assert said["suite"]["prompts_from"]["pinned"] is False
    assert "partiprompts are read from a file that is not the pinned one" in err


def test_a_benchmark_is_scored_by_its_own_scorer(sd_folder, lists, capsys, monkeypatch):
    def scorer(*, device, detector, colours):
        assert (device.type, detector, colours) == ("cpu", "mask2former-swin-s", "clip-vit-l14")
        return lambda _, prompts: [
            Opinion(score=0.5 if it.facts["tag"] == "counting" else 1.0, right=it.facts["tag"] != "counting")
            for it in prompts
        ]

    monkeypatch.setattr(plaudit.suites.geneval, "geneval_scorer", scorer)
    line = ("geneval", "--model", sd_folder, "--device", "cpu", "--lists", lists)
    said = json.loads(evaluate(*line, "--json", capsys=capsys).out)
    # Four images of each of the two tiny prompts.
    assert said["images"] == 8
    assert said["accuracy"]["value"] == 0.5
    assert said["score"]["overall"]["value"] == 0.75
    assert said["suite"]["strict_chance"] == 0.003
    assert said["suite"]["paper"] == "Ghosh et al. 2023, GenEval"
    table = evaluate(*line, capsys=capsys).out
    assert "right about 0.003" in table


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    """No model of the hub is in the cache, and none can be had."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def scored(monkeypatch):
    """GenEval and T2I-CompBench, with nobody to score them who would have to be fetched."""

    def scorer(**_):
        return lambda _, prompts: [Opinion(score=1.0, right=True) for _ in prompts]

    monkeypatch.setattr("plaudit.suites.geneval.geneval_scorer", scorer)
    monkeypatch.setattr("plaudit.suites.t2i_compbench.t2i_compbench_scorer", scorer)


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("geneval", "plaudit fetch mask2former-swin-s; or have another detector look"),
        ("geneval --detector owlv2-base", "plaudit fetch owlv2-base"),
        ("t2i-compbench-numeracy", "plaudit fetch owlv2-base"),
        ("t2i-compbench --category color", "plaudit fetch blip-vqa"),
        ("t2i-compbench --category non_spatial", "plaudit fetch clip-vit-l14"),
        ("dpg-bench", "plaudit fetch blip-vqa"),
        ("partiprompts --reward pickscore-v1", "plaudit fetch pickscore-v1"),
    ],
)
@pytest.mark.usefixtures("nothing_here")
def test_a_scorer_that_is_missing_is_told_before_anything_is_drawn(
    line, missing, sd_folder, lists, capsys, monkeypatch
):
    def draw(*_, **__):
        raise AssertionError("nobody can score what would be drawn now")

    monkeypatch.setattr("plaudit.suites.run.draw_and_judge", draw)
    out = lists / "out"
    assert main(["evaluate", *line.split(), "--model", str(sd_folder), "--lists", str(lists), "--out", str(out)]) == 1
    assert missing in capsys.readouterr().err
    assert not out.exists()


def test_who_scores_is_there_before_the_memory_that_is_left_is_planned(sd_folder, lists, monkeypatch):
    done = []
    monkeypatch.setattr("plaudit.suites.geneval.geneval_scorer", lambda **_: done.append("scorer") or (lambda *_: []))

    def plan(*_, **__):
        done.append("plan")
        raise BadConfig("it is enough")

    monkeypatch.setattr("plaudit.shells.fitting.fit_memory", plan)
    for method in ("none", "reno"):
        line = ["evaluate", "geneval", "--model", str(sd_folder), "--lists", str(lists), "--method", method]
        assert main(line) == 1
    assert done == ["scorer", "plan"] * 2


@pytest.mark.usefixtures("nothing_here", "scored")
def test_what_scored_is_recorded_and_another_scorer_is_another_evaluation(sd_folder, lists, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["evaluate", "geneval", "--model", str(sd_folder), "--lists", str(lists), "--out", str(out), "--json"]
    assert main([*line, "--prompts", "1"]) == 0
    told = json.loads(capsys.readouterr().out)["suite"]["scorer"]
    kept = json.loads((out / "evaluation.json").read_text())
    assert kept["settings"]["sources"]["scorer"] == kept["suite"]["scorer"] == told
    assert {role: it["name"] for role, it in told.items()} == {
        "detector": "mask2former-swin-s", "colours": "clip-vit-l14",
    }  # fmt: skip
    assert told["detector"]["hub_id"] == "facebook/mask2former-swin-small-coco-instance"
    assert len(told["colours"]["revision"]) == 40
    assert "detector" not in kept["settings"]
    # The usual one by its name is no other.
    assert main([*line, "--detector", "mask2former-swin-s"]) == 0
    assert main([*line, "--detector", "owlv2-base"]) == 1
    assert "holds an evaluation with another sources" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "goes_on"), [("t2i-compbench", True), ("geneval", False)], ids=["pinned", "as it was downloaded"]
)
@pytest.mark.usefixtures("scored")
def test_weights_that_arrive_later_are_others_unless_their_commit_is_pinned(
    suite, goes_on, sd_folder, lists, tmp_path, monkeypatch
):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    line = ["evaluate", suite, "--model", str(sd_folder), "--lists", str(lists), "--out", str(tmp_path / "out")]
    codes = []
    for cached in (None, tmp_path / "first", tmp_path / "second"):
        monkeypatch.setattr("plaudit.runs.provenance.cached_folder", lambda _files, folder=cached: folder)
        codes.append(main([*line, "--prompts", "1", "--images-per-prompt", "1"]))
    assert codes == ([0, 0, 0] if goes_on else [0, 1, 1])


def test_a_detector_of_ones_own_finds_the_objects(sd_folder, lists, tmp_path, capsys, monkeypatch):
    """A folder in a published format, of random weights; colours are named by nobody's network."""
    folder, out = save_owlv2(tmp_path / "owlv2"), tmp_path / "out"
    asked = []

    def colours(_name, **_):
        return lambda _image, found, label: asked.append(label) or ["red"] * len(found)

    monkeypatch.setattr("plaudit.suites.geneval.load_clip_colours", colours)
    line = ["evaluate", "geneval", "--model", str(sd_folder), "--lists", str(lists), "--out", str(out), "--json"]
    assert main([*line, "--detector", str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == 8
    assert said["suite"]["scorer"]["detector"]["name"] == str(folder)
    assert list(said["suite"]["scorer"]["detector"]["weights"]) == ["model.safetensors"]
    parts = {tuple(one["parts"]) for one in json.loads((out / "evaluation.json").read_text())["judged"]}
    assert parts == {("kite",), ("2 kite, fewer than 3",)}
    assert asked == []


@pytest.mark.parametrize("suite", ["pocket", "dpg-bench", "partiprompts"])
def test_a_detector_is_refused_where_nobody_would_ask_it(suite, capsys):
    assert main(["evaluate", suite, "--detector", "owlv2-base"]) == 2
    suites = "(geneval, t2i-compbench, t2i-compbench-numeracy)"
    says = f"--detector is for suites that a detector scores {suites}, and {suite!r} is none"
    assert says in capsys.readouterr().err


def test_a_table_of_prompts_is_refused(tmp_path, capsys):
    file = tmp_path / "mine.csv"
    file.write_text("prompt,seed\na red star,3\n")
    assert main(["evaluate", str(file), "--reward", "hps"]) == 1
    assert "mine.csv' is a table, and nothing says which column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("nothing.txt", 1, "there is no file of prompts 'nothing.txt'"),
        ("genevla", 2, "Did you mean 'geneval'?"),
        ("genevla --detector owlv2-base", 2, "Did you mean 'geneval'?"),
        ("geneval --detector owlv2-bas", 1, "no detector named 'owlv2-bas'. Did you mean 'owlv2-base'?"),
        ("partiprompts --reward hpz", 1, "no reward named 'hpz'"),
        ("partiprompts --reward hps --held-out hps", 1, "'hps' is given twice"),
        ("partiprompts --reward hps --category Art", 1, "no category 'Art'; it has Abstract, Arts"),
        ("geneval --lists none", 1, "'none' has no geneval/evaluation_metadata.jsonl; it is at https://"),
        ("hpsv2 --reward hps", 1, "nobody has pinned"),
        ("pocket --reward hps", 2, "--reward is for a board or a --method, and 'pocket' has a judge of its own"),
        ("pocket --method reno --held-out imagereward", 2, "take: plaudit compare"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(line, code, says, lists, capsys):
    words = line.split()
    if words[0] == "partiprompts" or "owlv2-bas" in words:
        words += ["--lists", str(lists)]
    assert main(["evaluate", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert next(it for it in err.splitlines() if "is not the pinned one" not in it).startswith("plaudit: ")
    assert "Traceback" not in err


def test_prompts_that_the_training_saw_are_told_of(sd_folder, lists, capsys, tmp_path, monkeypatch):
    said = "partiprompts: 1 of 2 prompts are trained on word by word"
    noted = [said, "geneval: 1 of 2 prompts are trained on"]
    (tmp_path / "run.json").write_text(json.dumps({"kind": "training", "overlaps": noted}))
    # What a training leaves is drawn from elsewhere; here its model is as it was.
    for name in ("chosen_model", "load_model", "check_model"):
        function = getattr(plaudit.shells.drawing, name)

        def of_the_base(options, *rest, function=function):
            return function(dataclasses.replace(options, model=str(sd_folder)), *rest)

        monkeypatch.setattr(plaudit.shells.drawing, name, of_the_base)
    line = ("partiprompts", "--model", tmp_path, *REWARDS, "--lists", lists, "--json")
    out, err = evaluate(*line, capsys=capsys)
    assert f"plaudit: {said}; what it measures" in err
    assert "geneval" not in err
    assert json.loads(out)["suite"]["trained_on"] == [said]
    # What it wrote down says more than what it noted, also of a file that is nobody's benchmark.
    (tmp_path / "training_prompts.txt").write_text("two red stars\n")
    mine = tmp_path / "mine.txt"
    mine.write_text("Two red stars!\na ring\n")
    _, err = evaluate(mine, "--model", tmp_path, *REWARDS, capsys=capsys)
    assert "1 of 2 prompts are trained on word by word" in err
    _, err = evaluate(*line, capsys=capsys)
    assert said not in err


def judged(prompt, category, right, value, **parts):
    return Judged(
        row=prompt, prompt_index=prompt, image_index=0, prompt="", category=category, unseen=prompt == 1,
        right=right, reasons=(), score=value, parts=parts,
    )  # fmt: skip


def test_the_table_has_both_numbers_their_intervals_and_chance():
    suite = pocket()
    found = score([judged(0, "counting", True, 1.0), judged(1, "position", False, 0.5), judged(2, "position", True, 1)])
    table = as_table(found, suite)
    head, overall, counting, position, seen, unseen, *words = table.splitlines()
    assert head.split() == ["right", "95", "%", "interval", "score", "95", "%", "interval", "prompts"]
    assert overall.startswith("overall (mean of categories)")
    assert overall.split()[4:5] == ["0.750"]
    assert counting.split()[-1] == "1"
    # One prompt alone: its score has no interval.
    assert "unknown" in counting
    assert position.split()[1] == "0.500"
    assert position.split()[5] == "0.750"
    assert (seen.split()[:3], unseen.split()[:3]) == (
        ["seen", "combinations", "1.000"],
        ["unseen", "combinations", "0.000"],
    )
    assert words[0] == "3 images"
    assert "right about 0.04, score about 0.12" in words[2]
    assert len({line.rfind(line.split()[-1]) for line in (overall, counting, position, seen)}) == 1


def test_kinds_of_parts_stand_below_the_score_that_they_make_up():
    suite = dataclasses.replace(pocket(), parts=("entity",), chance=None, strict_chance=None)
    found = score([judged(0, "all", True, 1.0, **{"entity: a kite?": 1.0, "entity: a hill?": 0.0})], parts=suite.parts)
    table = as_table(found, suite)
    assert "of kind entity" in table
    assert "pictures of other prompts would get: not known" in table


def test_an_evaluation_without_scores_has_no_column_of_them():
    found = score([dataclasses.replace(judged(0, "counting", True, None), score=None)])
    assert "score " not in as_table(found, pocket()).splitlines()[0]


def test_a_graded_suite_without_right_and_wrong_has_one_column():
    suite = dataclasses.replace(pocket(), chance=None)
    table = as_table(score([judged(0, "color", None, 0.25), judged(1, "shape", None, 0.75)]), suite)
    assert table.splitlines()[0].split() == ["score", "95", "%", "interval", "prompts"]
    assert "right" not in table
    assert table.splitlines()[1].split()[4] == "0.500"
    assert "would get: not known" in table


def test_what_is_told_of_a_suite_is_json():
    assert json.loads(json.dumps(about(pocket())))["measures"].startswith("share of the requirements")
