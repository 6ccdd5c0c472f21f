"""Rows of pictures with captions: read from JSONL and data sets, chosen from as published, refused in a sentence."""

import base64
import io
import json
import re
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from plaudit.core.errors import BadConfig, MissingExtra
from plaudit.generators.described_images import WAYS, check_rows, of_dataset, read_described


def png(width=8, height=8, colour=(255, 0, 0)):
    kept = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(kept, format="PNG")
    return kept.getvalue()


def row(**other):
    return {
        "image": base64.b64encode(png()).decode(),
        "brief_caption": "A fox.",
        "detailed_caption": "A red fox in deep snow, seen from the side.",
        "augmented_prompts": {
            "short_caption": "A fox in snow.",
            "paraphrases": ["a snowy fox", "fox, snow"],
            "tags": ["fox", "snow", "winter"],
            "varied_captions": ["The fox waits."],
            "object_prompts": ["a fox", "some snow", "a tree"],
        },
        "aesthetic": 6.1,
        **other,
    }


def written(tmp_path, *lines):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return file


def only(tmp_path, content):
    return read_described(written(tmp_path, content))[0]


def test_rows_are_read_one_by_one_in_any_order(tmp_path):
    rows = read_described(written(tmp_path, row(), "", row(brief_caption="Two foxes."), row(brief_caption="Three.")))
    assert len(rows) == 3
    assert rows[-1].brief == rows[2].brief == "Three."
    assert [one.brief for one in rows[1:]] == ["Two foxes.", "Three."]
    assert rows[1].origin == "rows.jsonl, line 3"
    assert rows[0].detailed.startswith("A red fox")
    with pytest.raises(IndexError):
        rows[3]
    check_rows(rows, pictures=True)


def test_each_way_of_asking_is_as_likely_and_each_text_of_it_too(tmp_path):
    one = only(tmp_path, row())
    rng = np.random.default_rng(0)
    drawn = Counter(one.draw_prompt(rng) for _ in range(4000))
    expected = {
        "A fox in snow": 0.2, "a snowy fox": 0.1, "fox, snow": 0.1, "fox, snow, winter": 0.2, "The fox waits": 0.2,
        "a fox, some snow and a tree": 0.2,
    }  # fmt: skip
    assert set(drawn) == set(expected)
    for text, share in expected.items():
        assert drawn[text] / 4000 == pytest.approx(share, abs=0.03), text


@pytest.mark.parametrize(
    ("ways", "drawn"),
    [
        ({"object_prompts": ["a fox"]}, {"a fox"}),
        ({"object_prompts": ["a fox", "a hen"], "tags": []}, {"a fox and a hen"}),
        ({"short_caption": "", "tags": [" fox ", ""]}, {"fox"}),
        ({}, {"A fox"}),
        (None, {"A fox"}),
        (json.dumps({"tags": ["fox", "hen"]}), {"fox, hen"}),
    ],
)
def test_a_row_without_some_ways_is_asked_for_in_the_others(tmp_path, ways, drawn):
    one = only(tmp_path, row(augmented_prompts=ways))
    rng = np.random.default_rng(0)
    assert {one.draw_prompt(rng) for _ in range(50)} == drawn


def test_a_picture_is_the_middle_square_or_any(tmp_path):
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, :, 0] = np.arange(12) * 20
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, format="PNG")
    one = only(tmp_path, row(image=base64.b64encode(kept.getvalue()).decode()))
    middle = one.picture(4)
    assert middle.shape == (3, 4, 4)
    torch.testing.assert_close(middle[0, 0] * 255, torch.tensor([80.0, 100.0, 120.0, 140.0]))
    rng = np.random.default_rng(0)
    begins = {round(float(one.picture(4, rng)[0, 0, 0] * 255)) for _ in range(200)}
    assert begins == {20 * left for left in range(9)}
    assert one.picture(16).shape == (3, 16, 16)
    assert 0 <= float(one.picture(16).min()) <= float(one.picture(16).max()) <= 1


def test_an_image_may_be_base64_a_data_url_a_file_or_what_a_data_set_holds(tmp_path):
    (tmp_path / "fox.PNG").write_bytes(png())
    said = base64.b64encode(png()).decode()
    images = [said, f"data:image/png;base64,{said}", "fox.PNG", str(tmp_path / "fox.PNG")]
    rows = [read_described(written(tmp_path, row(image=image)))[0] for image in images]
    held = [png(), {"bytes": png(), "path": None}, {"bytes": None, "path": str(tmp_path / "fox.PNG")}]
    held.append(Image.open(io.BytesIO(png())))
    rows += list(of_dataset([row(image=image) for image in held], name="foxes"))
    for one in rows:
        torch.testing.assert_close(one.picture(8), torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 8, 8))
    assert rows[-1].origin == "foxes, row 3"


