"""Toy trainings that end as their rewards deserve: one that pays for colour ruins pictures, another mends them.

The verdict of each is found by the looks that the training took, and said in its report.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.toy_policy import ToyPolicy, Wishes
from pocket_toys import Closeness, picture_for
from torch import Tensor

from plaudit.generators.step_policy import draw_images
from plaudit.methods.rlcm import Rlcm, RlcmConfig
from plaudit.rewards.reward import Reward
from plaudit.runs.audit_sheet import audit_of, looks_table
from plaudit.runs.looks import FixedLook
from plaudit.runs.training import Keeping, train_in
from plaudit.runs.training_folder import TrainingFolder
from plaudit.runs.training_report import page, write_training_report

RINGS = (
    "a red ring", "a photo of a red ring", "a red ring on a white background", "an image of a red ring",
    "a picture of a red ring", "one red ring",
)  # fmt: skip
STRANGE = tuple(f"a violin number {number}" for number in range(6))
RED = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
CONFIG = RlcmConfig(updates=30, prompts_per_update=6, images_per_prompt=4, lr=0.1, comparison="batch")


class Painter:
    """A toy policy whose latents decide how much of a red ring is drowned in flat red."""

    noise_shape, num_steps, device = (4,), 3, torch.device("cpu")

    def __init__(self, start: float) -> None:
        self.toy, self.start = ToyPolicy(), start
        self.denoiser = self.toy.denoiser

    def encode(self, prompts: Sequence[str]) -> Wishes:
        return self.toy.encode(prompts)

    def step(self, latents: Tensor, index: Tensor, condition: Any) -> Any:
        return self.toy.step(latents, index, condition)

    def decode(self, latents: Tensor) -> Tensor:
        share = (3 * latents.mean(dim=1) + self.start).sigmoid().view(-1, 1, 1, 1)
        return (1 - share) * picture_for("a red ring") + share * RED


class Colour:
    """Pays for saturated colours, whatever they are of."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))


