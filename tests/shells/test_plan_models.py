"""Models that write plans, wherever the command line takes a model."""

import json
import sys
from pathlib import Path

import pytest
import torch

from plaudit.core.picture_files import read_image
from plaudit.core.random_streams import noise_for
from plaudit.generators.table import load_generator
from plaudit.shells.cli import main

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import save_janus_folder

PROMPTS = ("a red circle", "two blue star")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_janus_folder(tmp_path_factory.mktemp("janus") / "tiny"))


@pytest.fixture
def drawn(model, tmp_path, capsys):
    def run(name, *more):
        line = ["generate", *PROMPTS, "--model", model, "--reward", "compressibility", "--device", "cpu", "--json"]
        code = main([*line, "--out", str(tmp_path / name), *more])
        said = capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else None, said.err

    return run


def pictures(made):
    return torch.stack([read_image(Path(image["file"])) for image in made["images"]])


@pytest.mark.parametrize("method", ["none", "best-of-n"])
def test_it_draws_as_any_model_does(drawn, method):
    code, made, _ = drawn("run", "--method", method, "--steps", "4", "--guidance", "2", "--seed", "3")
    assert code == 0
    assert pictures(made).shape == (2, 3, 6, 6)
    assert made["settings"]["guidance"] == 2.0
    other = drawn("other", "--method", method, "--steps", "4", "--guidance", "0", "--seed", "3")[1]
    assert not torch.equal(pictures(made), pictures(other))


def test_reno_is_refused_as_of_all_that_pick_tokens(drawn):
    code, _, said = drawn("run", "--method", "reno", "--steps", "2")
    assert code == 1
    assert "draws token by token; take --method best-of-n or evolve" in said


def test_the_noise_of_a_picture_is_enough_to_read_its_plan(model):
    generator = load_generator(model)
    condition = generator.encode(PROMPTS)
    noise = noise_for([(0, 0), (0, 1)], generator.noise_shape)
    assert generator.plans(noise, condition) == list(generator.draw(noise, condition).plans)
