import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess, fit_square, pad_square

SHAPES = [(512, 512), (1024, 1024), (640, 1024), (301, 450), (450, 301), (225, 500), (100, 150), (64, 64)]


def picture(height, width):
    """Bytes (H, W, 3): soft colours, hard edges, fine stripes and grain, as pictures have them."""
    rng = torch.Generator().manual_seed(height * 7 + width)
    soft = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=rng), (height, width), mode="bicubic")[0]
    down, right = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((down - 0.4) ** 2 + (right - 0.6) ** 2 < 0.05).float()
    stripes = (torch.arange(width) % 5 < 2).float() * (down > 0.8)
    grain = 0.05 * torch.randn(3, height, width, generator=rng)
    image = (0.7 * soft + 0.4 * disc * torch.tensor([1.0, 0.2, 0.1]).view(3, 1, 1) + 0.3 * stripes + grain).clamp(0, 1)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def as_tensor(pixels):
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def by_pillow(pixels, height, width):
    """Resized over bytes, as torchvision and transformers do with picture files."""
    return as_tensor(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def mean_distance(ours, theirs):
    """In bytes."""
    return (ours - theirs).abs().mean().item() * 255


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


@pytest.mark.parametrize("shape", SHAPES)
def test_the_crop_is_less_than_half_a_byte_from_torchvision_s_over_bytes(shape):
    height, width = shape
    pixels = picture(height, width)
    short, long = min(shape), int(224 * max(shape) / min(shape))
    size = (224, long) if height == short else (long, 224)
    if height == width:
        size = (224, 224)
    whole = by_pillow(pixels, *size)
    top, left = (int(round((n - 224) / 2.0)) for n in size)  # noqa: RUF046
    theirs = whole[..., top : top + 224, left : left + 224]
    assert 0 < mean_distance(fit_square(as_tensor(pixels), 224), theirs) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_crop_of_clip_is_less_than_half_a_byte_from_the_published_processor_s(shape):
    pixels = picture(*shape)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )
    theirs = torch.as_tensor(np.array(processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"]))
    ours = Preprocess(size=224, fit="crop-down")(as_tensor(pixels))
    spread = torch.tensor(CLIP_STD).view(3, 1, 1)
    assert 0 < mean_distance(ours * spread, theirs * spread) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_padded_image_is_less_than_half_a_byte_from_hps_s_over_bytes(shape):
    pixels = picture(*shape)
    scale = 224 / max(shape)
    height, width = (round(n * scale) for n in shape)
    theirs = torch.zeros(1, 3, 224, 224)
    top, left = (224 - height) // 2, (224 - width) // 2
    theirs[..., top : top + height, left : left + width] = by_pillow(pixels, height, width)
    assert 0 < mean_distance(pad_square(as_tensor(pixels), 224), theirs) < 0.5


def test_without_antialiasing_it_would_be_bytes_away():
    """What the tests above would notice, and what other people's resizing did for years."""
    pixels = picture(640, 1024)
    naive = torch.nn.functional.interpolate(as_tensor(pixels), (224, 358), mode="bicubic")
    assert mean_distance(naive, by_pillow(pixels, 224, 358)) > 4


def test_half_a_pixel_goes_to_the_even_side_or_down():
    images = torch.arange(19.0).expand(1, 3, 16, 19)  # a margin of three
    assert fit_square(images, 16)[0, 0, 0, 0] == 2
    assert fit_square(images, 16, fit="crop-down")[0, 0, 0, 0] == 1
    assert fit_square(images[..., :17], 16)[0, 0, 0, 0] == 0


def test_no_pixel_is_lost_by_counting_in_fractions():
    """224 / 37 * 74 is 447.99999999999994; of 447 columns, no 224 are in the middle."""
    images = torch.rand(1, 3, 37, 37)
    kept = fit_square(torch.cat([images, images.flip(-1)], dim=-1), 224)
    torch.testing.assert_close(kept, kept.flip(-1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 24), (24, 41), (16, 9), (3, 300)])
def test_padding_keeps_the_whole_image_in_the_middle(height, width):
    square = pad_square(torch.ones(1, 3, height, width), 16)
    assert square.shape == (1, 3, 16, 16)
    rows, columns = max(1, round(16 * height / max(height, width))), max(1, round(16 * width / max(height, width)))
    top, left = (16 - rows) // 2, (16 - columns) // 2
    expected = torch.zeros(1, 3, 16, 16)
    expected[..., top : top + rows, left : left + columns] = 1
    torch.testing.assert_close(square, expected)


def test_the_rest_is_black_before_it_is_normalised():
    pixels = Preprocess(size=8, fit="pad")(torch.ones(1, 3, 4, 8))
    black = [(0 - m) / s for m, s in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    torch.testing.assert_close(pixels[0, :, 0, 0], torch.tensor(black))


def test_gradients_reach_every_pixel_of_a_padded_image():
    images = torch.rand(1, 3, 30, 50, requires_grad=True)
    Preprocess(size=16, fit="pad")(images).sum().backward()
    assert bool((images.grad != 0).all())
