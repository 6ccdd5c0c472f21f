"""The rows of published rewards: their files, where they come from, and what is said when they are not there."""

import hashlib
import json
import re
from dataclasses import replace

import pytest
import torch
from loopback_hub import COMMIT, loopback_hub, save_cached
from published_formats import save_aesthetic, save_hps, save_image_reward_as_published

from plaudit.core.errors import BadConfig
from plaudit.core.hub import HubFiles, OutOfReach, files_in, located
from plaudit.core.registry import Registry
from plaudit.generators.shapes.rewards import BLIP_L, TOWERS
from plaudit.rewards.check import check_reward
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.published import PUBLISHED
from plaudit.rewards.table import REWARDS, load_reward
from plaudit.runs.provenance import source_of
from plaudit.shells.cli import main

IMAGES = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))
PROMPTS = ["a red square", "two blue circle", "a star"]
ROWS = pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "plaudit"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Tiny files by hub id, as in the real repositories."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("hps", "aesthetic", "imagereward", "bert")}
    torch.manual_seed(1)
    save_hps(folders["hps"])
    save_hps(folders["hps"], version="v2")
    save_aesthetic(folders["aesthetic"])
    save_image_reward_as_published(folders["imagereward"])
    names = {
        "xswu/HPSv2": ("hps", r"HPS_.*"),
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": ("aesthetic", r".*json|merges.txt|model.safetensors"),
        "openai/clip-vit-large-patch14": ("aesthetic", r".*json|merges.txt|model.safetensors"),
        "yuvalkirstain/PickScore_v1": ("aesthetic", r".*json|merges.txt|model.safetensors"),
        "camenduru/improved-aesthetic-predictor": ("aesthetic", r".*\.pth"),
        "zai-org/ImageReward": ("imagereward", r"ImageReward.pt|med_config.json"),
        "google-bert/bert-base-uncased": ("imagereward", r"vocab.txt|tokenizer_config.json"),
    }
    found = {
        hub_id: {path.name: path.read_bytes() for path in folders[name].iterdir() if re.fullmatch(pattern, path.name)}
        for hub_id, (name, pattern) in names.items()
    }
    # The fast form of the tokenizer, which the real repository also has.
    from transformers import BertTokenizer

    BertTokenizer.from_pretrained(str(folders["imagereward"])).save_pretrained(str(folders["bert"]))
    found["google-bert/bert-base-uncased"]["tokenizer.json"] = (folders["bert"] / "tokenizer.json").read_bytes()
    return found


def put_into_cache(entry, files, cache):
    """The row's files in the cache at the row's commits; the row with the sha256 of the tiny checkpoint."""
    digests = {}
    for wanted in entry.needs:
        save_cached(cache, wanted.hub_id, files[wanted.hub_id], wanted.revision)
        digests |= {n: hashlib.sha256(c).hexdigest() for n, c in files[wanted.hub_id].items() if wanted.match(n)}
    pickles = [digest for name, digest in digests.items() if name.endswith((".pt", ".pth"))]
    changed = {"sha256": pickles[0]} if entry.arguments.get("sha256") else {}
    return replace(entry, arguments={**entry.arguments, **changed})


@ROWS
def test_a_row_whose_files_are_there_loads_without_a_network_and_keeps_the_contract(entry, files, tmp_path):
    reward = put_into_cache(entry, files, tmp_path / "cache").build()
    check_reward(reward)
    assert reward.differentiable == entry.facts["differentiable"]


@ROWS
def test_a_row_whose_files_are_not_there_says_how_to_get_them(entry):
    with pytest.raises(
        OutOfReach, match=rf"Where there is a network: plaudit fetch {re.escape(entry.name)}$"
    ) as raised:
        load_reward(entry.name)
    assert "\n" not in str(raised.value)
    assert f"{entry.name} (" in str(raised.value)


@pytest.mark.parametrize("entry", [it for it in PUBLISHED if it.arguments.get("sha256")], ids=lambda entry: entry.name)
def test_a_checkpoint_that_is_not_the_published_one_is_refused(entry, files, tmp_path, monkeypatch):
    put_into_cache(entry, files, tmp_path / "cache")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(BadConfig, match=rf"was published with {entry.arguments['sha256']}; delete it and fetch"):
        load_reward(entry.name)


