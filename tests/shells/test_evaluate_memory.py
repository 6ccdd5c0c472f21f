"""`plaudit evaluate` and `plaudit compare`: how many pictures at once, in how much memory, reading which prompts."""

import json
import re

import pytest
import torch
from conftest import save_stable_diffusion

import plaudit.shells.drawing
from plaudit.core.picture_files import read_image
from plaudit.generators.memory_plan import ALLOWANCE, GB, USABLE, peak_of
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.memory_simulation import Simulation
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.shells.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture
def at_once(monkeypatch):
    """How many pictures were drawn at once, call by call."""
    counts, sample = [], StableDiffusion.sample

    def counted(self, noise, condition):
        if not noise.is_meta:  # which a plan's are
            counts.append(len(noise))
        return sample(self, noise, condition)

    monkeypatch.setattr(StableDiffusion, "sample", counted)
    return counts


@pytest.fixture
def encoded(monkeypatch):
    """Which prompts were read, call by call."""
    calls, encode = [], StableDiffusion.encode

    def noted(self, prompts):
        calls.append(list(prompts))
        return encode(self, prompts)

    monkeypatch.setattr(StableDiffusion, "encode", noted)
    return calls


def evaluate(*arguments):
    return main(["evaluate", "pocket", "--device", "cpu", *map(str, arguments)])


def gigabytes(room):
    return f"{(room + ALLOWANCE) / USABLE / GB:.9f}"


@pytest.mark.parametrize("method", [(), ("--method", "best-of-n", "--steps", 1, "--reward", "hps")])
def test_so_many_pictures_are_drawn_at_once(method, folder, at_once):
    assert evaluate("--model", folder, "--prompts", 7, "--images-per-prompt", 1, "--batch-size", 3, *method) == 0
    assert at_once == [3, 3, 1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--batch-size", 0), "--batch-size must be at least 1, got 0"),
        (("--memory", -5), "--memory is a number of gigabytes, more than 0, got -5"),
    ],
)
def test_numbers_that_cannot_be_are_refused(flags, says, folder, capsys):
    assert evaluate("--model", folder, "--prompts", 1, *flags) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_an_evaluation_keeps_to_the_memory_that_it_is_given(folder, tmp_path, at_once, monkeypatch, capsys):
    fits, load = [], plaudit.shells.drawing.load_model

    def noted(options, device, fit):
        fits.append(fit)
        return load(options, device, fit)

    monkeypatch.setattr(plaudit.shells.drawing, "load_model", noted)
    place = ("--model", folder, "--prompts", 4, "--images-per-prompt", 1)
    assert evaluate(*place, "--out", tmp_path / "plain") == 0
    assert "will use at most" not in capsys.readouterr().err
    room = peak_of(Simulation(folder, [], "float32"), MemorySettings(checkpointing=False), 2, gradient=False)
    assert evaluate(*place, "--out", tmp_path / "small", "--memory", gigabytes(room)) == 0
    said = re.search(r"will use at most .*, (\d) images? at once in place of 16\)", capsys.readouterr().err)
    fitted = int(said[1])
    assert fits[0] is None
    assert fits[1].batch_size == fitted
    assert at_once[0] == 4
    assert max(at_once[1:]) == fitted < 4
    plain, small = (tmp_path / name / "images" for name in ("plain", "small"))
    for file in plain.iterdir():
        assert torch.allclose(read_image(file), read_image(small / file.name), atol=1.5 / 255)


def test_a_boards_rewards_are_part_of_the_plan(folder, tmp_path, monkeypatch, capsys):
    planned, simulation = [], Simulation.__init__

    def noted(self, model, rewards, *rest, **more):
        planned.append((model, list(rewards)))
        simulation(self, model, rewards, *rest, **more)

    monkeypatch.setattr(Simulation, "__init__", noted)
    (tmp_path / "mine.txt").write_text("a red star\n")
    line = ["evaluate", str(tmp_path / "mine.txt"), "--device", "cpu", "--model", folder, "--memory", "4"]
    rewards = ["--reward", "incompressibility:3", "--held-out", "compressibility"]
    assert main([*line, *rewards]) == 0
    assert planned == [(folder, ["compressibility", "incompressibility:3"])]
    assert f"{folder} in float32 will use at most" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--batch-size", 3), ("--memory", 4), ("--steps", 7)])
def test_an_evaluation_goes_on_whatever_changes_no_picture(flags, folder, tmp_path, capsys):
    place = ("--model", folder, "--images-per-prompt", 1, "--out", tmp_path, "--json")
    assert evaluate(*place, "--prompts", 2) == 0
    assert evaluate(*place, "--prompts", 4, *flags) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 4


def test_a_comparison_goes_on_at_another_batch_size(folder, tmp_path, capsys):
    line = ["compare", folder, f"{folder}:best-of-n:steps=2", "--reward", "incompressibility", "--device", "cpu"]
    line += ["--images-per-prompt", "1", "--out", str(tmp_path), "--json"]
    assert main([*line, "--prompts", "2"]) == 0
    assert main([*line, "--prompts", "4", "--batch-size", "3"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"]["prompts"] == 4


def test_a_few_prompts_of_a_suite_are_all_that_is_read(folder, tmp_path, encoded):
    place = ("--model", folder, "--images-per-prompt", 1, "--out", tmp_path)
    assert evaluate(*place, "--prompts", 2) == 0
    assert evaluate(*place, "--prompts", 3) == 0
    kept = {it["row"]: it["prompt"] for it in json.loads((tmp_path / "evaluation.json").read_text())["judged"]}
    first, middle, last = (kept[row] for row in sorted(kept))
    # The second sitting draws one in between, and has no need of the others.
    assert encoded == [[first, last], [middle]]


def test_a_comparison_reads_the_prompts_that_it_draws_once_for_each_system(folder, tmp_path, encoded):
    line = ["compare", folder, f"{folder}:best-of-n:steps=2", "--reward", "incompressibility", "--device", "cpu"]
    line += ["--images-per-prompt", "2", "--out", str(tmp_path)]
    assert main([*line, "--prompts", "2"]) == 0
    assert [len(prompts) for prompts in encoded] == [2, 2]
    encoded.clear()
    assert main([*line, "--prompts", "2"]) == 0
    assert encoded == []
    assert main([*line, "--prompts", "3"]) == 0
    assert [len(prompts) for prompts in encoded] == [1, 1]


def test_a_timed_comparison_reads_the_prompts_of_what_it_times(folder, tmp_path, encoded):
    line = ["compare", folder, f"{folder}:best-of-n", "--reward", "incompressibility", "--device", "cpu"]
    line += ["--images-per-prompt", "1", "--out", str(tmp_path), "--equal", "time", "--steps", "2"]
    assert main([*line, "--prompts", "5", "--batch-size", "2"]) == 0
    # What is measured is one batch, and its prompts were read before the clock ran; then all that is drawn.
    assert sorted({len(prompts) for prompts in encoded}) == [2, 5]
