import io

import pytest
import torch
from PIL import Image

from plaudit.rewards.check import check_reward
from plaudit.rewards.jpeg import JpegSize
from plaudit.rewards.table import load_reward


def pictures() -> torch.Tensor:
    flat = torch.full((3, 64, 64), 0.5)
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    return torch.stack([flat, noise])


def test_it_is_the_size_of_the_file_in_kilobytes(tmp_path) -> None:
    sizes = JpegSize()(pictures(), ["", ""])
    for image, size in zip(pictures(), sizes.tolist(), strict=True):
        file = tmp_path / "image.jpg"
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(file, quality=95)
        assert size == pytest.approx(file.stat().st_size / 1000)
    assert sizes[1] > 5 * sizes[0]


def test_the_two_rows_are_each_others_opposite() -> None:
    large, small = (load_reward(name)(pictures(), ["", ""]) for name in ("incompressibility", "compressibility"))
    assert torch.equal(large, -small)


def test_pixels_are_rounded_and_kept_in_range() -> None:
    image = torch.full((1, 3, 8, 8), 2.0)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 255, 255)).save(buffer, "JPEG", quality=95)
    assert JpegSize()(image, [""]).item() == pytest.approx(buffer.tell() / 1000)


@pytest.mark.parametrize("name", ["incompressibility", "compressibility"])
def test_it_keeps_the_contract(name: str) -> None:
    check_reward(load_reward(name))
