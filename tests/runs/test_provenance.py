import hashlib
import json

import pytest
import torch
from loopback_hub import COMMIT, save_cached
from made_runs import folder, result
from PIL import Image
from toys import Texture

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.hub import HubFiles
from plaudit.core.picture_files import read_image
from plaudit.core.registry import Entry, Registry
from plaudit.rewards.mix import WeightedSum
from plaudit.runs.provenance import check_known, checksums, png_bytes, read_provenance, source_of


def test_a_picture_tells_how_it_was_made(tmp_path):
    run = folder(tmp_path / "run")
    (record,) = run.keep([result(1)])
    made = read_provenance(run.path / record.file)
    assert made["prompt"] == record.prompt
    assert (made["prompt_index"], made["image_index"]) == (1, 0)
    assert made["settings"]["seed"] == 5
    assert "prompts" not in made["settings"]
    assert made["sources"] == run.manifest["sources"]
    assert made["parts"] == {"hps": 0.3, "clip": 19.0}


def test_other_viewers_find_a_line_they_can_show(tmp_path):
    (record,) = folder(tmp_path / "run").keep([result(0)])
    text = Image.open(tmp_path / "run" / record.file).text["parameters"]
    assert text.startswith("a red ring\nSteps: 3, Seed: 5, Model: pocket-turbo")


def test_a_picture_tells_the_plan_that_it_was_drawn_after(tmp_path):
    plan = 'on white: a "red" ring,\na star - \u5708'
    (record,) = folder(tmp_path / "run").keep([result(0)], plan_of=lambda noise: plan if bool(noise.any()) else "other")
    file = tmp_path / "run" / record.file
    assert read_provenance(file)["plan"] == plan
    line = Image.open(file).text["parameters"]
    assert line.count("\n") == 1
    assert json.loads(line.rpartition("Plan: ")[2]) == plan
    (plain,) = folder(tmp_path / "plain").keep([result(0)])
    assert "plan" not in read_provenance(tmp_path / "plain" / plain.file)
    assert "Plan" not in Image.open(tmp_path / "plain" / plain.file).text["parameters"]


def test_prompts_in_any_script_survive(tmp_path):
    (record,) = folder(tmp_path / "run").keep([result(0, prompt="红色的圆 - ça")])
    assert read_provenance(tmp_path / "run" / record.file)["prompt"] == "红色的圆 - ça"


def test_a_picture_of_another_program_has_no_provenance(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(torch.zeros(3, 4, 4)))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    assert read_provenance(tmp_path / "a.png") is None
    assert read_provenance(tmp_path / "a.jpg") is None


def test_rounding_to_bytes_goes_to_the_nearest(tmp_path):
    values = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7, -0.3])
    (tmp_path / "a.png").write_bytes(png_bytes(values.view(1, 1, 6).expand(3, 1, 6)))
    expected = torch.tensor([0.0, 0.0, 1.0, 255.0, 255.0, 0.0]) / 255
    torch.testing.assert_close(read_image(tmp_path / "a.png")[0, 0], expected)


def test_grey_and_transparent_pictures_are_read_as_three_channels(tmp_path):
    Image.new("L", (5, 3), 255).save(tmp_path / "grey.png")
    Image.new("RGBA", (5, 3)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "grey.png").shape == (3, 3, 5)
    assert read_image(tmp_path / "clear.png").shape == (3, 3, 5)


@pytest.mark.parametrize("read", [read_image, read_provenance])
def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path, read):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(BadConfig, match="is not an image"):
        read(tmp_path / "a.png")
    with pytest.raises(BadConfig, match="there is no file"):
        read(tmp_path / "none.png")
    with pytest.raises(BadConfig, match="cannot read"):
        read(tmp_path)
    whole = png_bytes(torch.rand(3, 32, 32))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadConfig, match="image"):
        read(tmp_path / "cut.png")


@pytest.mark.parametrize(("text", "says"), [("{", "damaged"), ('{"format": 7}', "another version"), ("[]", "another")])
def test_provenance_that_cannot_be_read_is_refused(tmp_path, text, says):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("plaudit", text)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(BadConfig, match=says):
        read_provenance(tmp_path / "a.png")


def test_a_source_is_known_by_what_its_weights_are(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"weights")
    source = source_of(Registry("model", []), str(tmp_path))
    assert source["weights"] == {"unet/a.safetensors": hashlib.sha256(b"weights").hexdigest()}
    hub = Entry(name="sd-turbo", target="x:y", summary="", hub_id="stabilityai/sd-turbo", revision="abc")
    assert source_of(Registry("model", [hub]), "SD-Turbo")["revision"] == "abc"
    assert json.dumps(source)


