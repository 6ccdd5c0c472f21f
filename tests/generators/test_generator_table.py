import json
import re
from dataclasses import replace

import pytest
import torch
from tiny_janus import save_janus_folder
from tiny_token_models import IMAGE_SIZE, know_the_tiny_width, save_llamagen_files, save_t5, vqgan_weights

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.hub import HubFiles, files_in
from plaudit.core.registry import Entry
from plaudit.generators.check import check_generator
from plaudit.generators.janus_files import load_janus
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.llamagen_files import load_published_llamagen, save_llamagen
from plaudit.generators.sizes_only import generator_without_weights
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.table import GENERATORS, load_generator, load_plan_policy, load_token_policy
from plaudit.generators.token_check import check_token_policy, prompts_for
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.generators.vqgan import VQGAN, load_published_vqgan, save_vqgan
from plaudit.pocket.folders import WEIGHTS


@pytest.mark.parametrize("entry", list(GENERATORS), ids=lambda entry: entry.name)
def test_every_row_says_what_a_user_must_know(entry):
    assert entry.summary
    assert entry.licence
    assert entry.facts["image_size"] >= 64
    assert callable(entry.resolve())
    if entry.hub_id:
        assert entry.size_mb > 0


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pocket-turbo", "pocket-base", "pocket-lcm", "pocket-pixart"])
def test_pocket_models_keep_the_contract(name):
    if not (WEIGHTS / name).is_dir():
        pytest.skip(f"{name} is not built into this installation")
    check_generator(load_generator(name))


def test_a_folder_runs_in_one_unguided_step(sd_folder):
    generator = load_generator(str(sd_folder))
    assert isinstance(generator, StableDiffusion)
    assert (generator.steps, generator.guidance) == (1, 1.0)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'pocket-turbo'"):
        load_generator("pocket-turb")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="no generator folder"):
        load_generator(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["sd-turbo", "stabilityai/SD-Turbo"])
def test_a_hub_model_out_of_reach_says_how_to_fetch_it(monkeypatch, tmp_path, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match="plaudit fetch sd-turbo"):
        load_generator(name)


def test_a_hub_model_in_the_cache_is_loaded(monkeypatch, sd_folder):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(sd_folder))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    generator = load_generator("someone/some-model")
    assert generator.noise_shape == (4, 8, 8)


PUBLISHED = [entry for entry in GENERATORS if entry.needs]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_a_published_row_pins_every_repository_that_it_loads(entry):
    assert entry.hub_id in [files.hub_id for files in entry.needs]
    for files in entry.needs:
        if entry.facts.get("kind") == "tokens":
            # Their commits are not known; what was downloaded first is remembered by its sha256.
            assert files.revision is None
            continue
        assert re.fullmatch(r"[0-9a-f]{40}", files.revision)
        if files.hub_id == entry.hub_id:
            assert files.revision == entry.revision


PICKLES = ("x.bin", "unet/x.bin", "unet/x.ckpt", "unet/x.pt", "x.pth", "unet/x.pkl", "a/b/x.msgpack", "unet/x.h5")
CHECKED_PICKLE = "transformer/diffusion_pytorch_model.bin"
"""whose sha256 is compared before anything of it is read"""
FROM_NOISE = [entry for entry in PUBLISHED if entry.facts.get("kind") != "tokens"]
TOKENS = [entry for entry in GENERATORS if entry.facts.get("kind") == "tokens"]


