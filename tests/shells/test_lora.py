"""A finished training from the command line: draw with it, repeat its pictures, evaluate it."""

import hashlib
import json

import pytest
import torch
from made_trainings import made_training

from plaudit.core.picture_files import read_image
from plaudit.runs.folder import RunFolder
from plaudit.runs.provenance import read_provenance
from plaudit.shells.cli import main

PLAIN = ["--images-per-prompt", "2", "--seed", "3", "--device", "cpu"]
LORA_FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture
def rewards(clip_folder):
    return ["--reward", f"{clip_folder}:0.01"]


@pytest.fixture(scope="module")
def training(sd_folder, tmp_path_factory):
    return made_training(tmp_path_factory.mktemp("trained") / "run", sd_folder).path


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def generate(out, *line):
    assert main(["generate", *map(str, line), "--out", str(out)]) == 0
    return RunFolder.open(out)


def pictures(run):
    return [read_image(run.path / record.file) for record in run.records]


@pytest.mark.parametrize("method", ["none", "best-of-n", "reno"])
def test_a_training_is_drawn_with_and_its_pictures_say_so(training, sd_folder, rewards, tmp_path, method):
    line = ["a red square", "--method", method, "--steps", 2, *rewards, *PLAIN]
    run = generate(tmp_path / "tuned", *line, "--lora", training)
    plain = generate(tmp_path / "plain", *line, "--model", sd_folder, "--sampling-steps", 3)
    assert not any(torch.equal(a, b) for a, b in zip(pictures(run), pictures(plain), strict=True))
    digest = hashlib.sha256((training / LORA_FILE).read_bytes()).hexdigest()
    made = read_provenance(run.path / run.records[1].file)
    for told in (run.manifest, made):
        assert (told["settings"]["model"], told["settings"]["lora"]) == (str(sd_folder), str(training))
        assert told["sources"]["model"]["name"] == str(sd_folder)
        assert told["sources"]["model"]["patches"] == [
            {"path": str(training), "scale": 1.0, "weights": {LORA_FILE: digest}}
        ]
    assert "lora" not in plain.manifest["settings"]
    assert "patches" not in plain.manifest["sources"]["model"]
    assert digest[:12] in run.report.read_text()
    again = generate(tmp_path / "again", "--from-image", run.path / run.records[1].file)
    assert torch.equal(pictures(again)[0], pictures(run)[1])


def test_the_training_decides_model_and_steps_and_flags_go_over_it(training, sd_folder, rewards, tmp_path):
    line = ["a red square", "--method", "none", *rewards, *PLAIN]
    run = generate(tmp_path / "run", *line, "--lora", training)
    for name, flags in {
        "spelled": ["--model", sd_folder, "--lora", training / LORA_FILE, "--sampling-steps", 3],
        "as a model": ["--model", training],
        "twice": ["--model", training, "--lora", training],
    }.items():
        same = generate(tmp_path / name, *line, *flags)
        assert all(torch.equal(a, b) for a, b in zip(pictures(run), pictures(same), strict=True)), name
    for name, flags in {"scale": ["--lora-scale", 0.5], "steps": ["--sampling-steps", 2]}.items():
        other = generate(tmp_path / name, *line, "--lora", training, *flags)
        assert not any(torch.equal(a, b) for a, b in zip(pictures(run), pictures(other), strict=True)), name
        picture = other.path / other.records[0].file
        again = generate(tmp_path / f"{name} again", "--from-image", picture)
        assert torch.equal(pictures(again)[0], pictures(other)[0]), name


def test_a_picture_whose_lora_has_changed_is_not_drawn_again_unasked(sd_folder, rewards, tmp_path, capsys):
    path = made_training(tmp_path / "trained", sd_folder).path
    for flag in ("--lora", "--model"):
        run = generate(tmp_path / f"run{flag}", "a red square", "--method", "none", *rewards, *PLAIN, flag, path)
        picture = str(run.path / run.records[0].file)
        kept = (path / LORA_FILE).read_bytes()
        made_training(tmp_path / f"other{flag}", sd_folder, by=0.4).path.joinpath(LORA_FILE).replace(path / LORA_FILE)
        assert main(["generate", "--from-image", picture, "--out", "again"]) == 1
        assert f"has changed since the picture was drawn with it; say {flag} {path}" in capsys.readouterr().err
        other = generate(tmp_path / f"asked{flag}", "--from-image", picture, flag, path)
        assert not torch.equal(pictures(other)[0], pictures(run)[0])
        (path / LORA_FILE).write_bytes(kept)
    (path / LORA_FILE).unlink()
    assert main(["generate", "--from-image", picture, "--out", "gone"]) == 1
    assert f"no longer holds {LORA_FILE}" in capsys.readouterr().err


