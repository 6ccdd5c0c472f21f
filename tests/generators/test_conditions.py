"""Text encoders read a long list of prompts a few at a time."""

import dataclasses

import pytest
import torch
from tiny_families import FAMILIES, load_tiny

from plaudit.generators import conditions
from plaudit.generators.table import load_generator

PROMPTS = ["a red circle", "two star", "a ring", "a red circle", "left of a blue square and a green star", "a"]


def seen_at_once(generator):
    """How many prompts each text encoder reads in a call; filled while prompts are encoded."""
    counts = []
    for encoder in generator.text_encoders:
        encoder.register_forward_pre_hook(
            lambda _, given, named: counts.append(len(given[0] if given else named["input_ids"])), with_kwargs=True
        )
    return counts


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_are_read_in_parts_are_what_they_are_together(family, tmp_path, monkeypatch):
    generator = load_tiny(FAMILIES[family](tmp_path / family), family)
    together = generator.encode(PROMPTS)
    counts = seen_at_once(generator)
    monkeypatch.setattr(conditions, "AT_ONCE", 2)
    parts = generator.encode(PROMPTS)
    # Five that differ: two, two and one, for every encoder.
    assert sorted(counts) == sorted([2, 2, 1] * len(generator.text_encoders))
    assert len(parts) == len(PROMPTS)
    for field in dataclasses.fields(together):
        found, expected = getattr(parts, field.name), getattr(together, field.name)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected)
        assert torch.equal(found[0], found[3])


def test_a_whole_suite_is_never_read_at_once(sd_folder):
    generator = load_generator(str(sd_folder))
    counts = seen_at_once(generator)
    texts = [f"a star {number}" for number in range(100)]
    assert len(generator.encode(texts)) == 100
    assert max(counts) == conditions.AT_ONCE
    assert sum(counts) == 100
