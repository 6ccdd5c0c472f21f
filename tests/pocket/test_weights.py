"""The shipped weights: all there, small enough, and in formats that cannot run code."""

import shutil
from pathlib import Path

import pytest

from plaudit.core.errors import BadConfig
from plaudit.pocket.folders import POCKET_MODELS, WEIGHTS, pocket_folder

MEBIBYTE = 1024 * 1024


@pytest.mark.weights
@pytest.mark.parametrize("name", POCKET_MODELS)
def test_every_pocket_model_is_shipped(name: str) -> None:
    assert any(pocket_folder(name).rglob("*.safetensors"))


@pytest.mark.weights
def test_the_weights_are_small_and_safe() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json"}
    assert sum(path.stat().st_size for path in files) < 64 * MEBIBYTE


@pytest.mark.weights
def test_a_model_without_the_one_that_it_shares_parts_with_is_refused(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "pocket-llamagen-t2i", tmp_path / "pocket-llamagen-t2i")
    with pytest.raises(BadConfig, match=r"shares pocket-llamagen's tokenizer.safetensors, which is not in .*: build"):
        pocket_folder("pocket-llamagen-t2i", root=tmp_path)
