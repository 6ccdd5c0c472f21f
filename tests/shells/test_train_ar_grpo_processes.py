"""`plaudit train ar-grpo` on two processes: the weights and the memory of one, one folder, one voice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plaudit.generators.llamagen_files import save_llamagen
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.provenance import png_bytes
from plaudit.shells.cli import main

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_token_models import small_policy


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on two processes, from this folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "plaudit"]
    return subprocess.run(
        [*command, "train", "ar-grpo", *arguments], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def lines_of(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_two_processes_leave_what_one_leaves(clip_folder: Path, tmp_path: Path) -> None:
    save_llamagen(small_policy(), tmp_path / "model")
    (tmp_path / "real").mkdir()
    for number in range(16):
        image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(number))
        (tmp_path / "real" / f"{number}.png").write_bytes(png_bytes(image))
    said = [
        "0", "1", "2", "--model", str(tmp_path / "model"), "--net", str(clip_folder), "--reference",
        str(tmp_path / "real"), "--reward", "compressibility", "--held-out", "incompressibility", "--start-images",
        "10", "--prompts-per-update", "3", "--images-per-prompt", "4", "--device", "cpu", "--lr", "0.002", "--ema",
        "0.5", "--kl-weight", "0.1", "--passes", "2", "--save-every", "2", "--updates", "4",
    ]  # fmt: skip
    assert main(["train", "ar-grpo", *said, "--out", str(tmp_path / "one")]) == 0
    # Halfway and on: all of them read the checkpoint.
    half = launch(tmp_path, *said[:-1], "2", "--out", "two", "--json")
    assert half.returncode == 0, half.stderr[-3000:]
    assert json.loads(half.stdout)["updates"] == 2
    assert half.stderr.count("is a class's number") == 1, "one voice"
    done = launch(tmp_path, "--resume", "two", "--updates", "4", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["updates"] == 4
    one, two = (Checkpoints(tmp_path / name).newest() for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.tensors.items():
        # Sums over images are rounded in another order, and Adam divides small gradients by their own size.
        torch.testing.assert_close(two.tensors[name], value, rtol=2e-3, atol=2e-5, msg=name)
    logged = list(zip(lines_of(tmp_path / "one"), lines_of(tmp_path / "two"), strict=True))
    assert len(logged) == 5
    for expected, found in logged:
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-4)
    names = {name: {file.name for file in (tmp_path / name).rglob("*")} for name in ("one", "two")}
    assert names["one"] == names["two"]
