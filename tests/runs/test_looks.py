import json
from pathlib import Path

import pytest
import torch
from pocket_toys import picture_for

from plaudit.core.picture_files import read_image
from plaudit.rewards.mix import WeightedSum
from plaudit.runs.looks import FixedLook, read_looks, sheet, spread_over, unsheet


class Brightness:
    differentiable = False

    def __call__(self, images, prompts):
        assert prompts == ["dark", "dark", "light", "light"]
        return images.mean(dim=(1, 2, 3))


class Redness:
    differentiable = False

    def __call__(self, images, prompts):
        return images[:, 0].mean(dim=(1, 2)) * 2


def grey(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)


def test_a_look_scores_and_keeps_what_it_sees(tmp_path: Path) -> None:
    images = grey(0.0, 0.2, 1.0, 0.6)
    look = FixedLook(folder=tmp_path, draw=lambda: images, prompts=["dark", "light"], scores={"held_out": Brightness()})
    found = look(12)
    assert found == {
        "held_out": pytest.approx(0.45), "diversity": pytest.approx(0.3, abs=1e-5), "colour": 0.0, "saturation": 0.5,
    }  # fmt: skip
    kept = read_image(tmp_path / "samples" / "000012.png")
    assert kept.shape == (3, 16, 16)
    assert kept[0, 0, 8].item() == pytest.approx(0.2, abs=1e-2)
    assert kept[0, 8, 0].item() == pytest.approx(1.0)


def test_every_pictures_own_numbers_lie_beside_it(tmp_path: Path) -> None:
    images = grey(0.0, 0.2, 1.0, 0.6)
    FixedLook(folder=tmp_path, draw=lambda: images, prompts=["dark", "light"], scores={"held_out": Brightness()})(0)
    (look,) = read_looks(tmp_path)
    assert look.done == 0
    assert look.rows[0]["held_out"] == pytest.approx([0.0, 0.2])
    assert look.rows[1]["held_out"] == pytest.approx([1.0, 0.6])
    assert look.rows[1]["diversity"] == pytest.approx([0.4], abs=1e-5)
    assert look.rows[1]["drift"] == [0.0, 0.0]
    assert json.loads((tmp_path / "samples" / "000000.json").read_text())[1]["prompt"] == "light"


def test_drift_is_from_the_first_look_and_colour_of_the_pictures(tmp_path: Path) -> None:
    shown = grey(0.0, 0.2, 1.0, 0.6)
    look = FixedLook(folder=tmp_path, draw=lambda: shown, prompts=["dark", "light"], scores={})
    assert look(0) == {"diversity": pytest.approx(0.3, abs=1e-5), "colour": 0.0, "saturation": 0.5, "drift": 0.0}
    shown = shown.clone()
    shown[3] = torch.tensor([1.0, 0.5, 0.2]).view(3, 1, 1)
    found = look(1)
    assert found["colour"] == pytest.approx(0.8 / 4, abs=1e-6)
    assert found["saturation"] == pytest.approx((1 + 1 + 1 / 3) / 4)
    away = ((0.4**2 + 0.1**2 + 0.4**2) / 3) ** 0.5
    assert found["drift"] == pytest.approx(away / 4, abs=2e-3)
    assert read_looks(tmp_path)[1].rows[1]["drift"] == [0.0, pytest.approx(away, abs=6e-3)]


def test_the_judge_is_asked_about_the_prompts_it_understands_alone(tmp_path: Path) -> None:
    right = picture_for("a red ring")
    images = torch.stack([right, 1 - right, right, right])
    prompts = ["a red ring", "a violin at dawn"]
    found = FixedLook(folder=tmp_path, draw=lambda: images, prompts=prompts, scores={})(0)
    assert found["accuracy"] == 0.5
    (look,) = read_looks(tmp_path)
    assert look.rows[0]["accuracy"] == [1.0, 0.0]
    assert "accuracy" not in look.rows[1]
    unknown = FixedLook(folder=tmp_path, draw=lambda: images, prompts=["a violin", "a dog"], scores={})(1)
    assert "accuracy" not in unknown


def test_a_sum_of_rewards_tells_its_parts(tmp_path: Path) -> None:
    both = WeightedSum({"bright": (1.0, Brightness()), "red": (3.0, Redness())})
    images = grey(0.0, 0.2, 1.0, 0.6)
    look = FixedLook(folder=tmp_path, draw=lambda: images, prompts=["dark", "light"], scores={"reward": both})
    found = look(0)
    assert found["reward"] == pytest.approx(0.45 + 3 * 0.9)
    assert (found["reward_bright"], found["reward_red"]) == (pytest.approx(0.45), pytest.approx(0.9))
    alone = FixedLook(folder=tmp_path, draw=lambda: images, prompts=["dark", "light"], batch_size=4,
                      scores={"reward": WeightedSum({"bright": (1.0, Brightness())})})(0)  # fmt: skip
    assert "reward_bright" not in alone


def test_a_score_that_is_no_number_is_kept_as_none(tmp_path: Path) -> None:
    class Lost:
        differentiable = False

        def __call__(self, images, prompts):
            return torch.tensor([1.0, float("nan")])

    FixedLook(folder=tmp_path, draw=lambda: grey(0.0, 1.0), prompts=["a"], scores={"held_out": Lost()})(0)
    assert read_looks(tmp_path)[0].rows[0]["held_out"] == [1.0, None]


def test_what_older_versions_left_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "000000.json").write_text('[{"prompt": "a", "said": ["x"]}]')
    (tmp_path / "samples" / "000001.json").write_text("half of a fi")
    assert read_looks(tmp_path) == []


def test_a_single_image_each_has_no_diversity(tmp_path: Path) -> None:
    look = FixedLook(folder=tmp_path, draw=lambda: torch.rand(2, 3, 8, 8), prompts=["a", "b"], scores={})
    assert set(look(0)) == {"colour", "saturation", "drift"}


def test_a_sheet_is_cut_into_what_it_was_made_of() -> None:
    images = torch.rand(6, 3, 4, 5)
    assert torch.equal(unsheet(sheet(images, 2), 3, 2), images)


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
