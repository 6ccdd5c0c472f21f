import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from loopback_hub import COMMIT, loopback_hub, save_cached

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry, Registry
from plaudit.generators.table import GENERATORS
from plaudit.shells.cli import main
from plaudit.shells.fetching import size_in_words, wanted_of
from plaudit.shells.fetching_lists import list_parts
from plaudit.shells.licences import tell_licences
from plaudit.suites import prompt_lists
from plaudit.suites.prompt_lists import OutOfReach
from plaudit.suites.table import SUITES

BASE = {
    "model_index.json": b"{}",
    "unet/model.fp16.safetensors": b"h" * 3000,
    "unet/model.safetensors": b"f" * 6000,
    "unet/model.bin": b"p" * 10,
}
LORA = {"lora.safetensors": b"l" * 500, "README.md": b"hello"}
RECIPE = Entry(
    name="recipe",
    target="nowhere:nothing",
    summary="two repositories",
    arguments={
        "folder": HubFiles(hub_id="someone/base", revision=COMMIT),
        "changes": {"lora": HubFiles(hub_id="someone/lora", patterns=("lora.safetensors",))},
    },
    hub_id="someone/lora",
    licence="Careful-1.0",
    restrictions="think before you use it",
    licence_page="https://example.org/careful",
)
FREE = Entry(name="free", target="nowhere:nothing", summary="", arguments=RECIPE.arguments, licence="MIT")


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "plaudit"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("plaudit.generators.table.GENERATORS", Registry("model", [RECIPE, FREE]))
    with loopback_hub(tmp_path / "cache", monkeypatch) as it:
        it.repositories |= {"someone/base": BASE, "someone/lora": LORA}
        yield it


