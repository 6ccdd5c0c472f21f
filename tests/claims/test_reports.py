"""What all reproductions share: the report, its page, its figures, and the name a result is kept under."""

import json

import pytest

from plaudit.claims.claim import Claim, exceeds_zero, reaches
from plaudit.claims.fingerprint import fingerprint
from plaudit.claims.reports import Figure, assemble, publish, read_report
from plaudit.claims.result_page import result_page
from plaudit.core.errors import BadConfig
from plaudit.suites.statistics import Estimate

CLAIMS = (
    reaches(
        Estimate(value=0.75, low=0.5, high=1.0, prompts=8), bar=0.625, id="rises", claim="it rises", paper="it rose"
    ),
    exceeds_zero(
        Estimate(value=0.25, low=-0.125, high=0.5, prompts=8), id="better", claim="it is better", paper="it was"
    ),
)


def report_of(*, quick=False, **changed):
    given = {
        "tables": {"rows": ({1: float("nan")},)},
        "grids": {},
        "settings": {"quick": quick, "seeds": (0, 1)},
        "seconds": 90.0,
    }
    return assemble("toy", CLAIMS, **{**given, **changed})


def page(report):
    return result_page(
        report,
        title="A toy",
        introduction="About it.",
        quick_warning="It was the quick run.",
        body=("## Pictures", *report["pictures"].values(), ""),
        how=("by hand",),
    )


def test_a_report_is_what_will_be_read_back(tmp_path):
    report = report_of()
    assert report["tables"] == {"rows": [{"1": None}]}
    assert report["settings"]["seeds"] == [0, 1]
    assert [claim["id"] for claim in report["claims"]] == ["rises", "better"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    publish(report, tmp_path / "toy.json", figures={}, page=page)
    assert read_report(tmp_path / "toy.json", "toy") == report


def test_a_figure_without_its_sheets_stays_as_it_was_drawn(tmp_path):
    sheet, file = tmp_path / "sheet.png", tmp_path / "out" / "toy.json"
    sheet.write_bytes(b"small pictures")

    def figures(curve):
        return {
            "curve": Figure(ending="curve.svg", draw=lambda: curve),
            "grid": Figure(ending="grid.png", draw=sheet.read_bytes, sheets=[sheet]),
            "never": Figure(ending="never.png", draw=sheet.read_bytes, sheets=[sheet, tmp_path / "absent.png"]),
        }

    written = publish(report_of(), file, figures=figures(b"first"), page=page)
    assert [path.name for path in written] == ["toy.json", "toy.md", "toy-curve.svg", "toy-grid.png"]
    sheet.unlink()
    written = publish(read_report(file, "toy"), file, figures=figures(b"second"), page=page)
    assert [path.name for path in written] == ["toy.json", "toy.md", "toy-curve.svg"]
    assert (tmp_path / "out" / "toy-curve.svg").read_bytes() == b"second"
    assert (tmp_path / "out" / "toy-grid.png").read_bytes() == b"small pictures"
    assert read_report(file, "toy")["pictures"] == {"curve": "toy-curve.svg", "grid": "toy-grid.png"}
    assert "toy-grid.png" in file.with_suffix(".md").read_text()


def test_a_page_begins_with_the_claims_and_ends_with_how_it_was_run():
    parts = page(report_of()).split("\n\n")
    assert parts[:3] == ["# A toy", "About it.", "## Claims"]
    assert "| it rises | it rose | 0.750 | 0.500 to 1.000 | 0.625 | yes | the interval includes the bar |" in parts[3]
    assert parts[4:6] == ["1 of 2 bars are met; missed: better.", "## Pictures"]
    assert parts[6] == "## How it was run"
    lines = parts[7].splitlines()
    assert lines[0] == "- by hand"
    assert [line.partition(":")[0] for line in lines[1:]] == ["- machine", "- time", "- versions"]
    assert lines[2] == "- time: 1.5 minutes"


def test_only_a_quick_runs_page_warns():
    assert "quick run" not in page(report_of())
    assert page(report_of(quick=True)).split("\n\n")[2] == "It was the quick run."


@pytest.mark.parametrize("content", ['{"system": "other", "tables": {}}', '{"system": "toy"}', "[]", '{"sys', None])
def test_what_is_no_report_of_the_system_is_refused(tmp_path, content):
    file = tmp_path / "toy.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadConfig, match=r"toy.json' holds no report"):
        read_report(file, "toy")


def test_a_claim_that_is_not_decided_names_no_bar_as_missed():
    open_one = Claim(id="open", claim="?", paper="", measured=None, interval=None, bar=0.5, met=None)
    assert "0 of 0 bars are met." in page({**report_of(), "claims": [open_one.to_json()]})


def test_a_fingerprint_is_of_the_content_and_not_of_its_order(tmp_path):
    assert fingerprint({"a": 1, "b": [2, tmp_path]}) == fingerprint({"b": [2, str(tmp_path)], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    # From outside: printf '{"a": 1}' | sha256sum
    assert fingerprint({"a": 1}) == "f9d86028c6"
