import json
from dataclasses import replace

import pytest
from conftest import save_stable_diffusion

from plaudit.generators.memory_plan import plan_memory
from plaudit.generators.memory_settings import MemorySettings
from plaudit.shells import planning
from plaudit.shells.cli import main
from plaudit.shells.planning import as_json, as_text, in_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder without its weights."""
    folder = save_stable_diffusion(tmp_path_factory.mktemp("model"))
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return str(folder)


@pytest.fixture(scope="module")
def plan(folder):
    return plan_memory(folder, batch_size=2, gigabytes=[8, 24])


def test_doctor_plans_a_model_whose_weights_are_not_here(folder, capsys):
    assert main(["doctor", "--plan", folder, "--memory", "12", "--batch-size", "2", "--dtype", "float32"]) == 0
    out, err = capsys.readouterr()
    assert "16 x 16 pixels in 1 step, float32" in out
    assert "UNet2DConditionModel" in out
    assert "2 images at once" in out
    assert "   12 GB  64 images at once, float32, no checkpointing" in out
    assert err == ""


def test_the_json_holds_the_plan_and_nothing_else(folder, plan, capsys):
    assert main(["doctor", "--plan", folder, "--batch-size", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [card["gigabytes"] for card in answer["cards"]] == [8, 16, 24, 48, 80]
    assert answer["peak_optimise"] == plan.peak_optimise
    assert answer["kept"][0]["total"] == plan.kept[0].total
    assert json.loads(as_json(plan))["parts"][1]["parameters"] == plan.parts[1].parameters


def test_a_card_that_holds_nothing_fails_and_says_so(folder, capsys):
    assert main(["doctor", "--plan", folder, "--memory", "1"]) == 1
    assert "nothing that is known here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["--memory", "8"], 2, "name its model: --plan MODEL"),
        (["--plan", "sd-trubo"], 1, "Did you mean 'sd-turbo'?"),
        (["--plan", "sd-turbo", "--memory", "0"], 1, "more than 0, got 0"),
        (["--plan", "sd-turbo", "--batch-size", "0"], 1, "batch_size must be at least 1"),
        (["--plan", "sd-turbo", "--dtype", "int8"], 2, "one of bfloat16, float16, float32"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_sentence(line, code, says, capsys):
    assert main(["doctor", *line]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


def test_every_number_of_the_plan_is_on_the_page(plan):
    page = as_text(plan)
    for part in plan.parts:
        assert f"{part.parameters / 1e6:.1f} M" in page
    assert planning.in_gigabytes(plan.peak_optimise) in page
    assert all(f"{card.gigabytes:g} GB  {card.batch_size} images at once" in page for card in plan.cards)
    nothing = replace(plan.cards[0], settings=None, batch_size=0)
    assert "nothing that is known here" in as_text(replace(plan, cards=(nothing,)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (MemorySettings(), "checkpointing"),
        (MemorySettings(checkpointing=False, offload="text"), "no checkpointing, text encoders on the CPU"),
        (
            MemorySettings(slicing=True, tiling=512, offload="blocks"),
            "images decoded one by one, in tiles of 512 pixels, blocks of all networks on the CPU",
        ),
    ],
)
def test_settings_are_said_in_words(settings, words):
    assert in_words(settings) == words