def test_a_changed_weight_changes_the_checksum(tmp_path):
    for name, content in (("a", b"one"), ("b", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.safetensors").write_bytes(content)
    assert checksums(tmp_path / "a") != checksums(tmp_path / "b")
    assert len(checksums(tmp_path / "a")["m.safetensors"]) == 64


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path):
    table = Registry("model", [Entry(name="pocket-turbo", target="x:y", summary="")])
    with pytest.raises(UnknownName, match="Did you mean 'pocket-turbo'"):
        check_known(table, "pocket-trubo")
    check_known(table, "someone/model")
    check_known(table, str(tmp_path))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The hub's cache, in its own layout, with what a recipe of two repositories needs; no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base = {"unet/a.fp16.safetensors": b"half", "unet/a.safetensors": b"full", "unet/config.json": b"{}"}
    save_cached(tmp_path / "cache", "someone/base", {"model_index.json": b"{}", **base})
    save_cached(tmp_path / "cache", "someone/lora", {"lora.safetensors": b"lora", "other.safetensors": b"other"})
    return tmp_path / "cache"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


RECIPE = Entry(
    name="recipe",
    target="x:y",
    summary="",
    arguments={
        "folder": HubFiles(hub_id="someone/base"),
        "changes": {"lora": HubFiles(hub_id="someone/lora", patterns=("lora.safetensors",))},
    },
    hub_id="someone/lora",
    licence="Careful-1.0",
)


@pytest.mark.usefixtures("hub_cache")
def test_a_source_of_the_hub_has_the_commit_that_was_loaded_and_every_files_sha256():
    source = source_of(Registry("model", [RECIPE]), "someone/LORA")
    assert source == {
        "name": "recipe",
        "hub_id": "someone/lora",
        "revision": COMMIT,
        "licence": "Careful-1.0",
        "weights": {"lora.safetensors": sha(b"lora")},
        "with": [
            {"hub_id": "someone/base", "revision": COMMIT, "weights": {"unet/a.fp16.safetensors": sha(b"half")}}
        ],
    }  # fmt: skip
    bare = source_of(Registry("model", []), "someone/base")
    assert (bare["name"], bare["hub_id"], bare["revision"]) == ("someone/base", "someone/base", COMMIT)
    assert bare["weights"] == {"unet/a.fp16.safetensors": sha(b"half")}


def test_large_files_of_the_hub_are_not_read_again(hub_cache):
    blob = hub_cache / "models--someone--lora" / "blobs" / sha(b"lora")
    blob.write_bytes(b"not what the name says")
    assert source_of(Registry("model", [RECIPE]), "recipe")["weights"] == {"lora.safetensors": sha(b"lora")}
    snapshot = hub_cache / "models--someone--base" / "snapshots" / COMMIT
    assert checksums(snapshot)["unet/a.safetensors"] == sha(b"full")


def test_a_cache_without_links_is_hashed_file_by_file(hub_cache):
    file = hub_cache / "models--someone--lora" / "snapshots" / COMMIT / "lora.safetensors"
    file.unlink()
    file.write_bytes(b"copied")
    assert source_of(Registry("model", [RECIPE]), "recipe")["weights"] == {"lora.safetensors": sha(b"copied")}


def test_what_the_cache_lacks_is_known_by_its_pinned_commit_alone(hub_cache):
    pinned = HubFiles(hub_id="someone/base", revision="f" * 40)
    row = Entry(
        name="row", target="x:y", summary="", arguments={"folder": pinned}, hub_id="someone/base", revision="f" * 40
    )
    source = source_of(Registry("model", [row]), "row")
    assert (source["revision"], source["weights"]) == ("f" * 40, {})
    assert hub_cache.is_dir()


@pytest.mark.usefixtures("hub_cache")
def test_run_and_picture_carry_all_repositories_of_a_recipe(tmp_path):
    run = folder(tmp_path / "run")
    run.manifest["sources"] = {"model": source_of(Registry("model", [RECIPE]), "recipe"), "rewards": []}
    (record,) = run.keep([result(0)])
    written = json.loads((run.path / "run.json").read_text())["sources"]
    assert read_provenance(run.path / record.file)["sources"] == written
    assert [it["hub_id"] for it in (written["model"], *written["model"]["with"])] == ["someone/lora", "someone/base"]


def test_the_sources_of_a_run_are_asked_for_after_loading(monkeypatch):
    """Of a model without a pinned commit, only the cache knows which one was loaded."""
    from plaudit.shells import drawing
    from plaudit.shells.options import DrawingOptions

    order = []
    monkeypatch.setattr("plaudit.generators.table.load_generator", lambda *_, **__: order.append("model"))
    rewards = WeightedSum({"clip": (1.0, Texture())})
    monkeypatch.setattr("plaudit.rewards.table.load_rewards", lambda *_, **__: order.append("rewards") or rewards)
    monkeypatch.setattr("plaudit.runs.provenance.source_of", lambda *_: order.append("source") or {})
    drawing.set_up(DrawingOptions(reward=("hps:1",), device="cpu"))
    assert order == ["model", "source", "rewards", "source"]