def test_every_pickle_has_a_sha256_or_says_that_it_has_none():
    for entry in PUBLISHED:
        pickles = [p for it in entry.needs for p in it.patterns if p.endswith((".pt", ".pth", ".bin"))]
        if not pickles:
            assert entry.facts["weights"] == "safetensors"
        elif (digest := entry.arguments["sha256"]) is None:
            assert entry.name == "hpsv2"
            assert "first download" in entry.facts["weights"]
        else:
            assert re.fullmatch("[0-9a-f]{64}", digest)


@ROWS
def test_every_row_is_pinned_and_says_what_a_user_must_know(entry):
    assert REWARDS.find(entry.name) is entry
    assert all(re.fullmatch("[0-9a-f]{40}", files.revision) for files in entry.needs)
    assert entry.hub_id in [files.hub_id for files in entry.needs]
    assert entry.facts["differentiable"] is True
    assert entry.licence
    # At least the weights in half precision, at most those in full precision and the small files beside them.
    assert 0.45 * entry.facts["memory_mb"] < entry.size_mb < 1.5 * entry.facts["memory_mb"]


def megabytes(*models):
    return sum(parameter.numel() for model in models for parameter in model.parameters()) * 4 / 1e6


def test_the_memory_of_a_row_is_that_of_its_parameters():
    from transformers import CLIPConfig, CLIPModel, CLIPVisionModelWithProjection

    from plaudit.rewards.image_reward import PUBLISHED_MLP_SIZES, ImageRewardModel, linear_head

    def tower(width, layers, heads):
        return {
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "projection_dim": 768,
        }  # fmt: skip

    with torch.device("meta"):
        vision = {**tower(1024, 24, 16), "image_size": 224, "patch_size": 14}
        clip = CLIPConfig(
            text_config={**tower(768, 12, 12), "vocab_size": 49408}, vision_config=vision, projection_dim=768
        )
        large = megabytes(CLIPModel(clip))
        huge = megabytes(CLIPModel(CLIPConfig(**TOWERS["pickscore-v1"][0]["real"])))
        sees = megabytes(CLIPVisionModelWithProjection(clip.vision_config), linear_head(768, PUBLISHED_MLP_SIZES))
        blip = megabytes(ImageRewardModel(BLIP_L["real"]))
    expected = {"clip-vit-l14": large, "imagereward-v1": blip, "laion-aesthetic-v2": sees}
    for entry in PUBLISHED:
        assert entry.facts["memory_mb"] == pytest.approx(expected.get(entry.name, huge), abs=0.1)


def test_the_variants_of_hps_differ_in_what_their_names_say():
    official, crop, first = (REWARDS.find(name) for name in ("hpsv2.1", "hpsv2.1-centre-crop", "hpsv2"))
    assert {**official.arguments, "fit": "crop"} == crop.arguments
    assert official.arguments["fit"] == first.arguments["fit"] == "pad"
    assert [it.arguments["checkpoint"].patterns for it in (official, first)] == [
        ("HPS_v2.1_compressed.pt",), ("HPS_v2_compressed.pt",),
    ]  # fmt: skip


def test_short_names_stay_those_of_the_pocket_world():
    assert all(REWARDS.find(name).hub_id is None for name in ("clip", "hps", "pickscore", "imagereward"))


@pytest.fixture
def hub(tmp_path, monkeypatch, files):
    with loopback_hub(tmp_path / "cache", monkeypatch) as it:
        it.repositories |= files
        yield it


def at_the_loopback_s_commit(entry):
    """The row with the one commit that the hub of this test has."""
    moved = {
        key: replace(value, revision=COMMIT) if isinstance(value, HubFiles) else value
        for key, value in entry.arguments.items()
    }
    return replace(entry, arguments={**moved, **({"sha256": None} if "sha256" in moved else {})}, revision=COMMIT)


