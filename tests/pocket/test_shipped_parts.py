"""One model is trained from the installed ones: what is taken of them, and what never is."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from plaudit.core.errors import BadConfig
from plaudit.generators.vq_tokenizer import VQTokenizer
from plaudit.pocket.build import llamagen
from plaudit.pocket.build.recipe import Recipe
from plaudit.pocket.build.shipped_parts import PARTS, take_shipped
from plaudit.pocket.folders import WEIGHTS
from plaudit.pocket.packed import pack

SHIPPED = [part for part, (model, _) in PARTS.items() if (WEIGHTS / model).is_dir()]


def test_a_build_starts_from_all_parts_that_are_installed(tmp_path: Path) -> None:
    assert take_shipped(tmp_path, to_train=()) == SHIPPED
    assert all((tmp_path / part).exists() for part in SHIPPED)
    assert not list(tmp_path.glob("*.part"))


def test_its_loaders_read_them_in_float32(tmp_path: Path) -> None:
    take_shipped(tmp_path, to_train=())
    recipe = Recipe(tmp_path, torch.device("cpu"))
    for model in (recipe._vae, recipe._text_encoder, recipe._words.encoder):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    shipped = AutoencoderKL.from_pretrained(WEIGHTS / "pocket-base" / "vae")
    assert all(torch.equal(p, shipped.state_dict()[name]) for name, p in recipe._vae.state_dict().items())


def test_models_to_train_give_nothing(tmp_path: Path) -> None:
    taken = take_shipped(tmp_path, to_train=("pocket-base", "pocket-clip"))
    assert taken == [part for part in SHIPPED if PARTS[part][0] not in ("pocket-base", "pocket-clip")]


def test_what_a_build_has_made_itself_stays(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    assert "vae" not in take_shipped(tmp_path, to_train=())
    assert not any((tmp_path / "vae").iterdir())
    assert take_shipped(tmp_path, to_train=()) == []


def test_a_packed_image_tokenizer_becomes_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    root, work = tmp_path / "weights", tmp_path / "work"
    (root / "pocket-llamagen").mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = VQTokenizer(llamagen.TOKENIZER_SIZES).half()
    file = root / "pocket-llamagen" / "tokenizer.safetensors"
    save_file(tokenizer.state_dict(), file)
    pack(file)
    assert take_shipped(work, to_train=("pocket-llamagen-t2i",), root=root) == ["vq.safetensors"]
    found = Recipe(work, torch.device("cpu"))._vq.state_dict()
    assert {value.dtype for value in found.values() if value.is_floating_point()} == {torch.float32}
    stored = load_file(work / "vq.safetensors")
    assert all(torch.equal(found[name], value.to(found[name].dtype)) for name, value in stored.items())


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match=r"vae cannot be copied into .*; name another --work-dir"):
        take_shipped(tmp_path / "file", to_train=())
