"""What a run says of its memory before it starts, and what it does to fit."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import save_stable_diffusion

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.generators import table
from plaudit.generators.memory_plan import ALLOWANCE, BY_SPEED, GB, USABLE, peak_of
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.memory_simulation import Simulation
from plaudit.generators.tuned import choose
from plaudit.shells import fitting
from plaudit.shells.cli import main
from plaudit.shells.drawing import load_model, set_up
from plaudit.shells.fitting import fit_memory
from plaudit.shells.options import DrawingOptions

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import save_janus_folder

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def janus(tmp_path_factory):
    return str(save_janus_folder(tmp_path_factory.mktemp("janus") / "tiny"))


@pytest.fixture(scope="module")
def planned(folder):
    return Simulation(folder, ["compressibility"], "bfloat16")


@pytest.fixture(scope="module", autouse=True)
def _what_was_simulated_once_is_known():
    """A simulation keeps what it has found; here it is kept from test to test."""
    made, simulate = {}, fitting._simulation

    def once(options, chosen, device):
        key = (chosen.model, options.reward, options.held_out, device)
        if key not in made:
            made[key] = simulate(options, chosen, device)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_simulation", once)
        yield


def options_for(folder, **more):
    return DrawingOptions(**{"model": folder, "reward": ("compressibility",), "steps": 3, **more})


def on_gpu(monkeypatch, room, options, *, images=None):
    """The fit on a GPU of which so many bytes can be used."""
    monkeypatch.setattr("plaudit.core.devices.free_memory", lambda _: int((room + ALLOWANCE) / USABLE) + 2)
    monkeypatch.setattr("plaudit.generators.memory.has_fast_bfloat16", lambda device: device.type == "cuda")
    return fit_memory(options, choose(options.model), GPU, images=images)


def gigabytes(room):
    return f"{(room + ALLOWANCE) / USABLE / GB:.9f}"


def test_on_a_cpu_nothing_is_planned_nor_said(folder, capsys, monkeypatch):
    def planned(*_):
        raise AssertionError("a plan takes a while")

    monkeypatch.setattr("plaudit.shells.fitting._simulation", planned)
    assert fit_memory(DrawingOptions(model="pocket-turbo"), choose("pocket-turbo"), CPU) is None
    assert fit_memory(options_for(folder), choose(folder), CPU) is None
    assert capsys.readouterr().err == ""


def test_a_pocket_model_is_not_planned_on_a_gpu_either(monkeypatch, capsys):
    assert on_gpu(monkeypatch, GB, DrawingOptions(model="Pocket-Turbo")) is None
    assert capsys.readouterr().err == ""


def test_on_a_gpu_one_line_says_what_will_be_used_of_what_there_is(folder, planned, monkeypatch, capsys):
    fit = on_gpu(monkeypatch, 20 * GB, options_for(folder), images=2)
    assert fit.settings == MemorySettings(checkpointing=False, dtype="bfloat16")
    assert (fit.home, fit.dtype, fit.batch_size) == (GPU, torch.bfloat16, 16)
    assert fit.peak == peak_of(planned, MemorySettings(checkpointing=False), 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"will use at most {fit.peak / GB:.2f} GB of 22.11 GB (no checkpointing)" in err


def test_a_run_that_only_draws_is_planned_without_gradients(folder, planned, monkeypatch):
    drawn = on_gpu(monkeypatch, 20 * GB, options_for(folder, method="none"), images=2)
    assert drawn.peak == peak_of(planned, MemorySettings(checkpointing=False), 2, gradient=False)
    searched = on_gpu(monkeypatch, 20 * GB, options_for(folder, method="best-of-n"), images=2)
    assert searched.peak == drawn.peak


def test_where_a_batch_does_not_fit_what_saves_memory_is_chosen(folder, planned, monkeypatch, capsys):
    room = peak_of(planned, BY_SPEED[3], 1)
    fit = on_gpu(monkeypatch, room, options_for(folder))
    assert fit.peak <= room
    assert fit.settings.offload is not None
    assert (fit.home, fit.device) == (CPU, GPU)
    assert f"{fit.batch_size} images at once in place of 16" in capsys.readouterr().err


def test_where_nothing_fits_one_sentence_says_what_would(folder, monkeypatch):
    with pytest.raises(BadConfig, match=r"needs 1\.\d\d GB .* and this GPU has 1\.05 GB; choose a smaller model"):
        on_gpu(monkeypatch, 1000, options_for(folder))


def test_memory_limits_what_a_gpu_has(folder, planned, monkeypatch, capsys):
    room = peak_of(planned, BY_SPEED[2], 1)
    fit = on_gpu(monkeypatch, 20 * GB, options_for(folder, memory=float(gigabytes(room))))
    assert fit.settings != on_gpu(monkeypatch, 20 * GB, options_for(folder)).settings
    capsys.readouterr()
    with pytest.raises(BadConfig, match=r"and --memory gives it 1\.00 GB"):
        on_gpu(monkeypatch, 20 * GB, options_for(folder, memory=1.0))


@pytest.mark.parametrize("memory", [0.0, -1.0, float("nan"), float("inf")])
def test_memory_that_is_no_number_of_gigabytes_is_refused(folder, memory):
    with pytest.raises(BadConfig, match="--memory is a number of gigabytes, more than 0, got"):
        fit_memory(options_for(folder, memory=memory), choose(folder), CPU)


def test_what_is_not_counted_is_named(folder, monkeypatch, capsys):
    on_gpu(monkeypatch, 20 * GB, options_for(folder, reward=("blip-vqa", "compressibility")))
    assert "; what blip-vqa will use comes on top" in capsys.readouterr().err


def test_a_folder_that_holds_no_model_is_left_to_the_loader(tmp_path, monkeypatch):
    assert on_gpu(monkeypatch, GB, options_for(str(tmp_path))) is None


def test_a_run_within_little_memory_draws_the_same_pictures_and_says_how(folder, tmp_path, capsys):
    room = peak_of(Simulation(folder, ["hps"], "float32"), MemorySettings(), 1)
    line = ["generate", "a red circle", "--model", folder, "--reward", "hps", "--device", "cpu"]
    line += ["--steps", "2", "--images-per-prompt", "2"]
    assert main([*line, "--out", str(tmp_path / "plain")]) == 0
    assert "will use at most" not in capsys.readouterr().err
    assert main([*line, "--out", str(tmp_path / "small"), "--memory", gigabytes(room)]) == 0
    assert "(checkpointing, 1 image at once in place of 16)" in capsys.readouterr().err
    plain, small = (tmp_path / name / "images" for name in ("plain", "small"))
    for file in plain.iterdir():
        assert torch.allclose(read_image(file), read_image(small / file.name), atol=1.5 / 255)
    manifest = json.loads((tmp_path / "small" / "run.json").read_text())
    assert manifest["memory"]["settings"]["checkpointing"] is True
    assert manifest["memory"]["batch_size"] == 1
    assert "memory" not in manifest["settings"]
    assert "memory" not in json.loads((tmp_path / "plain" / "run.json").read_text())


def test_what_is_set_up_is_what_fits(folder):
    room = peak_of(Simulation(folder, ["compressibility"], "float32"), MemorySettings(), 1)
    for memory, checkpointing, batch_size in ((gigabytes(room), True, 1), ("4", False, 16)):
        options = options_for(folder, memory=float(memory), device="cpu")
        shop = set_up(options, images=2)
        assert shop.generator.denoiser.is_gradient_checkpointing is checkpointing
        assert shop.options.batch_size == shop.fit.batch_size == batch_size


@pytest.mark.parametrize("native", [True, False])
def test_a_token_model_is_in_bfloat16_where_the_gpu_multiplies_it(folder, janus, native, monkeypatch):
    monkeypatch.setattr("plaudit.generators.memory.has_fast_bfloat16", lambda _: native)
    loaded, load = [], table.load_generator

    def on_cpu(name, *, device, dtype, **more):
        loaded.append((device, dtype))
        return load(name, device=CPU, dtype=dtype, **more)

    monkeypatch.setattr(table, "load_generator", on_cpu)
    for device in (GPU, CPU):
        generator, _ = load_model(options_for(janus, method="none"), device)
        wanted = torch.bfloat16 if native and device == GPU else torch.float32
        assert loaded.pop() == (device, wanted)
        assert {it.dtype for it in generator.policy.transformer.parameters()} == {wanted}
    assert fitting.unplanned_precision(choose("pocket-janus"), GPU) is None, "the same everywhere"
    assert fitting.unplanned_precision(choose("janus-pro-1b"), GPU) == (torch.bfloat16 if native else torch.float32)
    assert fitting.unplanned_precision(choose(folder), GPU) is None


def test_settings_reach_the_generator(folder):
    from plaudit.generators.table import load_generator

    settings = MemorySettings(slicing=True, offload="text", dtype="float32")
    fit = fitting.Fit(device=CPU, settings=settings, batch_size=1, peak=0)
    generator = load_generator(folder, device=fit.home, dtype=fit.dtype)
    fit.put_to_work(generator)
    assert generator.decoding.slicing
    assert generator.denoiser.is_gradient_checkpointing


def test_rewards_that_are_there_take_nothing_of_what_is_free(folder, monkeypatch, capsys):
    """They are in the plan, and in what the GPU says is used: counted once."""
    monkeypatch.setattr(Simulation, "reward_weights", lambda _: 2 * GB)
    monkeypatch.setattr("plaudit.core.devices.free_memory", lambda _: 20 * GB)
    monkeypatch.setattr("plaudit.generators.memory.has_fast_bfloat16", lambda device: device.type == "cuda")
    options, chosen = options_for(folder), choose(folder)
    said = {}
    for there in (False, True):
        fit_memory(options, chosen, GPU, images=2, rewards_there=there)
        said[there] = float(re.search(r"of ([\d.]+) GB", capsys.readouterr().err)[1])
    assert said[True] - said[False] == pytest.approx(2, abs=0.011)


def test_what_torch_keeps_of_models_that_are_gone_is_free(monkeypatch):
    from plaudit.core.devices import free_memory

    told = {"mem_get_info": (5, 100), "memory_reserved": 40, "memory_allocated": 30}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert free_memory(GPU) == 5 + 40 - 30
    assert free_memory(CPU) is None