@pytest.mark.parametrize("name", ["clip-vit-l14", "hpsv2.1", "imagereward-v1", "laion-aesthetic-v2"])
def test_what_is_fetched_is_what_is_loaded(name, hub, monkeypatch, capsys):
    entry = REWARDS.find(name)
    row = at_the_loopback_s_commit(entry)
    monkeypatch.setattr("plaudit.rewards.table.REWARDS", Registry("reward", [row]))
    assert main(["fetch", entry.name]) == 0
    assert capsys.readouterr().out.startswith(f"{entry.name}  ")
    # Of LAION's model HPS needs no weights.
    assert any(sent.endswith(".safetensors") for sent in hub.sent) == (name in ("clip-vit-l14", "laion-aesthetic-v2"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    scores = load_reward(entry.name)(IMAGES, PROMPTS)
    assert scores.shape == (3,)
    assert main(["fetch", entry.name]) == 0
    assert "all here already" in capsys.readouterr().out


def test_any_clip_model_of_the_hub_is_a_reward(hub, clip_folder, monkeypatch, capsys):
    hub.repositories["someone/clip"] = {path.name: path.read_bytes() for path in clip_folder.iterdir()}
    hub.repositories["someone/clip"]["pytorch_model.bin"] = b"pickle"
    assert main(["fetch", "someone/clip"]) == 0
    assert "someone/clip  " in capsys.readouterr().out
    assert "pytorch_model.bin" not in hub.sent
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reward = load_reward("someone/clip")
    assert isinstance(reward, ClipTowers)
    assert torch.equal(reward(IMAGES, PROMPTS), load_reward(str(clip_folder))(IMAGES, PROMPTS))
    source = source_of(REWARDS, "someone/clip")
    assert source["revision"] == COMMIT
    digest = hashlib.sha256((clip_folder / "model.safetensors").read_bytes()).hexdigest()
    assert source["weights"] == {"model.safetensors": digest}


def test_a_run_can_say_which_files_a_row_s_reward_was(files, tmp_path):
    put_into_cache(REWARDS.find("hpsv2.1"), files, tmp_path / "cache")
    source = source_of(REWARDS, "hpsv2.1")
    content = files["xswu/HPSv2"]["HPS_v2.1_compressed.pt"]
    assert source["weights"] == {"HPS_v2.1_compressed.pt": hashlib.sha256(content).hexdigest()}
    assert [other["hub_id"] for other in source["with"]] == ["laion/CLIP-ViT-H-14-laion2B-s32B-b79K"]


def test_a_model_of_the_hub_that_is_not_there_says_how_to_get_it():
    with pytest.raises(OutOfReach, match=r"plaudit fetch someone/clip$"):
        load_reward("someone/clip")


def test_a_row_s_hub_id_is_the_row(files, tmp_path):
    entry = REWARDS.find("pickscore-v1")
    put_into_cache(entry, files, tmp_path / "cache")
    assert torch.equal(load_reward("YuvalKirstain/PickScore_v1")(IMAGES, PROMPTS), entry.build()(IMAGES, PROMPTS))


def test_the_list_of_rewards_shows_the_rows_facts(capsys):
    assert main(["list", "rewards", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    shown = rows["hpsv2.1"]
    assert (shown["hub_id"], shown["size_mb"], shown["memory_mb"]) == ("xswu/HPSv2", 1977.0, 3944.4)
    assert (shown["differentiable"], shown["raw_scale"]) == (True, [0.2, 0.4])
    assert main(["list", "rewards"]) == 0
    words = capsys.readouterr().out
    assert "differentiable yes · memory mb 3944.4 · weights a pickle of known sha256" in words


def test_the_files_of_a_row_are_all_arguments_of_its_loader():
    for entry in PUBLISHED:
        assert files_in(entry.arguments) == entry.needs
        assert callable(entry.resolve())


def test_a_single_file_reaches_its_loader_as_a_file(files, tmp_path):
    entry = REWARDS.find("hpsv2")
    put_into_cache(entry, files, tmp_path / "cache")
    found = located(entry.arguments, asked_as=entry.name)
    assert found["checkpoint"].name == "HPS_v2_compressed.pt"
    assert found["checkpoint"].is_file()
    assert found["folder"].is_dir()