class Likeness:
    """How near the pictures are to a red ring, whatever the prompt."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return Closeness()(images, ["a red ring"] * len(images))


def trained(
    path: Path, reward: Reward, *, start: float, prompts: Sequence[str] = RINGS, held_out: Reward | None = None
) -> TrainingFolder:
    """A training of the painter, looked at every ten updates."""
    made = TrainingFolder.create(
        path, name="toy", command="plaudit train", settings={"preset": "toy", "model": "painter"}, sources={}
    )
    policy = Painter(start)
    trainer = Rlcm(policy, reward, prompts, CONFIG)
    texts = [prompt for prompt in prompts for _ in range(4)]
    keys: list[tuple[int | str, ...]] = [(0, "look", number) for number in range(len(texts))]
    look = FixedLook(
        folder=path, draw=lambda: draw_images(policy, policy.encode(texts), keys, 24), prompts=prompts,
        scores={"reward": reward, **({"held_out": held_out} if held_out else {})},
    )  # fmt: skip
    list(train_in(path, trainer, Keeping(save_every=10), look=look))
    return made


@pytest.fixture(scope="module")
def hacked(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("hacked") / "run", Colour(), start=-3.0)


@pytest.fixture(scope="module")
def improved(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("improved") / "run", Likeness(), start=1.0)


def test_a_training_that_pays_for_colour_is_called_hacked(hacked):
    found = audit_of(hacked)
    assert found.word == "hacked"
    assert "the share that the exact judge calls right fell" in found.because
    assert any("The strength of colours rose" in remark for remark in found.remarks)
    assert found.done == 30


def test_a_training_that_mends_pictures_is_called_improved(improved):
    found = audit_of(improved)
    assert found.word == "improved"
    assert "the share that the exact judge calls right rose" in found.because


def test_a_held_out_reward_finds_it_too_where_the_judge_knows_nothing(tmp_path):
    made = trained(tmp_path / "run", Colour(), start=-3.0, prompts=STRANGE, held_out=Likeness())
    found = audit_of(made)
    assert found.word == "hacked"
    assert "the held-out reward fell" in found.because
    assert "accuracy" not in found.changes
    assert not any("accuracy" in row for row in looks_table(made))


def test_with_nothing_held_out_it_cannot_tell(tmp_path):
    found = audit_of(trained(tmp_path / "run", Colour(), start=-3.0, prompts=STRANGE))
    assert found.word == "cannot tell"
    assert "nothing held out" in found.because


def test_the_verdict_is_on_the_weights_that_were_left(hacked):
    manifest = {**hacked.manifest, "weights_of": 0}
    assert audit_of(TrainingFolder(hacked.path, manifest)).word == "cannot tell"
    assert audit_of(TrainingFolder(hacked.path, manifest | {"weights_of": 10})).done == 10


def test_looks_that_the_log_does_not_know_are_not_judged(improved):
    log = (improved.path / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in log if json.loads(line)["update"] <= 20]
    before = (improved.path / "metrics.jsonl").read_bytes()
    (improved.path / "metrics.jsonl").write_text("\n".join(kept) + "\n")
    found = audit_of(improved), audit_of(TrainingFolder(improved.path, {**improved.manifest, "weights_of": 30}))
    (improved.path / "metrics.jsonl").write_bytes(before)
    assert [it.done for it in found] == [20, 20]


def test_lessons_follow_no_reward(hacked):
    """Its one reward rose, and is a witness now; but the judge is asked first."""
    found = audit_of(TrainingFolder(hacked.path, {**hacked.manifest, "method": "plans"}))
    assert found.word == "worse"
    assert any("The watched reward says the opposite" in remark for remark in found.remarks)


def test_the_report_has_verdict_rule_and_every_look(hacked):
    text = page(hacked)
    assert '<p class="ruling hacked"><strong>hacked</strong>' in text
    assert "The rule behind the verdict" in text
    assert text.index("Audit sheet") < text.index("share of pictures that the exact judge calls right")
    film = text.split('<div class="film">')[1].split("</div>")[0]
    assert film.count("<img") == 4
    assert [part.split("<")[0] for part in film.split("<figcaption>")[1:]] == ["0", "10", "20", "30"]
    assert text.count('class="slider"') == 1
    assert "<li>one red ring</li>" in text
    assert "update 0" in text


def test_the_reports_tables_lie_beside_it(improved):
    write_training_report(improved)
    rows = json.loads((improved.path / "audit.json").read_text())
    accuracy = next(row for row in rows if row["measure"] == "accuracy")
    assert accuracy["says"] == "rose"
    assert accuracy["change"] == pytest.approx(accuracy["after"] - accuracy["before"])
    with (improved.path / "looks.csv").open(newline="") as file:
        looks = list(csv.DictReader(file))
    assert [look["update"] for look in looks] == ["0", "10", "20", "30"]
    assert float(looks[-1]["accuracy"]) == pytest.approx(accuracy["after"])


def test_a_training_of_before_pictures_were_kept_apart_has_a_report_too(improved, tmp_path):
    (tmp_path / "samples").mkdir()
    for file in (improved.path / "samples").glob("*.png"):
        (tmp_path / "samples" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "samples" / "000020.json").write_text('[{"prompt": "a star", "said": ["a red star", "x"]}]')
    (tmp_path / "metrics.jsonl").write_bytes((improved.path / "metrics.jsonl").read_bytes())
    text = page(TrainingFolder(tmp_path, improved.manifest))
    assert "<strong>cannot tell</strong>" in text
    assert "<dd>a red star</dd>" in text


def test_a_training_that_was_never_looked_at_has_a_report_too(tmp_path):
    made = TrainingFolder.create(tmp_path / "run", name="toy", command="x", settings={}, sources={})
    assert "No look was taken." in page(made)
    assert write_training_report(made).is_file()