def test_a_stopped_run_does_not_go_on_with_another_lora(training, sd_folder, rewards, tmp_path, capsys):
    path = made_training(tmp_path / "trained", sd_folder).path
    run = generate(tmp_path / "run", "a red square", "--method", "none", *rewards, *PLAIN, "--lora", path)
    (run.path / run.records[0].file).unlink()
    (path / LORA_FILE).write_bytes((training / LORA_FILE).read_bytes()[:-4] + b"\0\0\0\1")
    assert main(["generate", "--resume", str(run.path)]) == 1
    assert "is not the one that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--lora", "nowhere"], "there is no LoRA at 'nowhere'"),
        (["--lora", "TRAINING/pytorch_lora_weights.safetensors"], "name it with --model"),
        (["--lora", "TRAINING", "--model", "pocket-turb"], "Did you mean 'pocket-turbo'?"),
        (["--lora-scale", "0.5"], "name one with --lora"),
        (["--lora", "TRAINING", "--sampling-steps", "0"], "--sampling-steps must be at least 1, got 0"),
    ],
)
def test_a_lora_that_cannot_be_is_one_sentence(training, capsys, flags, says):
    flags = [flag.replace("TRAINING", str(training)) for flag in flags]
    for command in (["generate", "a red square"], ["evaluate", "pocket"]):
        assert main([*command, *flags]) == 1
        said = capsys.readouterr().err.strip()
        assert says in said
        assert len(said.splitlines()) == 1


def test_another_models_lora_is_one_sentence(training, tmp_path, capfd):
    from conftest import save_stable_diffusion

    folder = save_stable_diffusion(tmp_path / "narrow")
    config = json.loads((folder / "unet" / "config.json").read_text())
    import diffusers

    diffusers.UNet2DConditionModel.from_config({**config, "cross_attention_dim": 16, "block_out_channels": [16, 16]}
    ).save_pretrained(str(folder / "unet"))  # fmt: skip
    capfd.readouterr()
    assert main(["generate", "a red square", "--model", str(folder), "--lora", str(training)]) == 1
    said = capfd.readouterr().err.strip()
    assert "it is another model's LoRA" in said
    assert len(said.splitlines()) == 1


def test_a_training_is_evaluated_like_any_model(training, sd_folder, tmp_path, capsys):
    line = ["--prompts", "3", "--images-per-prompt", "1", "--device", "cpu", "--json"]
    found = {}
    for name, flags in {
        "model": ["--model", training],
        "lora": ["--lora", training],
        "base": ["--model", sd_folder, "--sampling-steps", 3],
    }.items():
        assert main(["evaluate", "pocket", *map(str, flags), *line, "--out", str(tmp_path / name)]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 3
        files = sorted((tmp_path / name / "images").iterdir())
        found[name] = [read_image(file) for file in files]
        told = json.loads((tmp_path / name / "evaluation.json").read_text())["settings"]
        assert told["sources"]["model"]["name"] == str(sd_folder)
        assert ("patches" in told["sources"]["model"]) == (name != "base")
        if name != "base":
            assert main(["generate", "--from-image", str(files[0]), "--out", str(tmp_path / f"{name} again")]) == 0
            assert torch.equal(pictures(RunFolder.open(tmp_path / f"{name} again"))[0], found[name][0])
            capsys.readouterr()
    assert all(torch.equal(a, b) for a, b in zip(found["model"], found["lora"], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(found["model"], found["base"], strict=True))


def test_a_finished_command_line_training_is_drawn_with(sd_folder, rewards, tmp_path):
    train = [
        "train", "rlcm", "a red square", "--model", str(sd_folder), "--reward", "compressibility", "--steps", "2",
        "--updates", "1", "--prompts-per-update", "1", "--images-per-prompt", "2", "--rank", "2", "--device", "cpu",
    ]  # fmt: skip
    assert main([*train, "--out", "trained"]) == 0
    run = generate(tmp_path / "run", "a red square", "--method", "none", *rewards, *PLAIN, "--lora", "trained")
    assert run.manifest["sources"]["model"]["patches"][0]["path"] == "trained"
    card = (tmp_path / "trained" / "README.md").read_text()
    assert f"base_model: {sd_folder}" in card
    assert "1, among them:\n\n    a red square\n" in card
    assert "| prompts_per_update | 1 |".replace("_", " ") in card
