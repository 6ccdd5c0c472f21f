"""Weights at eight bits a number: half as large, hardly moved, and ordinary files again before they are used."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from plaudit.pocket import folders
from plaudit.pocket.folders import pocket_folder
from plaudit.pocket.packed import LEAST, SCALE, pack, packed, unpack, unpacked


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_number_moves_by_half_its_rows_scale_at_most() -> None:
    weights = matrix(64, 16, 4, 4) * torch.logspace(-3, 1, 64)[:, None, None, None]
    back = unpacked(packed({"conv": weights}))["conv"]
    assert back.shape == weights.shape
    assert back.dtype == torch.float16
    half_scale = weights.flatten(1).abs().amax(dim=1) / 127 / 2
    # Half a step, and what float16 rounds away besides.
    allowed = half_scale[:, None] * 1.001 + weights.flatten(1).abs() * 2**-11 + 1e-7
    assert bool(((back.float() - weights).flatten(1).abs() <= allowed).all())
    assert not torch.equal(back.float(), weights)


def test_small_tensors_vectors_and_whole_numbers_stay_as_they_are() -> None:
    tensors = {
        "codebook": matrix(512, 8), "bias": matrix(2 * LEAST), "ids": torch.arange(2 * LEAST).view(2, LEAST),
        "large": matrix(128, 128),
    }  # fmt: skip
    small = packed(tensors)
    assert set(small) == {*tensors, "large" + SCALE}
    assert all(torch.equal(small[name], tensors[name]) for name in ("codebook", "bias", "ids"))
    assert small["large"].dtype == torch.int8


def test_a_row_of_zeros_stays_zeros() -> None:
    weights = matrix(128, 128)
    weights[3] = 0
    back = unpacked(packed({"w": weights}))["w"]
    assert bool((back[3] == 0).all())
    assert bool(torch.isfinite(back).all())


def test_a_packed_file_takes_the_place_of_a_larger_one_and_comes_back(tmp_path: Path) -> None:
    plain = tmp_path / "model.safetensors"
    tensors = {"w": matrix(256, 256).half(), "b": matrix(256).half()}
    save_file(tensors, plain, metadata={"format": "pt"})
    size = plain.stat().st_size
    small = pack(plain)
    assert small.name == "model.int8.safetensors"
    assert not plain.exists()
    assert small.stat().st_size < 0.55 * size
    unpack(small, plain)
    back = load_file(plain)
    assert {name: (t.shape, t.dtype) for name, t in back.items()} == {n: (t.shape, t.dtype) for n, t in tensors.items()}
    assert torch.equal(back["b"], tensors["b"])
    assert torch.allclose(back["w"].float(), tensors["w"].float(), atol=0.02)
    with safe_open(plain, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_a_packed_model_is_a_plain_folder_for_whoever_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "weights"
    for name in ("pocket-llamagen", "pocket-llamagen-t2i"):
        (root / name).mkdir(parents=True)
        save_file({"w": matrix(128, 128).half()}, root / name / "transformer.safetensors")
        (root / name / "config.json").write_text("{}")
    save_file({"w": matrix(128, 256).half()}, root / "pocket-llamagen" / "tokenizer.safetensors")
    for weights in sorted(root.rglob("*.safetensors")):
        pack(weights)
    own, borrowing = (pocket_folder(name, root=root) for name in ("pocket-llamagen", "pocket-llamagen-t2i"))
    for folder in (own, borrowing):
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.json", "tokenizer.safetensors", "transformer.safetensors",
        ]  # fmt: skip
        assert load_file(folder / "tokenizer.safetensors")["w"].shape == (128, 256)
    assert pocket_folder("pocket-llamagen", root=root) == own
    # A new build is another folder, unpacked anew.
    save_file({"w": matrix(128, 128, seed=1).half()}, root / "pocket-llamagen" / "transformer.safetensors")
    (root / "pocket-llamagen" / "transformer.int8.safetensors").unlink()
    pack(root / "pocket-llamagen" / "transformer.safetensors")
    assert pocket_folder("pocket-llamagen", root=root) != own


def test_a_model_that_is_not_packed_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "pocket-clip").mkdir()
    save_file({"w": matrix(2, 2)}, tmp_path / "pocket-clip" / "model.safetensors")
    assert pocket_folder("pocket-clip", root=tmp_path) == tmp_path / "pocket-clip"
    assert "pocket-clip" not in folders.BORROWED
