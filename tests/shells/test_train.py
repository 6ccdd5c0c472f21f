"""`plaudit train rlcm`: from a folder of a model to a LoRA that draws what was trained; stops lose nothing."""

import json

import pytest
import torch
from audited import check_audited
from safetensors.torch import load_file

from plaudit.runs.checkpoints import Checkpoints
from plaudit.shells.cli import main

SMALL = [
    "--preset", "pocket-compression", "--reward", "compressibility", "--held-out", "incompressibility", "--steps", "3",
    "--updates", "4", "--prompts-per-update", "2", "--images-per-prompt", "2", "--rank", "2", "--save-every", "2",
    "--device", "cpu", "--lr", "0.01",
]  # fmt: skip

MEASURED = {"reward", "held_out", "accuracy", "diversity", "drift", "colour", "saturation"}
"""at every look; the judge knows the first of the prompts"""


def train(folder, out, *more):
    return main(
        ["train", "rlcm", "a red square", "two blue circle", "--model", str(folder), "--out", str(out), *SMALL, *more]
    )


@pytest.fixture(scope="module")
def trained(sd_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train(sd_folder, out, "--json") == 0
    return out


def lines_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_it_leaves_a_lora_a_log_looks_and_a_report(trained):
    assert (trained / "pytorch_lora_weights.safetensors").is_file()
    assert [line["update"] for line in lines_of(trained)] == [0, 1, 2, 3, 4]
    for kind in ("png", "json"):
        assert sorted(file.stem for file in (trained / "samples").glob(f"*.{kind}")) == ["000000", "000002", "000004"]
    manifest = json.loads((trained / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["settings"]["prompts"] == ["a red square", "two blue circle"]
    page = (trained / "report.html").read_text()
    assert "before training" in page
    assert "after 4 updates" in page
    looks = [line for line in lines_of(trained) if "look_reward" in line]
    assert all(line["look_reward"] == pytest.approx(-line["look_held_out"]) for line in looks)


def test_the_verdict_is_in_run_json_the_model_card_and_the_report(trained):
    check_audited(trained)
    verdict = json.loads((trained / "run.json").read_text())["verdict"]
    assert verdict["word"] in ("improved", "hacked", "worse", "unchanged")
    assert verdict["updates"] == 4
    assert {change["name"] for change in verdict["changes"]} == MEASURED
    assert f"**Verdict: {verdict['word']}.** {verdict['because']}" in (trained / "README.md").read_text()
    assert f"<strong>{verdict['word']}</strong>" in (trained / "report.html").read_text()
    for name in ("audit", "looks"):
        assert (trained / f"{name}.csv").is_file()


def test_the_lora_is_not_nothing(trained):
    tensors = load_file(trained / "pytorch_lora_weights.safetensors")
    assert any(value.abs().sum() > 0 for name, value in tensors.items() if "lora_B" in name or "lora.up" in name)


def test_one_json_object_is_on_stdout(sd_folder, tmp_path, capsys):
    assert train(sd_folder, tmp_path / "run", "--json", "--updates", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "finished"
    assert told["updates"] == 1
    assert set(told["before"]) == set(told["after"]) == MEASURED
    assert told["verdict"]["word"] in ("improved", "hacked", "worse", "unchanged")


def test_a_stopped_training_goes_on_to_the_same_weights(sd_folder, trained, tmp_path, monkeypatch, capsys):
    from plaudit.methods.rlcm import Rlcm

    judge, calls = Rlcm.judge, []

    def stopping(self, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return judge(self, batch)

    out = tmp_path / "run"
    monkeypatch.setattr(Rlcm, "judge", stopping)
    assert train(sd_folder, out) == 1
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C; 2 updates are kept" in said
    assert "--resume" in said
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    monkeypatch.setattr(Rlcm, "judge", judge)
    assert main(["train", "rlcm", "--resume", str(out), "--json", "--device", "cpu"]) == 0
    assert lines_of(out) == lines_of(trained)
    first, second = Checkpoints(out).newest(), Checkpoints(trained).newest()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in second.tensors)
    for look in (trained / "samples").iterdir():
        assert (out / "samples" / look.name).read_bytes() == look.read_bytes()
    assert (
        json.loads((out / "run.json").read_text())["verdict"]
        == json.loads((trained / "run.json").read_text())["verdict"]
    )


def test_the_end_says_the_verdict_in_a_line(sd_folder, tmp_path, capsys):
    assert train(sd_folder, tmp_path / "run", "--updates", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    verdict = json.loads((tmp_path / "run" / "run.json").read_text())["verdict"]
    assert f"{verdict['word']}: {verdict['because']}" in lines
    assert lines[-1].startswith("report: ")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--preset", "pocket-compresion"], 2, "Did you mean 'pocket-compression'?"),
        (["--updates", "0"], 1, "updates must be at least 1, got 0"),
        (["--reward", "hps", "--held-out", "hps"], 1, "cannot be trained on and held out at once"),
        ([" "], 1, "prompt 1 of 1 is empty"),
        (["--resume", "nowhere"], 1, "holds no training"),
        (["--model", "pocket-turbo"], 1, "take at least 2 steps"),
        (["--reward", "hsp"], 1, "Did you mean 'hps'?"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, code, says, tmp_path, capsys):
    out = [] if "--resume" in arguments else ["--out", str(tmp_path / "run")]
    assert main(["train", "rlcm", *arguments, *out]) == code
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1


def test_resume_keeps_its_own_settings(trained, capsys):
    assert main(["train", "rlcm", "--resume", str(trained), "--lr", "1"]) == 2
    assert "leave --lr out" in capsys.readouterr().err
