"""`plaudit score` on many pictures: folders, lists, files of scores that are gone on with."""

import json

import pytest
import torch
from PIL import Image

from plaudit.core.picture_files import read_image
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.table import load_reward
from plaudit.runs import scoring
from plaudit.runs.provenance import png_bytes
from plaudit.runs.scoring import Picture, ScoreFile, score_pictures
from plaudit.shells.cli import main

REWARD = ["--reward", "compressibility:0.5", "incompressibility:2:max=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """five pictures of two sizes, one of them in a folder below, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    rng = torch.Generator().manual_seed(0)
    place = tmp_path / "photos"
    (place / "below").mkdir(parents=True)
    for name, size in (("a.png", 20), ("b.PNG", 20), ("c.png", 12), ("d.png", 20), ("below/e.jpg", 20)):
        pixels = (torch.rand(size, 30, 3, generator=rng) * 255).byte().numpy()
        Image.fromarray(pixels, "RGB").save(place / name)
    (place / "notes.txt").write_text("no picture")
    return place


def scored(*line, code=0):
    assert main(["score", *map(str, line), *REWARD]) == code


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_is_all_pictures_in_it_and_below_in_order(folder, capsys):
    scored(folder, "--prompt", "noise", "--json-lines", "--batch-size", "2")
    rows = lines_of(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [
        str(folder / n) for n in ("a.png", "b.PNG", "below/e.jpg", "c.png", "d.png")
    ]
    for row in rows:
        size = float(load_reward("incompressibility")(read_image(row["file"] and folder / row["file"])[None], [""])[0])
        assert row["parts"]["incompressibility:max=1"] == pytest.approx(min(size, 1.0))
        assert row["parts"]["compressibility"] == pytest.approx(-size)
        assert row["total"] == pytest.approx(-0.5 * size + 2 * min(size, 1.0))
        assert row["normalised"]["compressibility"] == pytest.approx((650 - size) / 649)
        assert row["prompt"] == "noise"


def test_batches_are_of_one_size_and_change_no_score(folder):
    sizes = []

    class Brightness:
        differentiable = True

        def __call__(self, images, prompts):
            sizes.append(tuple(images.shape[::2]))
            return images.flatten(1).mean(dim=1)

    def run(batch_size):
        mix = WeightedSum({"b": (1.0, Brightness())})
        pictures = scoring.pictures_in([str(folder)])
        found = score_pictures(pictures, mix, prompt="x", device="cpu", batch_size=batch_size, skip=lambda *_: None)
        return [(one.file, pytest.approx(one.total)) for one in found]

    whole = run(16)
    assert sizes == [(3, 20), (1, 12), (1, 20)]
    sizes.clear()
    assert run(2) == whole
    assert sizes == [(2, 20), (1, 20), (1, 12), (1, 20)]


def test_a_list_brings_pictures_and_prompts_as_seen_from_its_folder(folder, capsys):
    pairs = [{"image": "a.png", "prompt": "one"}, {"image": "c.png"}, {"image": str(folder / "d.png"), "prompt": "two"}]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)) + "\n\n")
    scored("photos/pairs.jsonl", "photos/b.PNG", "--prompt", "all others", "--json-lines")
    rows = lines_of(capsys.readouterr().out)
    assert [row["prompt"] for row in rows] == ["one", "all others", "two", "all others"]
    assert [row["file"] for row in rows] == ["photos/a.png", "photos/c.png", str(folder / "d.png"), "photos/b.PNG"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"image": "a.png", "prompt": "x"}\nnonsense\n', "line 2 of 'pairs.jsonl'"),
        ('["a.png"]\n', "line 1 of"),
        ('{"picture": "a.png"}\n', 'write it like {"image": "a.png"'),
        ('{"image": "a.png", "prompt": 3}\n', "line 1 of"),
        ('{"image": "a.png", "prompt": ""}\n', "line 1 of"),
        ("\n\n", "names no picture"),
        (b"\xff\xfe{}", "line 1 of"),
    ],
)
def test_a_list_with_a_mistake_is_refused_before_anything_is_scored(text, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    scored("pairs.jsonl", "--json-lines", code=1)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["empty"], 1, "'empty' holds no picture"),
        (["none.jsonl"], 1, "cannot read the list 'none.jsonl'"),
        (["photos", "--json", "--json-lines"], 2, "give one of them"),
        (["photos", "--out", "x.jsonl", "--json-lines"], 2, "give one of them"),
        (["photos", "--batch-size", "0"], 1, "--batch-size must be at least 1"),
        (["photos", "--out", "photos"], 1, "is a folder"),
        (["photos"], 1, "does not say what it shows; give --prompt"),
        (["text.png", "text.png"], 1, "none of the pictures can be scored"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_told(line, code, says, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    prompt = [] if says.startswith("does not") else ["--prompt", "x"]
    scored(*line, *prompt, code=code)
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err.splitlines()[-1]


def test_a_runs_folder_stands_for_its_best_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("images/0.png", "before/0.png", "strips/0.png"):
        (tmp_path / "run" / name).parent.mkdir(parents=True)
        (tmp_path / "run" / name).write_bytes(png_bytes(torch.rand(3, 8, 8)))
    (tmp_path / "run" / "run.json").write_text("{}")
    scored("run", "--prompt", "x", "--json-lines")
    assert [row["file"] for row in lines_of(capsys.readouterr().out)] == ["run/images/0.png"]


def test_what_cannot_be_read_is_named_and_skipped(folder, capsys):
    (folder / "aa.png").write_text("no picture")
    scored(folder, "--prompt", "x", "--json", code=1)
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert len(answer["images"]) == 5
    assert answer["skipped"] == [str(folder / "aa.png")]
    assert err.count("\n") == 1
    assert "aa.png" in err


def test_the_table_has_raw_and_normalised_scores(folder, capsys):
    scored(folder / "a.png", "--prompt", "x")
    size = float(load_reward("incompressibility")(read_image(folder / "a.png")[None], [""])[0])
    out = capsys.readouterr().out
    assert f"{-size:.3f} ({(650 - size) / 649:.2f})" in out


def test_a_reward_without_a_scale_has_no_normalised_score(folder, capsys, clip_folder):
    assert main(["score", str(folder / "a.png"), "--prompt", "x", "--reward", str(clip_folder), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["images"]
    assert row["normalised"] == {str(clip_folder): None}
    assert main(["score", str(folder / "a.png"), "--prompt", "x", "--reward", str(clip_folder)]) == 0
    assert "(  - )" in capsys.readouterr().out


def test_an_interrupted_file_ends_as_if_nothing_had_happened(folder, tmp_path, monkeypatch, capsys):
    line = [folder, "--prompt", "x", "--batch-size", "2"]
    scored(*line, "--out", "whole.jsonl")
    keep, seen = ScoreFile.keep, []

    def stops(self, scores):
        if len(seen) == 3:
            self.path.open("a").write('{"file": "half a li')  # as a killed process leaves it
            raise KeyboardInterrupt
        seen.append(scores)
        keep(self, scores)

    monkeypatch.setattr(ScoreFile, "keep", stops)
    scored(*line, "--out", "cut.jsonl", code=1)
    assert "3 pictures are scored in 'cut.jsonl', and the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(ScoreFile, "keep", keep)
    asked = []
    judged = scoring._scored
    monkeypatch.setattr(scoring, "_scored", lambda batch, *rest: asked.extend(batch) or judged(batch, *rest))
    scored(*line, "--out", "cut.jsonl", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["scored"], told["new"], len(asked)) == (5, 2, 2)
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    rows = lines_of((tmp_path / "cut.jsonl").read_text())
    assert told["means"]["total"] == pytest.approx(sum(row["total"] for row in rows) / 5)
    assert told["means"]["parts"]["compressibility"] == pytest.approx(
        sum(row["parts"]["compressibility"] for row in rows) / 5
    )


def test_a_picture_named_twice_is_scored_twice_and_each_prompt_apart(folder, tmp_path, capsys):
    scored(folder / "a.png", folder / "a.png", "--prompt", "x", "--out", "s.jsonl")
    scored(folder / "a.png", folder / "a.png", "--prompt", "x", "--out", "s.jsonl")
    scored(folder / "a.png", "--prompt", "y", "--out", "s.jsonl")
    assert [row["prompt"] for row in lines_of((tmp_path / "s.jsonl").read_text())] == ["x", "x", "y"]
    assert "3 pictures in s.jsonl, 1 of them new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not scores\n", "holds something else than scores (line 1)"),
        ('{"file": "a"}\n', "holds something else than scores (line 1)"),
    ],
)
def test_a_file_of_something_else_is_left_alone(content, says, folder, tmp_path, capsys):
    (tmp_path / "mine.jsonl").write_text(content)
    scored(folder, "--prompt", "x", "--out", "mine.jsonl", code=1)
    assert says in capsys.readouterr().err
    assert (tmp_path / "mine.jsonl").read_text() == content


def test_a_file_of_other_rewards_or_weights_is_not_gone_on_with(folder, capsys):
    scored(folder, "--prompt", "x", "--out", "s.jsonl")
    for other in (["compressibility:0.5"], ["compressibility:0.6", "incompressibility:2:max=1"]):
        assert main(["score", str(folder), "--prompt", "x", "--out", "s.jsonl", "--reward", *other]) == 1
        assert "other rewards or weights" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_what_was_written_counts(folder, monkeypatch, capsys):
    keep, seen = ScoreFile.keep, []

    def full(self, scores):
        if len(seen) == 2:
            raise OSError(28, "No space left on device", str(self.path))
        seen.append(scores)
        keep(self, scores)

    monkeypatch.setattr(ScoreFile, "keep", full)
    scored(folder, "--prompt", "x", "--out", "s.jsonl", code=1)
    assert "no space left on device" in capsys.readouterr().err
    monkeypatch.setattr(ScoreFile, "keep", keep)
    scored(folder, "--prompt", "x", "--out", "s.jsonl")
    assert "5 pictures in s.jsonl, 3 of them new" in capsys.readouterr().out


def test_a_score_that_is_not_a_number_names_its_picture_and_reward(folder):
    class Broken:
        differentiable = True

        def __call__(self, images, prompts):
            return images.flatten(1).mean(dim=1) * float("nan")

    mix = WeightedSum({"mine": (1.0, Broken())})
    picture, skipped = Picture(file=folder / "a.png", prompt="x"), []
    assert not list(score_pictures([picture], mix, device="cpu", skip=lambda *why: skipped.append(why)))
    ((named, error),) = skipped
    assert named is picture
    assert str(error) == f"reward 'mine' gave no finite score for {str(picture.file)!r}"
