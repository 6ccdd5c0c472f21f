"""The judge's accuracy: at least 99.5 % on clean renders, 97 % after mild blur, noise and JPEG."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plaudit.pocket.build.pictures import _blurred
from plaudit.pocket.judge import judge, read
from plaudit.pocket.prompts import describe
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, draw_scene
from plaudit.pocket.truth import failures

COUNT = 400


def scenes() -> list[Scene]:
    rng = np.random.default_rng(11)
    return [draw_scene(rng, held_out=index % 7 == 0, kind="pair" if index % 7 == 0 else None) for index in range(COUNT)]


def contents(scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    return scene.background, sorted((t.shape, t.colour) for t in scene.things)


def share_read(images: Tensor, truth: list[Scene]) -> float:
    return float(np.mean([contents(a) == contents(b) for a, b in zip(read(images), truth, strict=True)]))


def noisy(images: Tensor) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return (images + 0.05 * torch.randn(images.shape, generator=rng)).clamp(0, 1)


def through_jpeg(images: Tensor) -> Tensor:
    decoded = []
    for image in images:
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=85)
        decoded.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
    return torch.stack(decoded)


def test_clean_renders_are_read_right() -> None:
    truth = scenes()
    assert share_read(render(truth), truth) >= 0.995


@pytest.mark.parametrize("spoil", [_blurred, noisy, through_jpeg])
def test_mildly_spoilt_renders_are_read_right(spoil: Callable[[Tensor], Tensor]) -> None:
    truth = scenes()
    assert share_read(spoil(render(truth)), truth) >= 0.97


def test_verdicts_follow_the_truth_both_ways() -> None:
    rng = np.random.default_rng(3)
    truth = [draw_scene(rng) for _ in range(200)]
    requests = [describe(scene, rng)[1] for scene in truth]
    shuffled = requests[1:] + requests[:1]
    images = render(truth)
    assert np.mean([v.right for v in judge(images, requests)]) >= 0.995
    expected = [not failures(s, r) for s, r in zip(truth, shuffled, strict=True)]
    assert np.mean([v.right == e for v, e in zip(judge(images, shuffled), expected, strict=True)]) >= 0.995


def test_positions_and_sizes_are_read_to_the_pixel() -> None:
    truth = scenes()
    for scene, seen in zip(truth, read(render(truth)), strict=True):
        if contents(scene) == contents(seen):
            for thing in seen.things:
                same = [t for t in scene.things if (t.shape, t.colour) == (thing.shape, thing.colour)]
                assert min(abs(t.x - thing.x) + abs(t.y - thing.y) for t in same) < 1.5


@pytest.mark.parametrize(
    "image", [torch.zeros(3, 64, 64), torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))]
)
def test_nothing_is_seen_in_nothing(image: Tensor) -> None:
    assert read(image[None])[0].things == ()


def test_a_larger_picture_of_the_scene_is_read_the_same() -> None:
    truth = scenes()[:40]
    large = torch.nn.functional.interpolate(render(truth), scale_factor=4, mode="bicubic").clamp(0, 1)
    assert share_read(large, truth) >= 0.97


def test_half_a_shape_is_unclear() -> None:
    image = render([draw_scene(np.random.default_rng(1), kind="one")])
    thing = read(image)[0].things[0]
    half = image.clone()
    half[:, :, :, int(thing.x) :] = image[:, :, :1, :1]
    assert read(half)[0].things[0].shape != thing.shape
