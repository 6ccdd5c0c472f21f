"""The pages' examples run, their links lead somewhere, and their numbers are not typed by hand."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUNNABLE = ("adding_a_reward.md", "adding_a_generator.md", "pocket_world.md", "plans.md")
"""pages whose examples need no weights"""
RUNNABLE_WITH_WEIGHTS = ("loo_fid.md",)
"""and those whose examples run on embedded models in seconds"""


def of_pages(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)(test)


def python_in(page: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_pages_python_runs_from_top_to_bottom(name):
    code = python_in(ROOT / "docs" / name)
    assert code
    exec(compile(code, name, "exec"), {"__name__": "docs"})


@pytest.mark.weights
@pytest.mark.parametrize("name", RUNNABLE_WITH_WEIGHTS)
def test_a_pages_python_runs_on_embedded_models(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(python_in(ROOT / "docs" / name), name, "exec"), {"__name__": "docs"})


@of_pages
def test_what_a_page_imports_is_there(page):
    for node in ast.walk(ast.parse(python_in(page))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plaudit"):
            module = importlib.import_module(node.module)
            assert all(getattr(module, alias.name) is not None for alias in node.names)


@of_pages
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@of_pages
def test_modules_that_a_page_names_exist(page):
    for name in re.findall(r"`(plaudit(?:\.[a-z_]+)+)`", page.read_text()):
        assert importlib.util.find_spec(name) is not None, name
    for path in re.findall(r"`(plaudit/[a-z_/]+\.py)`", page.read_text()):
        assert (ROOT / "src" / path).exists(), path


@of_pages
def test_no_page_holds_a_measured_number(page):
    """Accuracies and scores are on generated pages; a number with two decimals or more would be one of them."""
    generated = r"<!-- generated: (\w+) -->.*?<!-- end: \1 -->"
    prose = re.sub(rf"```.*?```|{generated}", "", page.read_text(), flags=re.DOTALL)
    plain = re.sub(r"\[.*?\]\(.*?\)|^ {4}.*$", "", prose, flags=re.MULTILINE)
    assert not re.findall(r"\d\.\d{2,}", plain)


def test_the_contents_list_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert {file for entry in nav for file in entry.values()} >= {page.name for page in PAGES}
