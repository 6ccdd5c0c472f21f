import math

import pytest
import torch

from plaudit.methods.records import BestSoFar, Step
from plaudit.methods.reno import RenoConfig

CONFIG = RenoConfig(images_per_prompt=2)


def step(index, totals, *, rows=(0, 1), steps=4, eligible=None):
    """A step whose images and noises show which step and row they are of."""
    shade = torch.tensor([index / 10 + row / 100 for row in rows])
    total = torch.tensor(totals)
    return Step(
        index=index, steps=steps, rows=rows, images=shade.view(-1, 1, 1, 1).expand(-1, 3, 2, 2), total=total,
        parts={"half": total / 2}, held_out=None, noise=shade.view(-1, 1), norm=shade, deviation=shade,
        skipped=torch.zeros(len(rows), dtype=torch.long), seconds=float(index + 1),
        eligible=None if eligible is None else torch.tensor(eligible),
    )  # fmt: skip


def results(*steps):
    best = BestSoFar(["first", "second"], CONFIG)
    for one in steps:
        best.see(one)
    return best.results()


def test_each_image_keeps_its_own_best():
    one, other = results(step(0, [1.0, 5.0]), step(1, [3.0, 4.0]), step(2, [2.0, 6.0]))
    assert (one.best_step, other.best_step) == (1, 2)
    assert (one.total, other.total) == (3.0, 6.0)
    assert one.image[0, 0, 0] == pytest.approx(0.10)
    assert other.image[0, 0, 0] == pytest.approx(0.21)
    assert one.noise.item() == pytest.approx(0.10)
    assert one.parts == {"half": 1.5}
    assert one.trace == (1.0, 3.0, 2.0)
    assert other.parts_trace == {"half": (2.5, 2.0, 3.0)}


def test_the_start_takes_part_so_nothing_gets_worse():
    one, _ = results(step(0, [9.0, 0.0]), step(1, [3.0, 1.0]))
    assert one.best_step == 0
    assert one.total == one.first_total == 9.0
    assert torch.equal(one.image, one.first_image)


def test_of_equals_the_earlier_is_best():
    one, _ = results(step(0, [1.0, 0.0]), step(1, [2.0, 1.0]), step(2, [2.0, 1.0]))
    assert one.best_step == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_total_that_is_no_number_is_never_best(bad):
    one, other = results(step(0, [bad, 1.0]), step(1, [-5.0, bad]))
    assert (one.best_step, other.best_step) == (1, 0)
    _, never = results(step(0, [1.0, bad]))
    assert never.best_step == 0
    assert not math.isfinite(never.total)


def test_a_step_may_exclude_an_image_from_being_best():
    one, other = results(step(0, [1.0, 1.0]), step(1, [2.0, 2.0], eligible=[False, True]))
    assert (one.best_step, other.best_step) == (0, 1)


def test_images_that_stopped_keep_what_they_had():
    one, other = results(step(0, [1.0, 1.0]), step(1, [2.0, 0.5]), step(2, [3.0], rows=(1,)))
    assert one.trace == (1.0, 2.0)
    assert other.trace == (1.0, 0.5, 3.0)
    assert (one.best_step, other.best_step) == (1, 2)
    assert one.seconds == 1.0  # two seconds of a batch of two
    assert other.seconds == 1.5


def test_batches_follow_each_other_and_rows_name_prompt_and_image():
    best = BestSoFar(["first", "second"], CONFIG)
    for one in (
        step(0, [1.0, 2.0], rows=(2, 3)),
        step(1, [0.0, 3.0], rows=(2, 3)),
        step(0, [7.0], rows=(0,)),
    ):
        best.see(one)
    assert [(r.row, r.prompt, r.prompt_index, r.image_index) for r in best.results()] == [
        (0, "first", 0, 0), (2, "second", 1, 0), (3, "second", 1, 1),
    ]  # fmt: skip
    assert [r.total for r in best.results()] == [7.0, 1.0, 3.0]


def test_results_may_be_asked_for_in_the_middle():
    best = BestSoFar(["first"], CONFIG)
    assert best.results() == []
    best.see(step(0, [1.0, 1.0]))
    assert [r.total for r in best.results()] == [1.0, 1.0]
    best.see(step(1, [2.0, 0.0]))
    assert [r.total for r in best.results()] == [2.0, 1.0]


def test_what_is_kept_does_not_change_when_the_batch_s_tensors_do():
    first = step(0, [1.0, 1.0])
    images = first.images.clone()
    best = BestSoFar(["first"], CONFIG)
    best.see(Step(**{**vars(first), "images": images}))
    best.see(step(1, [0.0, 0.0]))
    images.zero_()
    assert torch.equal(best.results()[1].image, first.images[1])


def test_the_strip_shows_the_start_the_early_steps_and_the_end():
    steps = [step(i, [0.0, 0.0], steps=12) for i in range(12)]
    strip = results(*steps)[0].strip
    assert [index for index, _ in strip] == [0, 1, 2, 4, 8, 11]
    assert all(picture.dtype == torch.uint8 and picture.shape == (3, 2, 2) for _, picture in strip)
    assert strip[2][1][0, 0, 0] == round(0.2 * 255)
