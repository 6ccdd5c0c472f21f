import importlib
import subprocess
import sys

import pytest

import plaudit


@pytest.mark.parametrize("name", plaudit.__all__)
def test_every_public_name_is_there(name):
    assert getattr(plaudit, name) is not None
    assert name in dir(plaudit)


@pytest.mark.parametrize(("name", "home"), plaudit._HOMES.items())
def test_a_public_name_is_the_thing_in_its_module(name, home):
    assert getattr(plaudit, name) is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'reno'"):
        _ = plaudit.reno


def test_importing_plaudit_imports_nothing_slow():
    code = "import plaudit, sys; sys.exit('torch' in sys.modules or 'jsonargparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
