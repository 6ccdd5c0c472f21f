"""The pages' examples run, their links lead somewhere, and their numbers are not typed by hand."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plaudit import _HOMES
from plaudit.shells.cli import find_command
from plaudit.shells.flags import parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUNNABLE = (
    "adding_a_reward.md", "adding_a_generator.md", "pocket_world.md", "plans.md", "glossary.md", "when_rewards_lie.md",
    "api.md", "comparing.md", "reports.md", "suites.md", "published_models.md", "rlcm.md",
)  # fmt: skip
"""pages whose examples need no weights"""
RUNNABLE_WITH_WEIGHTS = (
    "loo_fid.md", "quickstart.md", "index.md", "fidelity.md", "memory.md", "ar_grpo.md", "reasongen.md",
    "performance.md", "../README.md",
)  # fmt: skip
"""and those whose examples run on embedded models in seconds"""
COMMANDS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


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


def test_no_pages_python_is_forgotten():
    having = {page.name for page in COMMANDS if python_in(page)}
    assert having == {Path(name).name for name in (*RUNNABLE, *RUNNABLE_WITH_WEIGHTS)}


def commands_in(page):
    """The lines of its blocks that begin with `plaudit` or a launcher of it, comments and placeholders left out."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for block in (block for language, block in blocks if language in ("", "sh")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(re.split(r"\s{2,}|\s#", line.strip())[0])
            if "-m" in words[:6] and "plaudit" in words[:6]:
                words = words[words.index("plaudit") :]
            if words[:1] == ["plaudit"]:
                yield words[1:]


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood(page):
    """Of each line that it shows, the command is there and takes these flags; nothing is run."""
    for words in commands_in(page):
        entry, rest = find_command(words)
        # Those that go on from a folder or a picture read it at once.
        if not {"--help", "--resume", "--from-image"} & set(rest):
            parse(entry.resolve(), rest)


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
    named = list(files_in(nav))
    assert len(named) == len(set(named))
    assert set(named) >= {page.name for page in PAGES}
    results = {f"results/{page.name}" for page in (ROOT / "docs" / "results").glob("*.md")}
    assert set(named) >= results


def files_in(nav):
    """The pages of a table of contents, whose entries may be lists."""
    for entry in nav:
        for told in entry.values():
            yield from files_in(told) if isinstance(told, list) else (told,)


def test_the_site_builds_without_a_warning(tmp_path):
    """Broken links, pages that no contents list, docstrings that are not there: all are errors."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        build, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    assert [name for name, home in _HOMES.items() if f'id="{home}.{name}"' not in api] == []


def test_what_pages_say_was_measured_is_what_the_reports_say():
    """If this fails: python tools/measured_blocks.py"""
    spec = importlib.util.spec_from_file_location("measured_blocks", ROOT / "tools" / "measured_blocks.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert {page.name: text for page, text in tool.pages().items()} == {
        page.name: page.read_text() for page in tool.pages()
    }
    assert tool.main(["--check"]) == 0
