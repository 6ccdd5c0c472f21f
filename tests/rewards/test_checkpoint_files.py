import hashlib
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from loopback_hub import COMMIT, save_cached

from plaudit.core.errors import BadConfig
from plaudit.core.hub import HubFiles, hub_folder
from plaudit.rewards.checkpoint_files import read_checkpoint

WEIGHTS = {"layer.weight": torch.arange(6.0).view(2, 3), "layer.bias": torch.ones(2)}


class Malice:
    """A pickle that, once read, has done what its author wanted."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back_by_name(tmp_path, inside, zipped):
    file = tmp_path / "weights.pt"
    found = WEIGHTS if inside is None else {inside: WEIGHTS, "epoch": 3}
    torch.save(found, file, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(file, sha256=digest(file))
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("kind", ["plain pickle", "zip", "beside tensors", "old format"])
def test_a_malicious_checkpoint_is_refused_and_does_nothing(tmp_path, kind):
    file, trace = tmp_path / "weights.pt", tmp_path / "it ran"
    if kind == "plain pickle":
        file.write_bytes(pickle.dumps(Malice(trace), protocol=2))
    elif kind == "beside tensors":
        torch.save({"state_dict": WEIGHTS, "epoch": Malice(trace)}, file)
    else:
        torch.save(Malice(trace), file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(BadConfig, match=r"was not opened: it holds more than tensors") as raised:
        read_checkpoint(file)
    assert "\n" not in str(raised.value)
    assert not trace.exists()
    # The trap is a real one: read as pickles usually are, it snaps.
    with suppress(RuntimeError):
        torch.load(file, weights_only=False)
    assert trace.is_dir()


def test_a_file_with_another_sha256_is_not_even_opened(tmp_path, monkeypatch):
    file = tmp_path / "weights.pt"
    torch.save(WEIGHTS, file)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(BadConfig, match=f"its sha256 is {digest(file)}, and it was published with {'0' * 64}; delete"):
        read_checkpoint(file, sha256="0" * 64)


def saved_in_the_hub_s_cache(folder, weights, commit=COMMIT):
    folder.mkdir(exist_ok=True)
    torch.save(weights, folder / "made.pt")
    return (
        save_cached(folder, "someone/model", {"weights.pt": (folder / "made.pt").read_bytes()}, commit) / "weights.pt"
    )


def test_without_a_published_sha256_the_first_download_is_remembered(tmp_path):
    first = saved_in_the_hub_s_cache(tmp_path / "first", WEIGHTS)
    read_checkpoint(first)
    kept = json.loads((tmp_path / "cache" / "checkpoint_sums.json").read_text())
    assert kept == {f"models--someone--model/snapshots/{COMMIT}/weights.pt": digest(first)}
    read_checkpoint(first)
    other = saved_in_the_hub_s_cache(tmp_path / "second", {**WEIGHTS, "layer.bias": torch.zeros(2)})
    with pytest.raises(BadConfig, match=f"it had when this machine first downloaded it {digest(first)}; delete"):
        read_checkpoint(other)
    # Of another commit, it is another file.
    read_checkpoint(saved_in_the_hub_s_cache(tmp_path / "third", WEIGHTS | {"more": torch.ones(1)}, "f" * 40))


def test_files_of_one_s_own_may_change(tmp_path):
    for bias in (0.0, 1.0):
        torch.save({"bias": torch.tensor(bias)}, tmp_path / "weights.pt")
        assert read_checkpoint(tmp_path / "weights.pt")["bias"] == bias
    assert not (tmp_path / "cache").exists()


def test_a_memory_that_cannot_be_read_is_not_passed_over(tmp_path):
    file = saved_in_the_hub_s_cache(tmp_path / "first", WEIGHTS)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "checkpoint_sums.json").write_text("{ not json")
    with pytest.raises(BadConfig, match=r"checkpoint_sums\.json, which remembers .* cannot be read; delete it"):
        read_checkpoint(file)


@pytest.mark.parametrize("length", [0, 1, 20, 100, 700, -10])
def test_a_damaged_file_is_one_sentence(tmp_path, length):
    torch.save(WEIGHTS, tmp_path / "whole.pt")
    file = tmp_path / "weights.pt"
    file.write_bytes((tmp_path / "whole.pt").read_bytes()[:length])
    with pytest.raises(BadConfig, match=r"weights\.pt (is damaged or not a checkpoint|was not opened)") as raised:
        read_checkpoint(file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"hello, not a pickle", b"<!DOCTYPE html>", b"\0" * 100])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(BadConfig, match=r"weights\.pt (is damaged or not a checkpoint|was not opened)"):
        read_checkpoint(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], {}, {"epoch": 3}, {"state_dict": {"lr": 0.1}}])
def test_a_checkpoint_without_weights_by_name_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(BadConfig, match="holds no weights by name"):
        read_checkpoint(tmp_path / "weights.pt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "weights.pt")


def test_the_hub_s_cache_is_where_downloads_are_looked_up(tmp_path, monkeypatch):
    """The files of this test's cache are laid out as the hub's client lays them out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    file = saved_in_the_hub_s_cache(tmp_path / "hub", WEIGHTS)
    wanted = HubFiles(hub_id="someone/model", patterns=("weights.pt",), revision=COMMIT)
    assert hub_folder(wanted) / "weights.pt" == file
