"""`plaudit compare` on a benchmark whose pictures a detector judges: a published format, random weights."""

import json

import pytest
import torch
from tiny_detectors import save_owlv2
from tiny_lists import write_lists

import plaudit.shells.compare
from plaudit.shells.cli import main


@pytest.fixture
def line(sd_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PLAUDIT_SUITES_DIR", raising=False)
    # Colours are named by nobody's network.
    monkeypatch.setattr(
        "plaudit.suites.geneval.load_clip_colours",
        lambda _name, **_: lambda _image, found, _label: ["red"] * len(found),
    )
    words = [
        "compare", str(sd_folder), f"{sd_folder}:best-of-n:steps=2", "--suite", "geneval",
        "--reward", "compressibility", "--lists", str(write_lists(tmp_path / "lists")), "--images-per-prompt", "1",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    return words


def test_a_detector_of_ones_own_judges_all_systems_and_is_recorded(line, tmp_path, capsys):
    folder = save_owlv2(tmp_path / "owlv2")
    assert main([*line, "--detector", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["results"]["entrants"]) == 2
    scorer = found["settings"]["scorer"]
    assert (scorer["detector"]["name"], scorer["colours"]["name"]) == (str(folder), "clip-vit-l14")
    assert list(scorer["detector"]["weights"]) == ["model.safetensors"]
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    for place in content["entrants"].values():
        judged = json.loads((tmp_path / "out" / place["folder"] / "evaluation.json").read_text())["judged"]
        assert {part for one in judged for part in one["parts"]} == {"kite", "2 kite, fewer than 3"}
    assert f"Judged by: {folder} (detector), clip-vit-l14 (colours)." in (tmp_path / "out/compare.html").read_text()


def test_another_detector_is_another_comparison(line, tmp_path, capsys):
    assert main([*line, "--detector", str(save_owlv2(tmp_path / "owlv2"))]) == 0
    (tmp_path / "other").mkdir()
    other = save_owlv2(tmp_path / "other" / "owlv2")
    before = (tmp_path / "out/comparison.json").read_text()
    assert main([*line, "--detector", str(other)]) == 1
    assert "holds a comparison with another scorer; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "out/comparison.json").read_text() == before


def test_a_folder_that_does_not_say_who_judged_is_not_gone_on_with(line, tmp_path, capsys):
    line += ["--detector", str(save_owlv2(tmp_path / "owlv2"))]
    assert main(line) == 0
    file = tmp_path / "out/comparison.json"
    content = json.loads(file.read_text())
    del content["settings"]["scorer"]
    file.write_text(json.dumps(content))
    assert main(line) == 1
    assert "does not say who judged its pictures" in capsys.readouterr().err


def test_a_system_that_does_not_fit_is_said_in_a_few_words(line, tmp_path, capsys, monkeypatch):
    def full(bench, entrant, *_):
        if entrant.method == "best-of-n":
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
            )
        return draw(bench, entrant, *_)

    draw = plaudit.shells.compare.draw_entrant
    monkeypatch.setattr(plaudit.shells.compare, "draw_entrant", full)
    assert main([*line, "--detector", str(save_owlv2(tmp_path / "owlv2"))]) == 1
    assert "failed: the GPU is out of memory (2.00 GiB more were wanted); the others go on\n" in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["pocket", "partiprompts"])
def test_a_detector_is_refused_where_nobody_would_ask_it(suite, capsys):
    line = ["compare", "pocket-turbo", "pocket-turbo:reno", "--suite", suite, "--detector", "owlv2-base"]
    assert main(line) == 2
    assert f"and {suite!r} is none" in capsys.readouterr().err
