"""What the table says that a suite's scorer loads is what it loads when nothing else is said."""

import importlib
import inspect

import pytest

from plaudit.suites import geneval_colours
from plaudit.suites.table import SUITES


@pytest.mark.parametrize("row", [row for row in SUITES if "scorer" in row.arguments], ids=lambda row: row.name)
def test_the_rows_models_are_the_scorers_own(row):
    module, _, name = row.arguments["scorer"].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    usual = {role: it.default for role, it in parameters.items() if isinstance(it.default, str)}
    models = row.arguments["about"]["models"]
    # Of numbers of things only the detector says something.
    assert models == ({"detector": usual["detector"]} if row.name == "t2i-compbench-numeracy" else usual)
    assert row.facts["models"] == tuple(models.values())


def test_colours_are_named_by_genevals_clip():
    (first, *_) = inspect.signature(geneval_colours.load_clip_colours).parameters.values()
    assert first.default in SUITES.find("geneval").facts["models"]
