"""Feature nets: what they see, and fingerprints that tell any two apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import save_clip
from safetensors.torch import load_file
from transformers import CLIPModel, Dinov2Config, Dinov2Model

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.hub import OutOfReach
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.feature_nets import load_clip_features, load_dinov2_features, load_image_reward_features
from plaudit.rewards.feature_table import FEATURE_NETS, load_feature_net
from plaudit.rewards.image_reward import ImageRewardModel
from plaudit.shells.fetching import wanted_of

IMAGES = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))


def save_dinov2(folder: Path, **changes: object) -> Path:
    """A Dinov2Model folder of random weights that reads 16 x 16 pixels, cut from 20 x 20."""
    config = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 24, "patch_size": 8,
        "mlp_ratio": 2,
    }  # fmt: skip
    Dinov2Model(Dinov2Config(**{**config, **changes})).save_pretrained(str(folder))
    said = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "image_mean": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(params=["clip", "dinov2", "image-reward"])
def net(request, clip_folder, dinov2_folder, image_reward_folder):
    if request.param == "image-reward":
        return load_image_reward_features(image_reward_folder, name="tiny")
    return load_feature_net(str(clip_folder if request.param == "clip" else dinov2_folder))


def test_every_picture_gets_its_own_row_whatever_the_batch(net) -> None:
    together = net(IMAGES)
    assert together.shape == (3, net.dimensions)
    assert together.dtype == torch.float32
    alone = torch.cat([net(image[None]) for image in IMAGES])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_gradients_reach_the_picture_and_no_weight(net) -> None:
    leaf = IMAGES.clone().requires_grad_()
    # Not the plain sum: a layer norm at the end makes that the same for all pictures.
    (net(leaf) * torch.linspace(-1, 2, net.dimensions)).sum().backward()
    assert leaf.grad.abs().sum() > 1e-3
    assert all(parameter.grad is None for parameter in net.model.parameters())


def test_clip_features_point_where_clip_score_looks(clip_folder) -> None:
    reward = ClipTowers.from_pretrained(clip_folder)
    found = load_clip_features(clip_folder, name="tiny")(IMAGES)
    assert torch.allclose(F.normalize(found, dim=1), reward.embed_images(IMAGES), atol=1e-6)
    assert not torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-2)


def test_half_of_the_model_is_enough_and_all_that_is_loaded(clip_folder) -> None:
    model = load_clip_features(clip_folder, name="tiny").model
    whole = CLIPModel.from_pretrained(str(clip_folder)).state_dict()
    assert not any("text" in name for name in model.state_dict())
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items())


def test_a_pickle_of_weights_sees_what_safetensors_see(clip_folder, tmp_path) -> None:
    weights = load_file(clip_folder / "model.safetensors")
    # As old checkpoints have it.
    weights["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    for name in ("config.json", "preprocessor_config.json"):
        if (clip_folder / name).is_file():
            (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    torch.save(weights, tmp_path / "pytorch_model.bin")
    found = load_clip_features(tmp_path, name="old", weights="pytorch_model.bin")
    assert found.fingerprint == load_clip_features(clip_folder, name="new").fingerprint
    with pytest.raises(BadConfig, match="was not opened: its sha256"):
        load_clip_features(tmp_path, name="old", weights="pytorch_model.bin", sha256="0" * 64)
    with pytest.raises(BadConfig, match=r"no model\.safetensors"):
        load_clip_features(tmp_path, name="old")


def test_dinov2_sees_the_centre_of_the_resized_picture(dinov2_folder) -> None:
    net = load_dinov2_features(dinov2_folder, name="tiny")
    model = Dinov2Model.from_pretrained(str(dinov2_folder)).eval()
    picture = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        seen = model((picture[..., 2:18, 7:23] - mean) / std).last_hidden_state[:, 0]
    assert torch.allclose(net(picture), seen, atol=1e-5)


def test_imagerewards_class_token_is_the_one_that_its_text_encoder_looks_at(image_reward_folder) -> None:
    net = load_image_reward_features(image_reward_folder, name="tiny")
    model = ImageRewardModel.from_pretrained(image_reward_folder).eval()
    picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        seen = model.see((picture - mean) / std)
    assert torch.allclose(net(picture), seen[:, 0], atol=1e-5)
    assert not torch.allclose(net(picture), seen.mean(dim=1), atol=1e-2)
    assert not any("text" in name for name in net.model.state_dict())


def test_a_fingerprint_changes_with_all_that_changes_features(tmp_path, clip_folder, dinov2_folder) -> None:
    def of(folder: Path) -> str:
        return load_feature_net(str(folder)).fingerprint

    first = of(dinov2_folder)
    assert first == of(dinov2_folder)
    assert len(first) == 16
    other_weights = of(save_dinov2(tmp_path / "weights"))
    torch.manual_seed(7)
    heads = save_dinov2(tmp_path / "heads")
    torch.manual_seed(7)
    fewer_heads = save_dinov2(tmp_path / "fewer", num_attention_heads=4)
    crop = tmp_path / "crop"
    crop.mkdir()
    for file in dinov2_folder.iterdir():
        (crop / file.name).write_bytes(file.read_bytes())
    (crop / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 24}, "crop_size": {"height": 16}}')
    found = [first, other_weights, of(heads), of(fewer_heads), of(crop), of(clip_folder)]
    assert len(set(found)) == len(found)


def test_folders_that_lack_something_are_refused(tmp_path, dinov2_folder) -> None:
    with pytest.raises(UnknownName, match="model_type 'clip' or 'dinov2'"):
        load_feature_net(str(tmp_path))
    with pytest.raises(BadConfig, match=r"no config\.json"):
        load_dinov2_features(tmp_path, name="none")
    (tmp_path / "config.json").write_bytes((dinov2_folder / "config.json").read_bytes())
    with pytest.raises(BadConfig, match=r"no model\.safetensors"):
        load_feature_net(str(tmp_path))
    config = json.loads((dinov2_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    (tmp_path / "model.safetensors").write_bytes((dinov2_folder / "model.safetensors").read_bytes())
    with pytest.raises(BadConfig, match=r"lacks \d+ weights"):
        load_feature_net(str(tmp_path))
    with pytest.raises(UnknownName, match="Did you mean 'dinov2-base'"):
        load_feature_net("dinov2-bas")


def test_the_pocket_nets_load_and_see_things_apart() -> None:
    nets = [load_feature_net(), load_feature_net("pocket-clip"), load_feature_net("pocket-imagereward")]
    assert [net.name for net in nets] == ["pocket-pickscore", "pocket-clip", "pocket-imagereward"]
    assert len({net.fingerprint for net in nets}) == 3
    for net in nets:
        assert net(IMAGES).shape == (3, FEATURE_NETS.find(net.name).facts["dimensions"])


@pytest.mark.parametrize("entry", list(FEATURE_NETS), ids=lambda entry: entry.name)
def test_a_row_says_what_one_must_know(entry) -> None:
    assert {"dimensions", "side", "paper", "weights"} <= entry.facts.keys()
    assert callable(entry.resolve())
    for files in entry.needs:
        assert (files.hub_id, files.revision) == (entry.hub_id, entry.revision)
        assert len(entry.revision) == 40
    if "sha256" in entry.arguments:
        assert len(entry.arguments["sha256"]) == 64
    assert (entry.hub_id is None) == (entry.size_mb == 0)


def test_a_net_that_cannot_be_had_is_said_in_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OutOfReach, match="plaudit fetch dinov2-base"):
        load_feature_net("facebook/dinov2-base")


def test_a_published_row_loads_what_the_hub_would_bring(tmp_path, monkeypatch) -> None:
    from loopback_hub import save_cached

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    made = {
        "dinov2-base": save_dinov2(tmp_path / "dinov2"),
        "clip-vit-l14": save_clip(tmp_path / "clip"),
        "clip-vit-l14-336": save_clip(tmp_path / "clip336"),
    }
    large = made["clip-vit-l14-336"]
    torch.save(load_file(large / "model.safetensors"), large / "pytorch_model.bin")
    for name, folder in made.items():
        entry = FEATURE_NETS.find(name)
        (wanted,) = entry.needs
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        files.setdefault("preprocessor_config.json", b"{}")
        save_cached(tmp_path / "cache", wanted.hub_id, files, wanted.revision)
        if "sha256" in entry.arguments:
            with pytest.raises(BadConfig, match="it was published with"):
                entry.build()
            continue
        net = load_feature_net(name)
        assert net.name == name
        assert net(IMAGES).shape == (3, net.dimensions)


@pytest.mark.parametrize("entry", [row for row in FEATURE_NETS if row.needs], ids=lambda entry: entry.name)
def test_what_fetch_brings_under_a_rows_name_is_all_that_the_row_needs(entry) -> None:
    (wanted,) = entry.needs
    brought = {files.revision: files for files in wanted_of(entry.name).needs}
    assert all(brought[wanted.revision].match(name) for name in wanted.patterns)


def test_the_table_imports_nothing_slow() -> None:
    script = "import sys, plaudit.rewards.feature_table as t; list(t.FEATURE_NETS); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"
