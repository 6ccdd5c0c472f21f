"""What is said anew beside `plaudit train --resume` is recorded, so that the next plain --resume goes on with it."""

import json

import pytest
import torch

from plaudit.methods.rlcm import Rlcm
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.looks import FixedLook
from plaudit.shells import training_options
from plaudit.shells.cli import main
from plaudit.shells.train_ar_grpo import ArGrpoOptions
from plaudit.shells.train_rlcm import RlcmOptions

SMALL = [
    "a red square", "two blue circle", "--reward", "compressibility", "--held-out", "incompressibility", "--steps", "3",
    "--updates", "2", "--prompts-per-update", "2", "--images-per-prompt", "2", "--rank", "2", "--save-every", "1",
    "--device", "cpu", "--lr", "0.01", "--decay", "linear",
]  # fmt: skip


def train(model, out, *more):
    return main(["train", "rlcm", *SMALL, "--model", str(model), "--out", str(out), *more])


def go_on(out, *more):
    return main(["train", "rlcm", "--resume", str(out), "--device", "cpu", *more])


def settings_of(out):
    return json.loads((out / "run.json").read_text())["settings"]


def stop_in_update(number, monkeypatch):
    """Ctrl-C while this update, 1 for the first that is made from now on, is judged."""
    judge, calls = Rlcm.judge, []

    def stopping(self, batch):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return judge(self, batch)

    monkeypatch.setattr(Rlcm, "judge", stopping)


def test_more_updates_are_still_wanted_after_another_stop(sd_folder, tmp_path, monkeypatch, capsys):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for out in (stopped, whole):
        assert train(sd_folder, out) == 0
    assert go_on(whole, "--updates", "5") == 0
    with monkeypatch.context() as patch:
        stop_in_update(2, patch)
        assert go_on(stopped, "--updates", "5") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"3 updates are kept in {str(stopped)!r}. Go on with: plaudit train rlcm --resume {stopped}")
    assert settings_of(stopped)["updates"] == 5
    assert go_on(stopped) == 0
    ends = [Checkpoints(out).newest() for out in (stopped, whole)]
    assert [end.facts["update"] for end in ends] == [5, 5]
    # The rate falls over all updates that are wanted now, whichever call makes them.
    assert all(torch.equal(value, ends[0].tensors[name]) for name, value in ends[1].tensors.items())


def test_a_training_that_was_told_not_to_stop_when_hacked_remembers_it(sd_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(FixedLook, "__call__", lambda _, done: {"reward": float(done), "held_out": -float(done)})
    out = tmp_path / "run"
    assert train(sd_folder, out, "--updates", "4", "--stop-when-hacked", "2") == 0
    assert Checkpoints(out).newest().facts["update"] == 2
    with monkeypatch.context() as patch:
        stop_in_update(2, patch)
        assert go_on(out, "--stop-when-hacked", "0") == 1
    assert settings_of(out)["stop_when_hacked"] == 0
    assert go_on(out) == 0
    assert Checkpoints(out).newest().facts["update"] == 4


def test_another_batch_size_changes_no_weight_but_by_rounding(sd_folder, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for out in (one, other):
        assert train(sd_folder, out, "--updates", "1", "--batch-size", "4", "--lr", "0.0001") == 0
    assert go_on(one, "--updates", "3") == 0
    assert go_on(other, "--updates", "3", "--batch-size", "1") == 0
    assert settings_of(one)["batch_size"] == 4
    assert settings_of(other)["batch_size"] == 1
    kept, found = (Checkpoints(out).newest().tensors for out in (one, other))
    for name, value in kept.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_what_cannot_be_said_anew_is_not_recorded(sd_folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(sd_folder, out, "--updates", "1") == 0
    before = (out / "run.json").read_bytes()
    assert go_on(out, "--batch-size", "0") == 1
    assert "batch_size must be at least 1" in capsys.readouterr().err
    assert go_on(out, "--updates", "2", "--grad-clip", "1") == 2
    assert "leave --grad-clip out" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (RlcmOptions, {"updates", "stop_when_hacked", "batch_size"}),
        (ArGrpoOptions, {"updates", "stop_when_hacked", "batch_size", "draw_batch_size"}),
    ],
)
def test_every_method_records_those_of_its_own(options, names):
    assert set(training_options.said_anew(options())) == names


def test_token_trainings_take_both_batch_sizes_beside_resume(tmp_path):
    from dataclasses import asdict

    from plaudit.runs.training_folder import TrainingFolder

    folder = TrainingFolder.create(tmp_path / "run", name="x", command="plaudit", settings={"updates": 2}, sources={})
    folder.manifest["method"] = "ar-grpo"
    folder.save()
    typed = asdict(ArGrpoOptions(resume=folder.path, batch_size=2, draw_batch_size=8))
    assert training_options.recorded(typed, ArGrpoOptions, method="ar-grpo") == {"updates": 2}
