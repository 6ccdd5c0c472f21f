"""`plaudit reproduce all`: the systems in turn, one page on all of them, nothing lost to one that fails."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import plaudit.shells.reproducing_all as reproducing_all
from plaudit.claims.overview import SYSTEMS as DESCRIBED
from plaudit.claims.overview import overview, reports_in
from plaudit.core.errors import BadConfig, PlauditError
from plaudit.runs.files import write_json
from plaudit.shells.cli import main
from plaudit.shells.reproduce import SYSTEMS

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
CLAIM = {
    "id": "better", "claim": "better than before", "paper": "0.1 to 0.2", "measured": 0.25, "interval": [0.2, 0.3],
    "bar": 0.1, "met": True, "note": "",
}  # fmt: skip


def report(system, *, met=True, quick=False):
    hardware = {"cpu": "a", "cores": 2, "threads": 1, "gpus": []}
    settings = {"seeds": [0, 1, 2], "quick": quick, "model": "pocket-base"}
    claims = [{**CLAIM, "met": met}, {**CLAIM, "bar": None, "met": None, "interval": None}]
    return {"system": system, "claims": claims, "settings": settings, "hardware": hardware, "seconds": 5400.0}


@pytest.fixture
def systems(monkeypatch):
    """Five systems that take no time; the names in `failing` raise instead. All that they are asked is in `asked`."""
    world = SimpleNamespace(asked=[], failing={})

    def run(options):
        world.asked.append(options)
        if options.system in world.failing:
            raise world.failing[options.system]
        one = report(options.system)
        write_json(options.file, one)
        return one["claims"], [options.file]

    module = SimpleNamespace(run=run)
    monkeypatch.setattr(reproducing_all, "importlib", SimpleNamespace(import_module=lambda _: module))
    return world


def test_every_system_is_measured_into_its_own_folder_and_one_page_is_about_all(systems, tmp_path, capsys):
    assert main(["reproduce", "all", "--quick", "--out", str(tmp_path / "r"), "--json", str(tmp_path / "j")]) == 0
    assert [it.system for it in systems.asked] == list(SYSTEMS)
    assert all(it.quick for it in systems.asked)
    assert {it.folder for it in systems.asked} == {tmp_path / "r" / f"reproduce-{name}" for name in SYSTEMS}
    page = (tmp_path / "j" / "README.md").read_text()
    assert page == overview(reports_in(tmp_path / "j"))
    # Five systems with two claims each, and the five by themselves.
    assert page.count("better than before") == 10
    assert page.count("1 of 1") == 5
    assert "not measured yet" not in page
    assert f"written: {tmp_path / 'j' / 'README.md'}" in capsys.readouterr().out


def test_a_system_that_fails_loses_nothing_of_the_others(systems, tmp_path, capsys):
    systems.failing["r0"] = BadConfig("there is no model")
    assert main(["reproduce", "all", "--out", str(tmp_path)]) == 1
    assert [it.system for it in systems.asked] == list(SYSTEMS)
    assert set(reports_in(tmp_path / "results")) == set(SYSTEMS) - {"r0"}
    page = (tmp_path / "results" / "README.md").read_text()
    assert "not measured yet; `plaudit reproduce r0`" in page
    assert "r0 is not in it anew: there is no model" in capsys.readouterr().err


def test_ctrl_c_ends_all_of_them(systems, tmp_path, capsys):
    stopped = PlauditError("stopped by Ctrl-C; the same command goes on")
    stopped.__cause__ = KeyboardInterrupt()
    systems.failing["r0"] = stopped
    assert main(["reproduce", "all", "--out", str(tmp_path)]) == 1
    assert [it.system for it in systems.asked] == ["reno", "r0"]
    assert "stopped by Ctrl-C" in capsys.readouterr().err


def test_pages_alone_are_made_of_the_reports_that_are_there(systems, tmp_path, capsys):
    write_json(tmp_path / "rlcm.json", report("rlcm"))
    assert main(["reproduce", "all", "--page-only", "--json", str(tmp_path)]) == 0
    assert [it.system for it in systems.asked] == ["rlcm"]
    assert "reasongen: no report in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"), [(["--model", "pocket-base"], "leave --model out"), (["--json", __file__], "is a folder")]
)
def test_what_makes_no_sense_for_all_of_them_is_refused(systems, more, said, capsys):
    assert main(["reproduce", "all", *more]) == 2
    assert said in capsys.readouterr().err
    assert not systems.asked


def test_the_page_says_what_is_met_what_is_missed_and_what_has_no_bar():
    page = overview({"r0": report("r0", met=False)})
    rows = [line for line in page.splitlines() if "better than before" in line]
    assert [row.split(" | ")[-1] for row in rows] == ["**no** |", "- |"]
    assert "0.250" in rows[0]
    assert "0.200 to 0.300" in rows[0]
    assert "0 of 1" in page
    assert "quick" not in page.partition("## By system")[0].replace("plaudit reproduce", "")
    assert "Of a quick run" in overview({"r0": report("r0", quick=True)})


def test_every_system_that_can_be_reproduced_is_described():
    assert [it.name for it in DESCRIBED] == list(SYSTEMS)


def test_what_the_overview_shows_of_a_system_is_in_its_report():
    """A claim that was renamed would else be missing from the overview, and nobody would see it."""
    for system in DESCRIBED:
        file = RESULTS / f"{system.files[0]}.json"
        if file.exists():
            found = json.loads(file.read_text())
            assert set(system.headlines) <= {claim["id"] for claim in found["claims"]}
            assert system.curve[0] in found["pictures"]


def test_the_pages_in_the_docs_are_those_of_their_reports(tmp_path):
    """No number on them is typed by hand, and none is older than its report."""
    copy = shutil.copytree(RESULTS, tmp_path / "results")
    for page in copy.glob("*.md"):
        page.unlink()
    curves = [copy / f"{system.files[0]}-{system.curve[0]}.svg" for system in DESCRIBED]
    drawn = {curve.name: words_in(curve) for curve in curves if curve.exists()}
    assert len(drawn) >= 4
    for name in drawn:
        (copy / name).unlink()
    assert main(["reproduce", "all", "--page-only", "--out", str(tmp_path), "--json", str(copy)]) == 0
    made = {page.name: page.read_text() for page in copy.glob("*.md")}
    assert made == {page.name: page.read_text() for page in RESULTS.glob("*.md")}
    for file in reports_in(RESULTS):
        assert (copy / f"{file}.json").read_text() == (RESULTS / f"{file}.json").read_text()
    # Where exactly a line lies is the plotting library's own; what the plots say is the report's.
    assert {name: words_in(copy / name) for name in drawn} == drawn


def words_in(plot):
    """Everything that a plot says: titles, names, the numbers at its axes."""
    return re.findall(r"<text[^>]*>([^<]*)<", plot.read_text())
