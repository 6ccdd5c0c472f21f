"""`plaudit train rlcm` on two processes: the weights of one, one folder, one voice; and one that fails ends both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plaudit.runs.checkpoints import Checkpoints
from plaudit.shells.cli import main

SETTINGS = [
    "a red square", "two blue circle", "a green star", "--reward", "compressibility", "--held-out", "incompressibility",
    "--steps", "3", "--prompts-per-update", "3", "--images-per-prompt", "2", "--rank", "2", "--device", "cpu",
    "--lr", "0.001", "--ema", "0.5", "--save-every", "2",
]  # fmt: skip

BAD_ON_ONE = """
import os
from plaudit.rewards.jpeg import JpegSize

class Flaky(JpegSize):
    asked = 0
    def __call__(self, images, prompts):
        Flaky.asked += 1
        if os.environ.get("RANK") == "1" and Flaky.asked > 3:
            raise ConnectionRefusedError(111, "Connection refused")
        return super().__call__(images, prompts)
"""


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on two processes, from this folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "plaudit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "train", "rlcm", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def lines_of(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_two_processes_leave_what_one_leaves(sd_folder: Path, tmp_path: Path) -> None:
    said = [*SETTINGS, "--model", str(sd_folder), "--updates", "4"]
    assert main(["train", "rlcm", *said, "--out", str(tmp_path / "one")]) == 0
    # Halfway and on: all of them read the checkpoint.
    half = launch(tmp_path, *said[:-1], "2", "--out", "two", "--json")
    assert half.returncode == 0, half.stderr[-3000:]
    assert json.loads(half.stdout)["updates"] == 2
    done = launch(tmp_path, "--resume", "two", "--updates", "4", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert (told["status"], told["updates"], told["folder"]) == ("finished", 4, "two")
    one, two = (Checkpoints(tmp_path / name).newest() for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.tensors.items():
        # Sums over images are rounded in another order, and Adam divides small gradients by their own size.
        torch.testing.assert_close(two.tensors[name], value, rtol=1e-3, atol=1e-5, msg=name)
    logged = list(zip(lines_of(tmp_path / "one"), lines_of(tmp_path / "two"), strict=True))
    assert len(logged) == 5
    for expected, found in logged:
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert json.loads((tmp_path / "two/run.json").read_text())["processes"] == 2
    names = {name: {file.name for file in (tmp_path / name).rglob("*")} for name in ("one", "two")}
    assert names["one"] == names["two"]


def test_one_that_fails_ends_both_with_one_sentence(sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "flaky.py").write_text(BAD_ON_ONE)
    said = [*SETTINGS, "--model", str(sd_folder), "--updates", "6", "--out", "run", "--reward", "./flaky.py:Flaky"]
    done = launch(tmp_path, *said)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if "plaudit: " in line and "word by word" not in line]
    assert len(ours) == 1, done.stderr[-3000:]
    assert "Connection refused" in ours[0]
    assert "; 2 updates are kept in 'run'" in ours[0]
    assert "--resume run" in ours[0]
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "stopped"
    newest = Checkpoints(tmp_path / "run").newest()
    assert newest is not None
    assert newest.facts["update"] == 2
