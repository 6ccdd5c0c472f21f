import pytest
import torch

from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess, fit_square


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 24), (24, 41), (9, 30)])
def test_any_image_becomes_the_square_the_tower_reads(height, width):
    assert fit_square(torch.rand(2, 3, height, width), 16).shape == (2, 3, 16, 16)


def test_an_image_of_the_right_size_is_left_alone():
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(fit_square(images, 16), images)


def test_the_centre_is_what_remains():
    images = torch.zeros(1, 3, 16, 48)
    images[..., 16:32] = 1
    assert torch.equal(fit_square(images, 16), torch.ones(1, 3, 16, 16))


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::4] = 1
    inside = fit_square(stripes, 16)[..., 2:-2]  # at the border the kernel sees half a stripe
    torch.testing.assert_close(inside, torch.full_like(inside, 0.25))


def test_normalising_by_hand():
    white = Preprocess(size=4)(torch.ones(1, 3, 4, 4))
    expected = [(1 - m) / s for m, s in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor(expected))


def test_gradients_reach_every_pixel_of_the_crop():
    images = torch.rand(1, 3, 40, 40, requires_grad=True)
    Preprocess(size=16)(images).sum().backward()
    assert bool((images.grad != 0).all())
