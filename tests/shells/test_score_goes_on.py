"""`plaudit score` passes what it cannot score, and meets names of every kind."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plaudit.shells.cli import main

LATIN = os.fsdecode(b"caf\xe9.png")
"""a name as older disks have it, which is no UTF-8"""
names_of_bytes = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="its disks hold no such names")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """six pictures, each of one grey; and a reward that cannot say what it thinks of the fourth."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for shade in range(6):
        Image.new("L", (8, 8), shade * 51).save(f"photos/{shade}.png")
    (tmp_path / "picky.py").write_text(
        "class Picky:\n"
        "    differentiable = True\n"
        "    def __call__(self, images, prompts):\n"
        "        bright = images.mean(dim=(1, 2, 3))\n"
        "        return bright.where((bright - 0.6).abs() > 0.01, float('nan'))\n"
    )
    return Path("photos")


def scored(*line, reward="./picky.py:Picky", code=0):
    assert main(["score", *map(str, line), "--reward", reward]) == code


def kept(file="s.jsonl"):
    return [json.loads(line) for line in Path(file).read_bytes().splitlines()]


def test_a_score_that_is_not_finite_costs_its_picture_alone(photos, capsys):
    scored(photos, "--prompt", "x", "--out", "s.jsonl", "--json", code=1)
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert [row["file"] for row in kept()] == [f"photos/{shade}.png" for shade in (0, 1, 2, 4, 5)]
    assert [row["total"] for row in kept()] == pytest.approx([0.0, 0.2, 0.4, 0.8, 1.0])
    assert (told["scored"], told["new"], told["skipped"]) == (5, 5, ["photos/3.png"])
    assert err.splitlines()[-1] == (
        "plaudit: skipped: reward './picky.py:Picky' gave no finite score for 'photos/3.png'"
    )


def test_later_calls_ask_only_for_what_has_no_score(photos, capsys):
    scored(photos, "--prompt", "x", "--out", "s.jsonl", code=1)
    Image.new("L", (8, 8), 30).save(photos / "7.png")
    scored(photos, "--prompt", "x", "--out", "s.jsonl", "--json", code=1)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["new"] == 1
    Image.new("L", (8, 8), 255).save(photos / "3.png")
    scored(photos, "--prompt", "x", "--out", "s.jsonl")
    assert [Path(row["file"]).stem for row in kept()] == ["0", "1", "2", "4", "5", "7", "3"]


def test_on_the_screen_too_the_others_are_shown(photos, capsys):
    scored(photos, "--prompt", "x", "--json", code=1)
    told = json.loads(capsys.readouterr().out)
    assert (len(told["images"]), told["skipped"]) == (5, ["photos/3.png"])


def test_nothing_that_can_be_scored_is_said(photos, capsys):
    scored(photos / "3.png", "--prompt", "x", code=1)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", "plaudit: none of the pictures can be scored, for the reasons above")


@names_of_bytes
@pytest.mark.parametrize("how", [["--json"], ["--json-lines"], [], ["--out", "s.jsonl"]])
def test_a_name_that_is_no_utf_8_is_scored_and_told(how, photos, capsys):
    shutil.copy(photos / "1.png", photos / LATIN)
    scored(photos / LATIN, "--prompt", "x", *how)
    out = capsys.readouterr().out
    rows = {"--json": lambda: json.loads(out)["images"], "--json-lines": lambda: [json.loads(out)], "--out": kept}
    if how:
        assert [row["file"] for row in rows[how[0]]()] == [f"photos/{LATIN}"]
    else:
        assert "photos/caf\\xe9.png" in out


@names_of_bytes
def test_a_file_with_such_a_name_in_it_is_gone_on_with(photos, capsys):
    shutil.copy(photos / "1.png", photos / LATIN)
    scored(photos / "0.png", photos / LATIN, "--prompt", "x", "--out", "s.jsonl")
    scored(photos / "0.png", photos / LATIN, photos / "2.png", "--prompt", "x", "--out", "s.jsonl")
    assert capsys.readouterr().out.splitlines()[-1] == "3 pictures in s.jsonl, 1 of them new"
    assert [row["file"] for row in kept()] == ["photos/0.png", f"photos/{LATIN}", "photos/2.png"]


@names_of_bytes
@pytest.mark.parametrize("how", [[], ["--out", "s.jsonl"]])
def test_such_a_name_can_be_skipped_too(how, photos, capsys):
    (photos / LATIN).write_text("no picture")
    scored(photos / "0.png", photos / LATIN, "--prompt", "x", "--json", *how, code=1)
    assert json.loads(capsys.readouterr().out)["skipped"] == [f"photos/{LATIN}"]


@names_of_bytes
def test_a_line_of_scores_is_a_line_of_a_list(photos):
    """Names in our own spelling come back to the same files."""
    shutil.copy(photos / "1.png", photos / LATIN)
    Path("list.jsonl").write_text(json.dumps({"image": f"photos/{LATIN}", "prompt": "x"}))
    scored("list.jsonl", "--out", "s.jsonl")
    assert kept()[0]["total"] == pytest.approx(0.2)


@pytest.mark.parametrize("how", [["--json"], ["--json-lines"], []])
def test_a_terminal_that_knows_only_ascii_is_no_obstacle(how, photos, monkeypatch):
    shutil.copy(photos / "1.png", photos / "狐é.png")
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))
    scored(photos / "狐é.png", "--prompt", "狐", *how)
    sys.stdout.flush()
    out = screen.getvalue().decode("ascii")
    assert "\\u72d0\\xe9.png" in out if not how else "狐é.png" in json.dumps(json.loads(out), ensure_ascii=False)


@pytest.mark.parametrize("line", [["photos", "--prompt", os.fsdecode(b"caf\xe9")], ["list.jsonl"]])
@pytest.mark.usefixtures("photos")
def test_a_prompt_that_is_no_text_is_refused_in_a_sentence(line, capsys):
    Path("list.jsonl").write_text('{"image": "photos/0.png", "prompt": "caf\\udce9"}\n')
    scored(*line, "--out", "s.jsonl", code=1)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "UTF-8" in err or "line 1 of 'list.jsonl'" in err
    assert not Path("s.jsonl").exists()


@pytest.mark.usefixtures("photos")
def test_a_list_with_a_name_that_no_file_has_is_refused(capsys):
    Path("list.jsonl").write_text('{"image": "\\ud800.png", "prompt": "x"}\n')
    scored("list.jsonl", code=1)
    assert "line 1 of 'list.jsonl'" in capsys.readouterr().err


def test_sixteen_bits_are_scored_as_they_look(photos, capsys):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(photos / "ramp.png")
    scored(photos / "ramp.png", "--prompt", "x", "--json")
    assert json.loads(capsys.readouterr().out)["images"][0]["total"] == pytest.approx(0.5, abs=0.01)
