import pytest

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.generators.check import check_generator
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.table import GENERATORS, load_generator
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
@pytest.mark.parametrize("name", ["pocket-turbo", "pocket-base"])
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
    with pytest.raises(BadConfig, match="hf download stabilityai/sd-turbo"):
        load_generator(name)


def test_a_hub_model_in_the_cache_is_loaded(monkeypatch, sd_folder):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(sd_folder))
    generator = load_generator("someone/some-model")
    assert generator.noise_shape == (4, 8, 8)
