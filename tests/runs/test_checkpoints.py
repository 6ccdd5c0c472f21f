"""Checkpoints: the last few and the best are there, whole, whatever happened."""

from pathlib import Path

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.runs import checkpoints
from plaudit.runs.checkpoints import Checkpoints


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), value), "done": torch.tensor(int(value))}


def test_the_newest_comes_back_bit_for_bit(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    assert kept.newest() is None
    weights = torch.randn(5, generator=torch.Generator().manual_seed(0))
    kept.save(1, state(1), {})
    kept.save(2, {"weight": weights}, {"reward": 0.5})
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert torch.equal(found.tensors["weight"], weights)
    assert found.facts == {"reward": 0.5, "update": 2, "value": None}


def test_the_last_few_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for number, value in enumerate([1.0, 5.0, 2.0, 4.0], start=1):
        kept.save(number, state(number), {}, value=value)
    assert [file.stem for file in kept.numbered()] == ["000003", "000004"]
    best = kept.best()
    assert best is not None
    assert (best.facts["update"], best.facts["value"]) == (2, 5.0)
    assert torch.equal(best.tensors["weight"], torch.full((3,), 2.0))


def test_without_a_value_there_is_no_best(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state(1), {})
    assert kept.best() is None


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: bytes | None) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state(1), {})
    file = kept.save(2, state(2), {})
    file.write_bytes(file.read_bytes()[:-4] if damage is None else damage)
    found = kept.newest()
    assert found is not None
    assert found.facts["update"] == 1


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(1, state(1), {}, value=1.0)

    def full(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        kept.save(2, state(2), {}, value=2.0)
    newest, best = kept.newest(), kept.best()
    assert newest is not None
    assert best is not None
    assert newest.facts["update"] == best.facts["update"] == 1


def test_at_least_one_is_kept(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="at least 1 checkpoint"):
        Checkpoints(tmp_path, keep=0)
