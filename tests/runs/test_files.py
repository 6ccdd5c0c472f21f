import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.runs.files import LONGEST_SLUG, read_json, slug, write_json


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


def test_json_never_holds_a_number_that_other_readers_refuse(tmp_path: Path):
    write_json(tmp_path / "a.json", {"x": [float("nan"), float("inf"), 1.5], "y": (1, {"z": float("-inf")})})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"x": [None, None, 1.5], "y": [1, {"z": None}]}


def test_json_that_is_absent_or_damaged_is_none(tmp_path: Path):
    file = tmp_path / "a.json"
    assert read_json(file) is None
    write_json(file, {"x": [1, "ä"]})
    assert read_json(file) == {"x": [1, "ä"]}
    whole = file.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole.replace("ä".encode(), b"\xff")):
        file.write_bytes(damage)
        assert read_json(file) is None
