import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.runs.files import LONGEST_SLUG, slug, write_json, write_whole


@given(st.text())
def test_any_prompt_becomes_a_safe_file_name(prompt):
    name = slug(prompt)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= LONGEST_SLUG


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A Red Ring, left of a square!", "a-red-ring-left-of-a-square"),
        ("../../etc/passwd", "etc-passwd"),
        ("Café à la crème", "cafe-a-la-creme"),
        ("星", "image"),
    ],
)
def test_a_prompt_stays_readable_in_its_file_name(prompt, name):
    assert slug(prompt) == name


def test_writing_replaces_a_file_as_a_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_json_never_holds_a_number_that_other_readers_refuse(tmp_path: Path):
    write_json(tmp_path / "a.json", {"x": [float("nan"), float("inf"), 1.5], "y": (1, {"z": float("-inf")})})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"x": [None, None, 1.5], "y": [1, {"z": None}]}
