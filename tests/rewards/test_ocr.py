import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from plaudit.core.errors import MissingExtra
from plaudit.rewards.check import check_reward
from plaudit.rewards.ocr import OcrMatch, edit_distance, match, plain, reading_order, wanted_texts
from plaudit.rewards.table import load_reward


class Lines:
    """A reader that sees in every picture what it is told."""

    def __init__(self, *lines):
        self.lines = lines

    def __call__(self, pixels):
        return list(self.lines)


def drawn(*pieces, size=(300, 300)):
    """A picture (3, H, W) of pieces of text, each with its place."""
    picture = Image.new("RGB", size, "white")
    for place, text in pieces:
        ImageDraw.Draw(picture).text(place, text, fill="black", font=ImageFont.load_default(40))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(size[1], size[0], 3)
    return pixels.permute(2, 0, 1).float() / 255


def score(prompt, *lines):
    return float(OcrMatch(Lines(*lines))(torch.zeros(1, 3, 8, 8), [prompt]))


@pytest.mark.parametrize(
    ("prompt", "lines", "expected"),
    [
        ('a sign that says "Hello World"', ("Hello World",), 1.0),
        ('a sign that says "Hello World"', ("hello", "WORLD"), 1.0),
        ('a sign that says "Hello World"', ("say HELLOWORLD!",), 1.0),
        ('a sign that says "open"', ("opem",), 0.75),
        ('a sign that says "open"', ("pen",), 0.75),
        ('a sign that says "open"', ("closed for ever",), 0.0),
        ('a sign that says "open"', (), 0.0),
        ('"open" on one door, "shut" on the other', ("open", "shot"), 0.5),
        ("a sign that says “open”", ("open",), 1.0),
        ('it says "ﬁ１"', ("fi1",), 1.0),
        ("a sign that says open", ("open",), 0.0),
        ('nothing in "" and " "', ("x",), 0.0),
    ],
)
def test_the_score_by_hand(prompt, lines, expected):
    assert score(prompt, *lines) == pytest.approx(expected)


def published(prompt, recognised):
    """Flow-GRPO's formula for the first quoted text, with a distance of another kind of reading: recursive."""
    wanted = prompt.split('"')[1].replace(" ", "").lower()
    seen = recognised.replace(" ", "").lower()

    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return distance(a[1:], b[1:])
        return 1 + min(distance(a[1:], b), distance(a, b[1:]), distance(a[1:], b[1:]))

    far = 0 if wanted in seen else min(distance(seen, wanted), len(wanted))
    return 1 - far / len(wanted)


@given(st.text("aB c", min_size=0, max_size=6), st.text("abC", min_size=1, max_size=5))
def test_it_is_the_published_formula(recognised, wanted):
    assert score(f'a sign "{wanted}" here', recognised) == pytest.approx(published(f'a sign "{wanted}"', recognised))


@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_the_distance_is_one(first, second, third):
    assert edit_distance(first, first) == 0
    assert edit_distance(first, second) == edit_distance(second, first)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)


def test_the_distance_by_hand():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    assert match("xxabcxx", "abc") == 1.0


def test_wanted_texts_are_found_and_made_plain():
    assert wanted_texts('one "A b", two “C” and \'d\' and ""') == ["ab", "c"]
    assert plain(" Straße\n") == "strasse"


@pytest.mark.parametrize(
    ("boxes", "order"),
    [
        ([(50, 0, 90, 20), (0, 3, 40, 23)], [1, 0]),
        ([(0, 50, 90, 70), (0, 0, 90, 20)], [1, 0]),
        ([(100, 0, 150, 40), (0, 45, 50, 60), (0, 8, 50, 48), (60, 44, 90, 62)], [2, 0, 1, 3]),
        ([], []),
    ],
)
def test_boxes_are_read_line_by_line(boxes, order):
    assert reading_order(boxes) == order


def test_a_prompt_without_quotes_is_named_once(caplog):
    reward = OcrMatch(Lines("open"))
    reward(torch.zeros(2, 3, 8, 8), ["a door", "a wall"])
    assert [record.getMessage().count("'a door'") for record in caplog.records] == [1]


def test_it_keeps_the_contract():
    check_reward(OcrMatch(Lines("open")))


def test_it_is_missing_with_one_sentence_when_the_package_is(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)
    with pytest.raises(MissingExtra, match=r"pip install 'plaudit\[ocr\]'"):
        load_reward("ocr")


@pytest.fixture(scope="module")
def real():
    pytest.importorskip("rapidocr", reason="the extra 'ocr' is not installed")
    return load_reward("ocr")


def test_real_text_is_really_read(real):
    pictures = torch.stack(
        [
            drawn(((10, 20), "Hello World"), ((10, 90), "open"), ((130, 90), "24 hrs")),
            drawn(((10, 20), "Hella Warld")),
            drawn(),
        ]
    )
    prompts = [
        'a neon sign "hello world" above a board that says "OPEN 24 HRS"',
        'a sign that says "Hello World"',
        'a sign that says "Hello"',
    ]
    scores = real(pictures, prompts)
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.8, 0.0]))


def test_the_real_reader_works_on_pictures_of_64_pixels(real):
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).text((5, 20), "Hello", fill="black", font=ImageFont.load_default(16))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)
    assert float(real(pixels[None].float() / 255, ['it says "Hello"'])) == 1.0
