import errno

import pytest
from loopback_hub import COMMIT, loopback_hub, save_cached

from plaudit.core import hub as hub_module
from plaudit.core.errors import BadConfig
from plaudit.core.hub import (
    HubFiles,
    OutOfReach,
    cached_folder,
    commit_of,
    download,
    explained,
    files_in,
    hub_folder,
    listing_of,
    located,
)

PIPELINE = {
    "model_index.json": b"{}",
    "unet/config.json": b'{"a": 1}',
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half" * 500,
    "unet/diffusion_pytorch_model.safetensors": b"full" * 1000,
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "tokenizer/merges.txt": b"a b",
    "whole_model.safetensors": b"another layout",
}
WANTED = {
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "tokenizer/merges.txt",
}
FILES = HubFiles(hub_id="someone/model")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with loopback_hub(tmp_path / "cache", monkeypatch) as it:
        it.repositories["someone/model"] = dict(PIPELINE)
        yield it


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def names_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_download_brings_what_the_patterns_say_and_nothing_else(hub):
    folder = hub_folder(FILES)
    assert names_below(folder) == WANTED == set(hub.sent)
    assert commit_of(folder) == COMMIT


def test_what_is_in_the_cache_is_not_asked_for_again(hub):
    first = hub_folder(FILES)
    hub.sent.clear()
    hub.broken = True
    assert hub_folder(FILES) == first
    assert hub.sent == []


def test_a_download_that_was_interrupted_goes_on_with_the_files_that_lack(hub):
    folder = hub_folder(FILES)
    lost = folder / "unet/diffusion_pytorch_model.fp16.safetensors"
    lost.resolve().unlink()
    lost.unlink()
    hub.sent.clear()
    assert cached_folder(FILES) is None
    assert hub_folder(FILES) == folder
    assert hub.sent == ["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert lost.read_bytes() == PIPELINE["unet/diffusion_pytorch_model.fp16.safetensors"]


def test_other_files_of_the_same_repository_do_not_pass_for_those_wanted(offline):
    save_cached(offline, "someone/model", {"model_index.json": b"{}", "vae/x.safetensors": b"x"})
    assert cached_folder(FILES) is None
    assert cached_folder(HubFiles(hub_id="someone/model", patterns=("unet.safetensors",))) is None
    assert cached_folder(HubFiles(hub_id="someone/model", patterns=("vae/*.safetensors",))) is not None


def test_a_pinned_commit_is_not_answered_with_another(offline):
    save_cached(offline, "someone/model", PIPELINE)
    assert cached_folder(HubFiles(hub_id="someone/model", revision="f" * 40)) is None
    assert commit_of(cached_folder(HubFiles(hub_id="someone/model", revision=COMMIT))) == COMMIT


def test_a_listing_tells_sizes_and_what_is_here_without_downloading(hub):
    before = listing_of(FILES)
    assert hub.sent == []
    assert {file.name for file in before.files} == WANTED
    assert (before.revision, before.missing) == (COMMIT, before.size)
    assert before.size == sum(len(PIPELINE[name]) for name in WANTED)
    hub_folder(FILES)
    after = listing_of(FILES)
    assert (after.size, after.missing) == (before.size, 0)
    assert all(file.here for file in after.files)


def test_a_listing_without_a_network_is_the_caches(offline):
    folder = save_cached(offline, "someone/model", PIPELINE)
    found = listing_of(FILES)
    assert {file.name for file in found.files} == WANTED
    assert (found.revision, found.missing) == (COMMIT, 0)
    assert download(FILES) == folder


def test_a_repository_without_weights_of_the_kind_is_refused(hub):
    hub.repositories["someone/pickles"] = {"model_index.json": b"{}", "unet/model.ckpt": b"x"}
    with pytest.raises(BadConfig, match="someone/pickles holds no weights that can be loaded"):
        listing_of(HubFiles(hub_id="someone/pickles"))


@pytest.mark.usefixtures("offline")
def test_out_of_reach_says_which_command_fetches_it():
    with pytest.raises(OutOfReach, match=r"someone/model is not in .* \(HF_HUB_OFFLINE is set\)"):
        hub_folder(FILES)
    with pytest.raises(OutOfReach, match=r"my-row \(someone/model\) is not in .*: plaudit fetch my-row$"):
        hub_folder(FILES, asked_as="my-row")
    with pytest.raises(OutOfReach, match=r"plaudit fetch my-row$"):
        listing_of(FILES, asked_as="my-row")


@pytest.mark.usefixtures("hub")
def test_a_hub_that_cannot_be_reached_is_given_up_at_once(monkeypatch, caplog):
    # A port that nobody listens at.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for revision in (None, "f" * 40):
        with pytest.raises(OutOfReach, match=r"\(no network\)"):
            hub_folder(HubFiles(hub_id="someone/model", revision=revision))
    assert not caplog.records


@pytest.mark.parametrize("act", [hub_folder, download])
def test_a_licence_to_accept_names_its_page(hub, act):
    hub.gated.add("someone/model")
    with pytest.raises(BadConfig, match=f"accept it at {hub.address}/someone/model, then log in") as raised:
        act(FILES)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_know_is_said():
    with pytest.raises(BadConfig, match="the hub knows no someone/nothing, or it is private"):
        hub_folder(HubFiles(hub_id="someone/nothing"))
    with pytest.raises(BadConfig, match="someone/model has no revision ffff"):
        hub_folder(HubFiles(hub_id="someone/model", revision="f" * 40))
    with pytest.raises(BadConfig, match="is neither a folder nor a hub id"):
        hub_folder(HubFiles(hub_id="someone/bad..name"))


def test_a_hub_in_trouble_is_no_fault_of_the_user(hub):
    hub.broken = True
    with pytest.raises(BadConfig, match=r"the hub answered 503 .* try again later"):
        hub_folder(FILES)


@pytest.mark.usefixtures("hub")
def test_a_full_disk_says_where_and_how_to_go_on(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    monkeypatch.setattr(hub_module, "cached_folder", lambda _: None)
    with pytest.raises(BadConfig, match=r"the disk of the hub's cache, .*cache, is full;.*plaudit fetch my-row$"):
        download(FILES, asked_as="my-row")


def test_a_broken_download_is_one_sentence_and_other_errors_stay_as_they_are():
    sentence = str(explained(RuntimeError("CAS client\n  gave up"), FILES))
    assert sentence == (
        "the download of someone/model broke off (CAS client gave up); it goes on with: plaudit fetch someone/model"
    )
    denied = PermissionError(errno.EACCES, "Permission denied", "/cache")
    assert explained(denied, FILES) is denied


def test_arguments_get_paths_for_what_they_name_of_the_hub(offline):
    folder = save_cached(offline, "someone/model", PIPELINE)
    single = HubFiles(hub_id="someone/lora", patterns=("lora.safetensors",))
    lora = save_cached(offline, "someone/lora", {"lora.safetensors": b"l"})
    arguments = {"folder": FILES, "changes": {"lora": single, "time": 800}, "steps": 1}
    assert files_in(arguments) == (FILES, single)
    assert located(arguments, asked_as="row") == {
        "folder": folder, "changes": {"lora": lora / "lora.safetensors", "time": 800}, "steps": 1,
    }  # fmt: skip


def test_only_folders_of_the_hubs_cache_have_a_commit(tmp_path):
    assert commit_of(tmp_path / "snapshots" / COMMIT) == COMMIT
    assert commit_of(tmp_path / "snapshots" / "main") is None
    assert commit_of(tmp_path / COMMIT) is None