BROKEN = {
    "not JSON": ("{", "this is not JSON in UTF-8"),
    "no object": ("[1]", "a row is an object with image and detailed_caption, got a list"),
    "no plan": (row(detailed_caption=None), "detailed_caption must be a text that says something, got nothing"),
    "an empty plan": (row(detailed_caption=" "), "detailed_caption must be a text that says something, got ' '"),
    "no prompt at all": (row(brief_caption=None, augmented_prompts={}), "brief_caption must be a text"),
    "no image": (row(image=None), "there is no image"),
    "no base64": (row(image="foxes!"), "its image is neither base64 nor a .jpg or .png file's name"),
    "a number": (row(image=5), "its image must be base64 or the name of a file, got 5"),
    "prompts as a list": (row(augmented_prompts=["a"]), "augmented_prompts must be an object with short_caption"),
    "prompts as bad JSON": (row(augmented_prompts="{"), "augmented_prompts is a text that is not JSON"),
    "tags of numbers": (row(augmented_prompts={"tags": [1]}), "tags of augmented_prompts must be texts"),
    "tags as a number": (row(augmented_prompts={"tags": 1}), "tags of augmented_prompts must be texts, got 1"),
}


@pytest.mark.parametrize(("line", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_row_is_named_with_file_and_line_in_one_sentence(tmp_path, line, reason):
    rows = read_described(written(tmp_path, row(), line))
    assert rows[0].brief == "A fox."
    for read in (lambda: rows[1], lambda: check_rows(rows)):
        with pytest.raises(BadConfig, match=re.escape(reason)) as caught:
            read()
        assert str(caught.value).startswith("rows.jsonl, line 2: ")
        assert "\n" not in str(caught.value)


def test_a_picture_that_is_none_or_is_missing_is_named_when_it_is_read(tmp_path):
    bad = read_described(written(tmp_path, row(image=base64.b64encode(b"no picture").decode())))
    check_rows(bad)
    with pytest.raises(BadConfig, match="line 1: its image cannot be read"):
        check_rows(bad, pictures=True)
    missing = read_described(written(tmp_path, row(image="gone.png")))
    with pytest.raises(BadConfig, match=r"line 1: there is no image '.*gone.png'"):
        check_rows(missing)
    with pytest.raises(BadConfig, match="line 1: its image cannot be read"):
        missing[0].picture(8)


def test_sources_without_rows_are_named(tmp_path, monkeypatch):
    with pytest.raises(BadConfig, match="holds no rows; write one JSON object a line"):
        read_described(written(tmp_path, "", " "))
    for nowhere in ("gone.jsonl", "a/b/c", "gone"):
        with pytest.raises(BadConfig, match="give a JSONL file, a data set's folder or its hub id"):
            read_described(nowhere)
    with pytest.raises(BadConfig, match="foxes holds no rows"):
        of_dataset([], name="foxes")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'plaudit\[data\]'"):
        read_described("someone/foxes")


def test_a_data_set_is_loaded_by_its_own_package(tmp_path, monkeypatch):
    asked = []

    def load_dataset(source, split):
        asked.append((source, split))
        if split != "train":
            raise ValueError(f"Unknown split {split!r}.\nAnd more.")
        return [row()]

    def load_from_disk(_):
        return [row(brief_caption="of a folder")] if (tmp_path / "dataset_info.json").exists() else {"test": [row()]}

    monkeypatch.setitem(
        sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, load_from_disk=load_from_disk)
    )
    assert read_described("someone/foxes")[0].origin == "someone/foxes, row 0"
    read_described(tmp_path)
    assert asked == [("someone/foxes", "train"), (str(tmp_path), "train")]
    with pytest.raises(BadConfig, match=r"has no rows 'dev' that can be read: Unknown split 'dev'\.$"):
        read_described("someone/foxes", split="dev")
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert len(read_described(tmp_path, split="test")) == 1
    with pytest.raises(BadConfig, match="has no rows 'train'"):
        read_described(tmp_path)
    (tmp_path / "dataset_info.json").write_text("{}")
    assert read_described(tmp_path)[0].brief == "of a folder"


def test_the_published_ways_are_five():
    assert WAYS == ("short_caption", "paraphrases", "tags", "varied_captions", "object_prompts")


def test_a_picture_is_read_as_people_see_it(tmp_path):
    """A camera's turn, transparency over white, and deep greys in their own range."""
    files = {name: tmp_path / name for name in ("turned.jpg", "clear.png", "deep.png")}
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter: what lies left is above
    lying = Image.new("RGB", (16, 16), "black")
    lying.paste("white", (0, 0, 8, 16))
    lying.save(files["turned.jpg"], exif=exif, quality=100)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(files["clear.png"])
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(files["deep.png"])
    found = {name: only(tmp_path, row(image=str(file))).picture(8) for name, file in files.items()}
    assert found["turned.jpg"][:, 0].min() > 0.9
    assert found["turned.jpg"][:, -1].max() < 0.1
    assert bool((found["clear.png"] == 1).all())
    assert found["deep.png"].mean() == pytest.approx(0.5, abs=0.01)