@pytest.mark.parametrize("files", [HubFiles(hub_id="a/b"), *(it for entry in FROM_NOISE for it in entry.needs)])
def test_weights_are_fetched_as_safetensors_alone(files):
    patterns = [pattern for pattern in files.patterns if pattern != CHECKED_PICKLE]
    if len(patterns) < len(files.patterns):
        assert files.hub_id == "PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512"
    rest = HubFiles(hub_id=files.hub_id, patterns=tuple(patterns))
    assert not [name for name in (*PICKLES, CHECKED_PICKLE) if rest.match(name)]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_a_loader_gets_paths_of_what_was_fetched_and_asks_for_nothing_more(entry, monkeypatch, tmp_path):
    asked, given = [], {}

    def snapshot_download(hub_id, *, allow_patterns, revision, **_):
        asked.append(HubFiles(hub_id=hub_id, patterns=tuple(allow_patterns), revision=revision))
        return str(tmp_path / hub_id.replace("/", "--"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    monkeypatch.setattr(Entry, "resolve", lambda _: lambda **arguments: given.update(arguments))
    entry.build(device="cpu")
    assert set(asked) == set(entry.needs)
    assert given.pop("device") == "cpu"
    assert set(given) == set(entry.arguments)
    assert files_in(given) == ()
    for name, value in given.items():
        if isinstance(entry.arguments[name], HubFiles):
            assert value == entry.arguments[name].within(tmp_path / entry.arguments[name].hub_id.replace("/", "--"))


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_a_licence_with_restrictions_has_a_page_and_a_free_one_has_none(entry):
    free = entry.licence in ("Apache-2.0", "MIT")
    assert bool(entry.restrictions) is not free
    assert (entry.licence_page or "").startswith("https://") is not free


LLAMAGENS = [entry for entry in TOKENS if entry.needs and entry.name.startswith("llamagen")]


@pytest.mark.parametrize("entry", [entry for entry in TOKENS if entry.needs and entry not in LLAMAGENS])
def test_a_janus_is_fetched_as_safetensors_alone(entry):
    assert not [name for files in entry.needs for name in PICKLES if files.match(name)]
    assert all(files.match("tokenizer.json") and files.match("model-00001.safetensors") for files in entry.needs)


@pytest.mark.parametrize("entry", LLAMAGENS, ids=lambda entry: entry.name)
def test_a_llamagen_is_fetched_as_its_named_pickles_and_a_text_encoder_of_safetensors(entry):
    pickles = {pattern for files in entry.needs for pattern in files.patterns if pattern.endswith(".pt")}
    assert len(pickles) == 2
    assert not any("*" in pattern for pattern in pickles)
    for files in entry.needs:
        if not files.patterns[0].endswith(".pt"):
            assert not [name for name in PICKLES if files.match(name)]
    assert entry.facts["tokens"] == (entry.facts["image_size"] // 16) ** 2


@pytest.mark.parametrize("entry", TOKENS, ids=lambda entry: entry.name)
def test_a_token_model_takes_no_steps_and_is_not_planned(entry):
    with pytest.raises(BadConfig, match=f"'{entry.name}' draws a picture token by token and takes no sampling steps"):
        load_generator(entry.name, steps=4)
    with pytest.raises(BadConfig, match=f"'{entry.name}' draws token by token, and the memory of such models"):
        generator_without_weights(entry.name, dtype=torch.float32)


@pytest.mark.parametrize("entry", TOKENS, ids=lambda entry: entry.name)
def test_a_token_models_row_says_how_it_is_sampled(entry):
    assert entry.facts["guidance"] > 1
    assert entry.facts["tokens"] >= 64


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pocket-llamagen", "pocket-llamagen-t2i"])
def test_pocket_token_models_keep_their_contract(name):
    if not (WEIGHTS / name).is_dir():
        pytest.skip(f"{name} is not built into this installation")
    generator = load_generator(name)
    assert isinstance(generator, TokenGenerator)
    check_token_policy(generator.policy, prompts_for(generator.policy))


def test_a_token_model_is_a_generator_sampled_as_its_row_says(monkeypatch, tmp_path):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path)
    transformer.rename(tmp_path / "c2i_B_256.pt")
    tokenizer.rename(tmp_path / "vq_ds16_c2i.pt")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    generator = load_generator("llamagen-b-256")
    assert isinstance(generator, TokenGenerator)
    assert generator.sampling == Sampling(guidance=2.0)
    assert generator.noise_shape == (256 * 256 // 4,)
    save_llamagen(generator.policy, tmp_path / "saved")
    assert load_generator(str(tmp_path / "saved")).sampling == Sampling()


def test_a_token_model_is_loaded_by_name_from_its_files_in_the_cache(monkeypatch, tmp_path):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path)
    transformer.rename(tmp_path / "c2i_B_256.pt")
    tokenizer.rename(tmp_path / "vq_ds16_c2i.pt")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    found = load_token_policy("LlamaGen-B-256", dtype=torch.bfloat16)
    assert isinstance(found, LlamaGen)
    assert found.image_size == 256
    assert found.transformer.norm.weight.dtype == torch.bfloat16


def test_a_folder_of_a_token_model_is_loaded_by_what_its_config_names(monkeypatch, tmp_path):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path)
    policy = load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE)
    save_llamagen(policy, tmp_path / "saved")
    assert isinstance(load_token_policy(str(tmp_path / "saved")), LlamaGen)
    torch.save({"state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
    save_vqgan(load_published_vqgan(tmp_path / "last.ckpt", classes=5), tmp_path / "other")
    assert isinstance(load_token_policy(str(tmp_path / "other")), VQGAN)
    with pytest.raises(BadConfig, match="whose format is llamagen or vqgan"):
        load_token_policy(str(tmp_path))


@pytest.mark.parametrize("kind", ["classes", "captions", "vqgan", "janus"])
def test_a_token_model_draws_in_bfloat16_weights(monkeypatch, tmp_path, kind):
    """As `generate` loads them on a GPU."""
    if kind == "janus":
        save_janus_folder(tmp_path / "saved")
    elif kind == "vqgan":
        torch.save({"state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
        save_vqgan(load_published_vqgan(tmp_path / "last.ckpt", classes=5), tmp_path / "saved")
    else:
        know_the_tiny_width(monkeypatch)
        text = {"text_encoder": save_t5(tmp_path / "t5")} if kind == "captions" else {}
        transformer, tokenizer = save_llamagen_files(tmp_path, captions=kind == "captions")
        policy = load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE, **text)
        save_llamagen(policy, tmp_path / "saved")
    generator = load_generator(str(tmp_path / "saved"), dtype=torch.bfloat16)
    assert next(generator.policy.transformer.parameters()).dtype == torch.bfloat16
    for guidance in (1.0, 2.0) if kind != "vqgan" else (1.0,):
        prompts = ["a red circle", "star"] if kind in ("captions", "janus") else ["1", "2"]
        noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(0))
        kept = generator.sampling
        sampled = replace(kept, image=Sampling(guidance=guidance)) if kind == "janus" else Sampling(guidance=guidance)
        images = type(generator)(generator.policy, sampled).sample(noise, generator.encode(prompts))
        assert images.shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
        assert images.dtype == torch.float32
        assert images.isfinite().all()


def test_other_models_are_no_token_policies():
    with pytest.raises(BadConfig, match=r"'pocket-turbo' draws from noise, not token by token as .*llamagen-b-256"):
        load_token_policy("pocket-turbo")
    with pytest.raises(UnknownName, match="Did you mean 'llamagen-b-256'"):
        load_token_policy("llamagen-b-265")


def test_a_janus_in_its_makers_own_layout_is_told_apart_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "multi_modality"}))
    for load in (load_generator, load_token_policy, load_plan_policy, load_janus):
        with pytest.raises(BadConfig, match=r"DeepSeek's own layout .* take the same model in transformers' layout"):
            load(str(tmp_path))
