"""TensorBoard and trackio hear what the log holds, also of a training that was stopped."""

import json
import sys
from pathlib import Path

import pytest
import torch

from plaudit.core.errors import MissingExtra, UnknownName
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.provenance import png_bytes
from plaudit.runs.trackers import EVENTS, check_trackers, reporting_to
from plaudit.runs.training_folder import TrainingFolder


@pytest.fixture
def folder(tmp_path: Path) -> TrainingFolder:
    return TrainingFolder.create(
        tmp_path / "run", name="x", command="plaudit train", settings={"lr": 0.1}, sources={"model": "tiny"}
    )


def report(folder, name, updates):
    """What a training would send: lines, and a look's picture with the even ones."""
    with reporting_to([name], folder) as trackers:
        for update in updates:
            line = {"update": update, "reward": update / 2, "kl": None}
            if update % 2 == 0:
                (folder.path / "samples").mkdir(exist_ok=True)
                picture = torch.full((3, 2, 4), update / 10)
                (folder.path / f"samples/{update:06d}.png").write_bytes(png_bytes(picture))
                line["look_reward"] = float(update)
            trackers[0].write(line)


def test_tensorboard_has_the_curves_and_the_pictures_of_a_training_that_went_on(folder):
    pytest.importorskip("tensorboard", reason="the extra 'log' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report(folder, "tensorboard", range(6))
    # The training stops after update 5, of which the newest checkpoint knows 3.
    Checkpoints(folder.path).save(3, {"x": torch.zeros(1)}, {})
    report(folder, "tensorboard", range(4, 7))
    events = EventAccumulator(str(folder.path / EVENTS))
    events.Reload()
    assert events.Tags()["scalars"] == ["reward", "look/reward"]
    assert [(it.step, it.value) for it in events.Scalars("reward")] == [(n, n / 2) for n in range(7)]
    assert [(it.step, it.value) for it in events.Scalars("look/reward")] == [(n, n) for n in (0, 2, 4, 6)]
    pictures = events.Images("look")
    assert [(it.step, it.width, it.height) for it in pictures] == [(n, 4, 2) for n in (0, 2, 4, 6)]


FAKE = """
import json, pathlib
file = pathlib.Path(__file__).with_name("calls.jsonl")
def note(*call):
    with file.open("a") as out:
        out.write(json.dumps(call) + "\\n")
def init(project, name=None, config=None, resume="never"):
    note("init", project, name, config, resume)
def log(metrics, step=None):
    note("log", metrics, step)
def finish():
    note("finish")
"""


def test_trackio_hears_every_line_under_one_name(folder, tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/trackio.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path / "fake"))
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    check_trackers(["trackio"])
    report(folder, "trackio", [0, 1])
    report(folder, "trackio", [2])
    calls = [json.loads(line) for line in (tmp_path / "fake/calls.jsonl").read_text().splitlines()]
    monkeypatch.delitem(sys.modules, "trackio")
    assert [call[0] for call in calls] == ["init", "log", "log", "finish", "init", "log", "finish"]
    first, second = (call for call in calls if call[0] == "init")
    assert first == second
    assert first[1] == "plaudit"
    assert first[2].startswith("run 20")
    assert first[3:] == [{"lr": 0.1}, "allow"]
    assert [call[1:] for call in calls if call[0] == "log"] == [
        [{"reward": 0.0, "look_reward": 0.0}, 0],
        [{"reward": 0.5}, 1],
        [{"reward": 1.0, "look_reward": 2.0}, 2],
    ]


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_package_that_is_not_there_is_an_instruction(folder, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for module in (name, "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    says = rf"reporting to {name} needs the package '{name}'. Install it with: pip install 'plaudit\[log\]'"
    with pytest.raises(MissingExtra, match=says):
        check_trackers([name])
    with pytest.raises(MissingExtra, match=says), reporting_to([name], folder):
        pass


def test_what_there_is_to_report_to_is_said():
    with pytest.raises(UnknownName, match="reports to tensorboard or trackio, not to 'wandb'"):
        check_trackers(["wandb"])


def test_nobody_need_be_told(folder):
    with reporting_to([], folder) as trackers:
        assert trackers == []
    assert not (folder.path / EVENTS).exists()