@pytest.fixture
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_recipes_repositories_are_all_fetched_and_it_is_said_where_they_are(hub, tmp_path, capsys):
    assert main(["fetch", "recipe"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("recipe  3.5 kB, 0 bytes here already; licence Careful-1.0\n")
    for hub_id in ("someone/base", "someone/lora"):
        assert f"  {hub_id} at {COMMIT}\n" in out
        assert str(tmp_path / "cache" / f"models--{hub_id.replace('/', '--')}" / "snapshots" / COMMIT) in out
    assert sorted(hub.sent) == ["lora.safetensors", "model_index.json", "unet/model.fp16.safetensors"]
    hub.sent.clear()
    assert main(["fetch", "recipe", "RECIPE"]) == 0
    assert "recipe  3.5 kB, all here already" in capsys.readouterr().out
    assert hub.sent == []


def test_a_dry_run_shows_files_and_sizes_and_downloads_nothing(hub, capsys):
    assert main(["fetch", "someone/base", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "3.0 kB        unet/model.fp16.safetensors" in out
    assert "unet/model.safetensors" not in out
    assert hub.sent == []


def test_json_is_one_object_and_nothing_else_on_stdout(hub, tmp_path, capsys):
    save_cached(tmp_path / "cache", "someone/lora", LORA)
    assert main(["fetch", "recipe", "free", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["cache"] == str(tmp_path / "cache")
    recipe, free = answer["fetched"]
    assert (recipe["name"], recipe["licence"], free["name"]) == ("recipe", "Careful-1.0", "free")
    base, lora = recipe["repositories"]
    assert (base["hub_id"], base["revision"], base["bytes"]) == ("someone/base", COMMIT, 3002)
    assert (base["bytes_downloaded"], lora["bytes_downloaded"]) == (3002, 0)
    assert lora["files"] == [{"name": "lora.safetensors", "size": 500, "here": True}]
    assert base["folder"].endswith(COMMIT)
    assert err.count("\n") == 1
    assert "lora.safetensors" not in hub.sent


@pytest.mark.usefixtures("_offline")
def test_what_is_in_the_cache_needs_no_network(tmp_path, capsys):
    save_cached(tmp_path / "cache", "someone/base", BASE)
    assert main(["fetch", "someone/base"]) == 0
    assert "someone/base  3.0 kB, all here already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sd-turbo", "sd-turbo (stabilityai/sd-turbo) is not in this machine's cache"),
        ("ByteDance/Hyper-SD", "plaudit fetch hyper-sdxl"),
        ("someone/thing", "plaudit fetch someone/thing"),
        ("sd-trubo", "no model, reward or suite named 'sd-trubo'. Did you mean 'sd-turbo'?"),
        ("imagerewrad", "Did you mean 'imagereward'?"),
        ("someone/bad..name", "'someone/bad..name' is neither a name of the tables nor a hub id"),
    ],
)
@pytest.mark.usefixtures("_offline")
def test_what_cannot_be_fetched_is_one_sentence(name, says, tmp_path, capsys):
    for row in GENERATORS:
        tell_licences(GENERATORS, [row.name])
    capsys.readouterr()
    assert main(["fetch", name]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert not (tmp_path / "cache").exists()


def test_a_licence_to_accept_first_is_one_sentence_with_its_page(hub, capsys):
    hub.gated.add("someone/base")
    assert main(["fetch", "free"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"accept it at {hub.address}/someone/base, then log in here with: hf auth login\n")


def test_what_does_not_fit_the_disk_is_refused_before_anything_is_downloaded(hub, monkeypatch, capsys):
    monkeypatch.setattr("plaudit.shells.fetching.free_bytes", lambda _: 3501)
    assert main(["fetch", "free"]) == 1
    assert "3.5 kB are to be downloaded and 3.5 kB are free" in capsys.readouterr().err
    assert hub.sent == []
    monkeypatch.setattr("plaudit.shells.fetching.free_bytes", lambda _: 3502)
    assert main(["fetch", "free"]) == 0


@pytest.mark.usefixtures("hub")
def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("plaudit.shells.fetching.download", interrupted)
    assert main(["fetch", "free"]) == 1
    assert "finished files are kept, and it goes on with: plaudit fetch free" in capsys.readouterr().err


def test_what_comes_with_the_package_needs_no_fetching(capsys):
    assert main(["fetch", "pocket-turbo", "hps"]) == 0
    assert capsys.readouterr().out.count("comes with plaudit; there is nothing to fetch") == 2


@pytest.mark.parametrize("entry", [row for row in GENERATORS if row.needs], ids=lambda entry: entry.name)
def test_a_row_is_fetched_as_the_files_that_it_is_loaded_from(entry, tmp_path, monkeypatch):
    asked = []

    def snapshot_download(hub_id, *, allow_patterns, revision, dry_run=False, **_):
        from huggingface_hub.file_download import DryRunFileInfo

        asked.append((dry_run, HubFiles(hub_id=hub_id, patterns=tuple(allow_patterns), revision=revision)))
        file = DryRunFileInfo(
            commit_hash=COMMIT, file_size=1, filename="unet/a.safetensors", local_path="", is_cached=False,
            will_download=True,
        )  # fmt: skip
        return [file] if dry_run else str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    assert main(["fetch", entry.name, "--json"]) == 0
    assert [files for dry_run, files in asked if dry_run] == list(entry.needs)
    assert [files for dry_run, files in asked if not dry_run] == list(entry.needs)


def test_a_restricted_licence_is_told_once_a_machine(monkeypatch, tmp_path, capsys):
    table = Registry("model", [RECIPE, FREE])
    for _ in range(3):
        tell_licences(table, ["recipe", "free", "someone/lora", "unheard-of"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "plaudit: recipe comes under the licence Careful-1.0; think before you use it: https://example.org/careful\n"
    )
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "another machine"))
    tell_licences(table, ["recipe"])
    assert capsys.readouterr().err == err


def test_a_machine_that_cannot_remember_is_told_again(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        tell_licences(Registry("model", [RECIPE]), ["recipe"])
    assert capsys.readouterr().err.count("Careful-1.0") == 2


def test_the_list_of_models_tells_licences_and_what_they_restrict(capsys):
    assert main(["list", "models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["sd-turbo"]["restrictions"] == "commercial use has conditions"
    assert rows["sd-turbo"]["licence_page"] == "https://stability.ai/license"
    assert (rows["flux-schnell"]["licence"], rows["flux-schnell"]["restrictions"]) == ("Apache-2.0", "")
    assert main(["list", "models"]) == 0
    assert "licence Stability AI Community License · restrictions commercial use" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (3502, "3.5 kB"), (335e6, "335 MB"), (2.58e9, "2.6 GB")]
)
def test_sizes_are_told_as_people_read_them(size, words):
    assert size_in_words(size) == words


def test_fetching_waits_for_no_model_library(tmp_path):
    code = (
        "import sys; from plaudit.shells.cli import main; code = main(['fetch', 'sd-turbo']); "
        "sys.exit(' '.join(m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules) or code)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PLAUDIT_CACHE": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "plaudit fetch sd-turbo" in done.stderr


def test_a_fetched_model_draws_without_a_network_and_the_picture_knows_its_commit(
    sd_folder, clip_folder, hub, tmp_path, monkeypatch, capsys
):
    from plaudit.runs.provenance import read_provenance

    patterns = ("model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors")
    row = Entry(
        name="tiny",
        target="plaudit.generators.table:load_published",
        summary="a whole model",
        arguments={"folder": HubFiles(hub_id="someone/tiny", patterns=patterns), "steps": 1, "guidance": 1.0},
        hub_id="someone/tiny",
        licence="Careful-1.0",
        restrictions="think before you use it",
    )
    monkeypatch.setattr("plaudit.generators.table.GENERATORS", Registry("model", [row]))
    files = {path.relative_to(sd_folder).as_posix(): path for path in sd_folder.rglob("*") if path.is_file()}
    hub.repositories["someone/tiny"] = {name: path.read_bytes() for name, path in files.items()}
    assert main(["fetch", "tiny"]) == 0
    assert "Careful-1.0" in capsys.readouterr().err

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = ["generate", "a ring", "--model", "tiny", "--method", "none", "--reward", str(clip_folder), "--json"]
    assert main([*line, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    source = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["model"]
    assert (source["hub_id"], source["revision"], source["licence"]) == ("someone/tiny", COMMIT, "Careful-1.0")
    weights = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert source["weights"] == {name: digest for name, digest in weights.items() if name.endswith(".safetensors")}
    assert len(source["weights"]) == 3
    picture = json.loads(out)["images"][0]["file"]
    assert read_provenance(Path(picture))["sources"]["model"] == source


GENEVAL = b'{"tag": "single_object", "include": [{"class": "kettle", "count": 1}], "prompt": "a photo of a kettle"}\n'


@pytest.fixture
def geneval_list(tmp_path, monkeypatch):
    """GenEval's list, pinned to a file of this machine, and scored by nothing that would have to be fetched."""
    there = tmp_path / "there.jsonl"
    there.write_bytes(GENEVAL)
    checksum = f"sha256:{hashlib.sha256(GENEVAL).hexdigest()}"
    file = replace(prompt_lists.LISTS["geneval"].files[0], address=there.as_uri(), checksum=checksum)
    lists = {**prompt_lists.LISTS, "geneval": replace(prompt_lists.LISTS["geneval"], files=(file,))}
    monkeypatch.setattr(prompt_lists, "LISTS", lists)
    facts = {**SUITES.find("geneval").facts, "models": ()}
    monkeypatch.setattr(
        "plaudit.suites.table.SUITES", Registry("suite", [replace(SUITES.find("geneval"), facts=facts)])
    )
    return file


def test_what_a_suite_has_none_of_is_not_listed(capsys):
    assert main(["list", "suites"]) == 0
    said = capsys.readouterr().out
    assert "scored by rewards · images per prompt 1" in said
    assert "models owlv2-base, blip-vqa, clip-vit-l14" in said


def test_a_suites_prompts_are_fetched_once(geneval_list, tmp_path, capsys):
    kept = tmp_path / "plaudit" / "suites" / "geneval" / "evaluation_metadata.jsonl"
    assert main(["fetch", "geneval", "--dry-run"]) == 0
    assert f"evaluation_metadata.jsonl is not here; it is at {geneval_list.address}" in capsys.readouterr().out
    assert not kept.exists()
    assert main(["fetch", "geneval"]) == 0
    assert capsys.readouterr().out == f"geneval  prompts only; licence MIT\n  prompts: {kept} (downloaded)\n"
    assert kept.read_bytes() == GENEVAL
    assert main(["fetch", "geneval", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["fetched"]
    (part,) = row["prompts"]
    assert (part["path"], part["downloaded"]) == (str(kept), False)
    assert part["sha256"] == hashlib.sha256(GENEVAL).hexdigest()


def test_what_scores_a_suite_is_fetched_with_it():
    needs = {files.hub_id for files in wanted_of("geneval").needs}
    assert needs == {files.hub_id for name in ("mask2former-swin-s", "clip-vit-l14") for files in wanted_of(name).needs}
    assert wanted_of("partiprompts").needs == ()
    assert wanted_of("pocket").prompts_of is None


def test_a_list_that_nobody_pinned_is_shown_and_not_fetched():
    assert {part.path for part in list_parts("hpsv2", fetch=False)} == {None}
    with pytest.raises(OutOfReach, match="name the folder above it with --lists"):
        list_parts("hpsv2", fetch=True)
