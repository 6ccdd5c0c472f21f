import json

import pytest
import torch
from PIL import Image

from plaudit.core.picture_files import read_image
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import parse
from plaudit.pocket.render import render
from plaudit.runs.provenance import png_bytes
from plaudit.shells.cli import main
from plaudit.shells.pocket import scene_for


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))))
    return path


def test_score_gives_each_reward_and_the_weighted_sum(picture, clip_folder, image_reward_folder, capsys):
    from plaudit.rewards.table import load_reward

    rewards = [f"{clip_folder}:0.5", f"{image_reward_folder}:2"]
    assert main(["score", str(picture), "--prompt", "a fox", "--reward", *rewards, "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    (row,) = answer["images"]
    expected = float(load_reward(str(clip_folder))(read_image(picture)[None], ["a fox"])[0])
    assert row["parts"][str(clip_folder)] == pytest.approx(expected, rel=1e-5)
    assert row["total"] == pytest.approx(0.5 * expected + 2 * row["parts"][str(image_reward_folder)])
    assert row["judge"] is None
    assert answer["weights"] == {str(clip_folder): 0.5, str(image_reward_folder): 2.0}
    assert err == ""


def test_score_asks_the_judge_about_scenes(tmp_path, clip_folder, capsys):
    prompt = "three blue stars"
    good = tmp_path / "good.png"
    good.write_bytes(png_bytes(render([scene_for(parse(prompt), seed=1)])[0]))
    Image.new("RGB", (64, 64), "white").save(tmp_path / "empty.png")
    line = ["score", str(good), str(tmp_path / "empty.png"), "--prompt", prompt, "--reward", str(clip_folder)]
    assert main([*line, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["images"]
    assert [row["judge"]["right"] for row in rows] == [True, False]
    assert main(line) == 0
    assert "wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["score", "text", "--prompt", "x"], "is not an image that can be read"),
        (["score", "none.png", "--prompt", "x"], "there is no file 'none.png'"),
        (["score", "a.png"], "does not say what it shows; give --prompt"),
        (["score", "a.png", "--prompt", " "], "the prompt is empty"),
        (["score", "a.png", "--prompt", "x", "--reward", "hsp"], "Did you mean 'hps'?"),
        (["check", "reward", "hsp"], "Did you mean 'hps'?"),
        (["check", "model", "pocket-trubo"], "Did you mean 'pocket-turbo'?"),
        (["pocket", "build", "pocket-trubo"], "Did you mean 'pocket-turbo'?"),
        (["pocket", "show", "a fox"], "is not about the pocket world"),
    ],
)
@pytest.mark.usefixtures("picture")
def test_bad_input_is_one_sentence(line, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("not a picture")
    assert main(line) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_check_says_that_a_contract_holds_or_what_broke_it(clip_folder, sd_folder, capsys, monkeypatch):
    assert main(["check", "reward", str(clip_folder)]) == 0
    assert main(["check", "model", str(sd_folder)]) == 0
    assert capsys.readouterr().out.count("keeps the contract") == 2
    from plaudit.rewards.clip_towers import ClipTowers

    score = ClipTowers.__call__
    monkeypatch.setattr(ClipTowers, "__call__", lambda self, images, prompts: score(self, images, prompts)[:1])
    assert main(["check", "reward", str(clip_folder)]) == 1
    assert capsys.readouterr().err.startswith("plaudit: ")


@pytest.mark.parametrize(
    "prompt",
    [
        "three blue stars",
        "a red ring left of a green square on a black background",
        "a heart below a pink cross",
        "two diamonds",
        "a circle",
        "a purple triangle and a red triangle",
    ],
)
def test_a_shown_scene_is_what_its_prompt_asks_for(prompt, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        assert main(["pocket", "show", prompt, "--seed", str(seed), "--out", "s.png"]) == 0
        assert "the judge says: right" in capsys.readouterr().out
    assert judge(read_image(tmp_path / "s.png")[None], [parse(prompt)])[0].right


def test_the_doctor_looks_at_everything_and_answers_with_one_object(capsys):
    code = main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == (0 if answer["works"] else 1)
    seen = {finding["what"]: finding for finding in answer["findings"]}
    assert {"device", "bfloat16", "pocket-turbo", "working folder", "hub cache"} <= set(seen)
    assert answer["works"] == all(finding["state"] != "bad" for finding in answer["findings"])


@pytest.mark.parametrize(
    ("needs", "state", "says"),
    [
        ("torch>=2.6", "good", torch.__version__),
        ("torch<2", "note", "made for <2"),
        ("no-such-package>=1", "bad", "missing"),
    ],
)
def test_the_doctor_compares_packages_with_what_is_required(needs, state, says, monkeypatch):
    from plaudit.shells import doctor

    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: [needs, "pytest>=99; extra == 'dev'"])
    (finding,) = doctor.packages()
    assert finding.state == state
    assert says in finding.says


def test_the_doctor_finds_a_missing_model(capsys, monkeypatch, tmp_path):
    from plaudit.pocket import folders

    monkeypatch.setattr(folders, "WEIGHTS", tmp_path)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BAD   pocket-turbo" in out
    assert "plaudit pocket build pocket-turbo" in out


@pytest.mark.parametrize(("score", "code", "verdict"), [(0.95, 0, "met"), (0.5, 1, "MISSED")])
def test_building_shows_each_models_way_and_its_score(score, code, verdict, monkeypatch, capsys, tmp_path):
    from plaudit.claims import pocket_models
    from plaudit.pocket.build import install, recipe
    from plaudit.pocket.build.loop import Progress

    asked = []

    def build(names, work_dir, *, seed, device):
        asked.append((tuple(names), work_dir, seed, str(device)))
        now = Progress(step=50, steps=200, batch=8, loss=0.25, parts={"pixels": 0.125}, images_per_second=10.0)
        yield recipe.Report(part="towers", done=1, total=3, progress=now)

    def measure(name, **_):
        return [pocket_models.Score(model=name, what="right captions", value=score, low=0.9)]

    monkeypatch.setattr(recipe, "build", build)
    monkeypatch.setattr(install, "install", lambda name, _, *, root: root / name)
    monkeypatch.setattr(pocket_models, "measure", measure)
    line = ["pocket", "build", "pocket-clip", "--work-dir", str(tmp_path), "--seed", "4", "--device", "cpu"]
    assert main([*line, "--install-to", str(tmp_path / "weights")]) == code
    assert asked == [(("pocket-clip",), tmp_path, 4, "cpu")]
    out, err = capsys.readouterr()
    assert "pocket-clip  towers  1/3  loss 0.2500  pixels 0.1250  10 images/s  2 min left\n" in err
    assert out == f"pocket-clip  right captions: {score:.3f}  (bar 0.90 or more: {verdict})\n"


def test_building_from_what_is_installed_takes_the_rest_as_it_is(monkeypatch, capsys, tmp_path):
    from plaudit.claims import pocket_models
    from plaudit.pocket.build import install, recipe

    monkeypatch.setattr(recipe, "build", lambda *_, **__: iter(()))
    monkeypatch.setattr(install, "install", lambda name, _, *, root: root / name)
    monkeypatch.setattr(pocket_models, "measure", lambda *_, **__: [])
    line = ["pocket", "build", "pocket-clip", "--work-dir", str(tmp_path), "--from-shipped"]
    assert main(line) == 0
    err = capsys.readouterr().err
    assert "text_encoder  taken as it is installed\n" in err
    assert "clip  taken" not in err
    assert (tmp_path / "text_encoder" / "config.json").is_file()


def test_building_from_what_is_installed_wants_a_name(capsys):
    assert main(["pocket", "build", "--from-shipped"]) == 2
    assert "name one, for example pocket-turbo" in capsys.readouterr().err
