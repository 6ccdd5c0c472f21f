"""A training's folder: nothing of it depends on when it was stopped."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from methods.toy_policy import Bright, ToyPolicy

from plaudit.core.errors import BadConfig
from plaudit.methods.rlcm import Rlcm, RlcmConfig
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.training import METRICS, Keeping, Log, train_in

CONFIG = RlcmConfig(updates=7, prompts_per_update=3, images_per_prompt=2, lr=0.01, comparison="running", min_count=2)


def new_trainer() -> Rlcm:
    return Rlcm(ToyPolicy(), Bright(), ["a", "bb", "ccc"], CONFIG)


def lines_of(folder: Path) -> list[dict[str, float]]:
    """The log without what no two runs have in common."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    newest = Checkpoints(folder).newest()
    assert newest is not None
    return newest.tensors


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    list(train_in(folder, new_trainer(), Keeping(save_every=3)))
    return folder


def test_every_update_has_a_line_and_the_last_a_checkpoint(whole: Path) -> None:
    assert [line["update"] for line in lines_of(whole)] == [1, 2, 3, 4, 5, 6, 7]
    assert [file.stem for file in Checkpoints(whole).numbered()] == ["000003", "000006", "000007"]


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_a_stopped_training_ends_as_if_it_had_not_been(whole: Path, tmp_path: Path, stop_after: int) -> None:
    for update in train_in(tmp_path, new_trainer(), Keeping(save_every=3)):
        if update.index + 1 == stop_after:
            break
    list(train_in(tmp_path, new_trainer(), Keeping(save_every=3)))
    assert lines_of(tmp_path) == lines_of(whole)
    assert same(weights_in(tmp_path), weights_in(whole))


def test_a_finished_training_has_nothing_left_to_do(whole: Path) -> None:
    before = lines_of(whole)
    assert list(train_in(whole, new_trainer(), Keeping(save_every=3))) == []
    assert lines_of(whole) == before


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from runs.test_training import Keeping, new_trainer, train_in
for update in train_in(Path(sys.argv[1]), new_trainer(), Keeping(save_every=1)):
    print(update.index, flush=True)
    time.sleep(0.02)
"""


def test_a_killed_training_loses_nothing_it_had_saved(whole: Path, tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    moment = random.Random(3)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment.random() * 0.1)
        process.kill()
        process.wait()
    list(train_in(tmp_path, new_trainer(), Keeping(save_every=3)))
    assert lines_of(tmp_path) == lines_of(whole)
    assert same(weights_in(tmp_path), weights_in(whole))


def test_looks_are_logged_and_choose_the_best(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(done: int) -> dict[str, float]:
        seen.append(done)
        return {"held_out": -abs(done - 4.0), "diversity": 1.0}

    list(train_in(tmp_path, new_trainer(), Keeping(save_every=2, look_every=2), look=look))
    assert seen == [0, 2, 4, 6, 7]
    assert [line["look_held_out"] for line in lines_of(tmp_path) if "look_held_out" in line] == [-4, -2, 0, -2, -3]
    best = Checkpoints(tmp_path).best()
    assert best is not None
    assert best.facts["update"] == 4


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    log = Log(tmp_path / METRICS)
    log.write({"update": 1, "reward": float("nan")})
    with log.file.open("a") as file:
        file.write('{"update": 2, "rew')
    assert log.lines() == [{"update": 1, "reward": None}]
    log.cut(1)
    log.write({"update": 2})
    assert [line["update"] for line in log.lines()] == [1, 2]


def test_how_often_must_be_a_number_of_updates() -> None:
    with pytest.raises(BadConfig, match="save_every must be at least 1, got 0"):
        Keeping(save_every=0)
