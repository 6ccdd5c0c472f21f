from pathlib import Path

import pytest
import torch

from plaudit.runs.looks import FixedLook, sheet, spread_over
from plaudit.runs.provenance import read_image


class Brightness:
    differentiable = False

    def __call__(self, images, prompts):
        assert prompts == ["dark", "dark", "light", "light"]
        return images.mean(dim=(1, 2, 3))


def test_a_look_scores_and_keeps_what_it_sees(tmp_path: Path) -> None:
    images = torch.tensor([0.0, 0.2, 1.0, 0.6]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    look = FixedLook(folder=tmp_path, draw=lambda: images, prompts=["dark", "light"], scores={"held_out": Brightness()})
    found = look(12)
    assert found == {"held_out": pytest.approx(0.45), "diversity": pytest.approx(0.3, abs=1e-5)}
    kept = read_image(tmp_path / "samples" / "000012.png")
    assert kept.shape == (3, 16, 16)
    assert kept[0, 0, 8].item() == pytest.approx(0.2, abs=1e-2)
    assert kept[0, 8, 0].item() == pytest.approx(1.0)


def test_a_single_image_each_has_no_diversity(tmp_path: Path) -> None:
    look = FixedLook(folder=tmp_path, draw=lambda: torch.rand(2, 3, 8, 8), prompts=["a", "b"], scores={})
    assert look(0) == {}


def test_a_sheet_has_a_row_for_each_prompt() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 3, 2, 2) / 6
    made = sheet(images, 3)
    assert made.shape == (3, 4, 6)
    assert torch.equal(made[:, 2:, 4:], images[5])


def test_prompts_are_spread_over_the_whole_list() -> None:
    prompts = tuple("abcdefghij")
    assert spread_over(prompts, 3) == ("a", "d", "g")
    assert spread_over(prompts, 10) == prompts
    assert spread_over(prompts, 40) == prompts
    assert spread_over(prompts, 6) == tuple("abcdef")
