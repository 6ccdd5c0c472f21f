"""Pictures of every kind are read as people see them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image

TURNED = 0x0112
"""the EXIF tag of how a camera was held"""
RAMP = np.linspace(0, 1, 256).reshape(16, 16)


@pytest.fixture
def saved(tmp_path):
    def save(picture, name="a.png", **options):
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def as_bytes(image):
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def test_eight_bits_of_red_green_and_blue_are_read_bit_for_bit(saved):
    pixels = torch.randint(256, (9, 7, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    found = read_image(saved(Image.fromarray(pixels)))
    assert found.dtype == torch.float32
    assert np.array_equal(found.permute(1, 2, 0).numpy(), pixels.astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((RAMP * 65535).astype(np.uint16), "a.png"),
        ((RAMP * 65535).astype(np.uint16), "a.tif"),
        ((RAMP * 65535).astype(">u2"), "a.tif"),
        ((RAMP * 65535).astype(np.int32), "a.tif"),
        ((RAMP * 255).astype(np.int32), "a.tif"),
        (RAMP.astype(np.float32), "a.tif"),
        ((RAMP * 255).astype(np.float32), "a.tif"),
        ((RAMP * 65535).astype(np.float32), "a.tif"),
    ],
)
def test_a_ramp_of_more_than_eight_bits_goes_from_black_to_white(values, name, saved):
    picture = Image.fromarray(values)
    assert picture.mode in ("I;16", "I;16B", "I", "F")
    found = read_image(saved(picture, name))
    assert torch.allclose(found, torch.from_numpy(RAMP).float().expand(3, -1, -1), atol=1 / 255)
    assert torch.equal(found, (found * 255).round() / 255)


def test_sixteen_bits_keep_their_brightness_even_where_all_is_dark(saved):
    found = read_image(saved(Image.fromarray(np.full((4, 4), 200, dtype=np.uint16))))
    assert torch.equal(found, torch.full((3, 4, 4), 1 / 255))


@pytest.mark.parametrize("value", [-1.0, 65536.0, float("nan"), float("inf")])
def test_numbers_that_no_brightness_can_be_read_from_are_refused(value, saved):
    file = saved(Image.fromarray(np.array([[0.5, value]], dtype=np.float32)), "a.tif")
    with pytest.raises(BadConfig, match=r"a\.tif' holds numbers .* save it with 8 bits"):
        read_image(file)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_noted(orientation, saved):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    back = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[TURNED] = orientation
    file = saved(Image.fromarray(np.ascontiguousarray(back[orientation])).convert("RGB"), exif=exif)
    assert np.array_equal(as_bytes(read_image(file))[..., 0], upright)


def test_a_note_of_the_camera_that_is_damaged_turns_nothing(saved):
    file = saved(Image.new("RGB", (3, 2), "red"), exif=b"Exif\x00\x00no such thing")
    assert read_image(file).shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("mode", "clear", "half", "solid"),
    [
        ("RGBA", (255, 0, 0, 0), (0, 0, 0, 128), (10, 20, 30, 255)),
        ("LA", (0, 0), (0, 128), (20, 255)),
    ],
)
def test_what_shows_through_lies_over_white(mode, clear, half, solid, saved):
    picture = Image.new(mode, (3, 1))
    for place, colour in enumerate((clear, half, solid)):
        picture.putpixel((place, 0), colour)
    found = as_bytes(read_image(saved(picture)))
    assert found[0, :2].tolist() == [[255] * 3, [127] * 3]
    assert found[0, 2].tolist() == list(solid[:3] if mode == "RGBA" else solid[:1] * 3)


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_clear_colour_of_a_palette_is_white(name, saved):
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([200, 0, 0, 0, 0, 200])
    picture.putpixel((1, 0), 1)
    assert as_bytes(read_image(saved(picture, name, transparency=0))).tolist() == [[[255] * 3, [0, 0, 200]]]


@pytest.mark.parametrize(("mode", "clear"), [("RGB", (200, 0, 0)), ("L", 7)])
def test_a_clear_colour_without_a_palette_is_white(mode, clear, saved):
    file = saved(Image.new(mode, (2, 2), clear), transparency=clear)
    assert torch.equal(read_image(file), torch.ones(3, 2, 2))


@pytest.mark.parametrize(("mode", "name"), [("L", "a.png"), ("1", "a.png"), ("P", "a.png"), ("CMYK", "a.jpg")])
def test_other_kinds_are_what_pillow_makes_of_them(mode, name, saved):
    file = saved(Image.linear_gradient("L").convert("RGB").convert(mode), name)
    with Image.open(file) as picture:
        assert picture.mode == mode
        assert np.array_equal(as_bytes(read_image(file)), np.asarray(picture.convert("RGB")))


def test_no_picture_is_one_sentence(tmp_path):
    whole = io.BytesIO()
    Image.new("RGB", (64, 64)).save(whole, "PNG")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:-30])
    for name, says in (
        ("none.png", "there is no file"),
        ("text.png", "is not an image"),
        ("cut.png", "cut short"),
        (".", "is a directory"),
    ):
        with pytest.raises(BadConfig, match=says):
            read_image(tmp_path / name)
