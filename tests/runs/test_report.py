import base64
import csv
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest
import torch
from made_runs import SETTINGS, folder, result

from plaudit.runs.curves import HEIGHT, WIDTH, curve
from plaudit.runs.folder import RunFolder
from plaudit.runs.report import page, write_report


class Reader(HTMLParser):
    """Collects what a page refers to and checks that its tags are closed in order."""

    VOID = ("meta", "img", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "srcset", "action", "data", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def read(run: RunFolder) -> Reader:
    reader = Reader()
    reader.feed(page(run))
    assert reader.open == []
    return reader


def test_the_report_needs_nothing_but_itself(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1)])
    reader = read(run)
    assert len(reader.references) == 6
    assert all(reference.startswith("data:image/png;base64,") for reference in reader.references)
    assert {"link", "iframe"}.isdisjoint(reader.tags)
    assert not re.search(r"url\(|@import|https?://", page(run))


def test_the_policy_names_the_pages_one_script_by_its_hash(tmp_path):
    text = page(folder(tmp_path / "run"))
    (script,) = re.findall("<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert policy.count("script-src") == 1


def test_its_tables_lie_beside_it_as_csv_and_json(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1, total=0.5)])
    write_report(run)
    with (run.path / "images.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert second["prompt"] == SETTINGS["prompts"][1]
    assert (float(first["before"]), float(first["after"]), float(second["after"])) == (1.0, 2.5, 0.5)
    assert float(second["clip before"]) == 20.0
    assert (first["right before"], first["right after"]) == ("0", "0")
    assert json.loads((run.path / "images.json").read_text())[1]["hps after"] == 0.3
    (hps, clip, total) = json.loads((run.path / "rewards.json").read_text())
    assert (hps["reward"], hps["improved"], hps["images"]) == ("hps", 2, 2)
    assert (clip["improved"], clip["after"]) == (0, 19.0)
    assert (total["reward"], total["before"], total["after"], total["improved"]) == ("weighted sum", 1.0, 1.5, 1)
    linked = re.findall('href="([^"]*)"', page(run))
    assert sorted(linked) == sorted(file.name for file in run.path.iterdir() if file.stem in ("images", "rewards")
                                    and file.is_file())  # fmt: skip


def test_a_table_of_numbers_that_are_none_has_empty_cells(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0, total=math.nan, first_total=1.0)])
    write_report(run)
    with (run.path / "images.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["before"], row["after"]) == ("1.0", "")
    assert json.loads((run.path / "images.json").read_text())[0]["after"] is None


def test_pictures_before_and_after_are_a_slider_unless_one_is_all_there_is(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1, best_step=0)])
    text = page(run)
    assert text.count('class="slider"') == 1
    assert text.count('type="range"') == 1
    assert text.count('class="alone"') == 1
    (run.path / run.records[0].before_file).unlink()
    assert 'class="slider"' not in page(run)


def test_a_prompt_cannot_put_markup_into_the_report(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(1, prompt="<script>alert(1)</script>\" onload='x' & more")])
    reader = read(run)
    assert reader.tags.count("script") == 1
    assert "<script>alert(1)</script>\" onload='x' & more" in reader.words


def plan_of(first: str, best: str):
    """As made results have them: noise of zeros first, of ones at last."""
    return lambda noise: best if bool(noise.any()) else first


def text_of(run: RunFolder, place: str) -> list[str]:
    """The parts of the cards' lists of plans."""
    return re.findall(f"<{place}>(.*?)</{place}>", "".join(re.findall('<dl class="plans">.*?</dl>', page(run), re.S)))


def test_the_plan_of_a_picture_stands_between_its_prompt_and_it(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)], plan_of=plan_of("a red ring", "a red ring"))
    assert (text_of(run, "dt"), text_of(run, "dd")) == (["plan"], ["a red ring"])
    text = page(run)
    assert text.index("<h3>") < text.index('<dl class="plans">') < text.index('<div class="slider">')


def test_the_plan_of_the_start_is_shown_where_it_was_another(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)], plan_of=plan_of("a blue ring", "a red ring"))
    assert text_of(run, "dt") == ["plan before", "plan of step 2"]
    assert text_of(run, "dd") == ["a blue ring", "a red ring"]
    run.keep([result(0)], plan_of=plan_of("a blue ring", ""))
    assert text_of(run, "dd") == ["a blue ring", "(no words)"]


def test_without_plans_the_report_has_no_place_for_them(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)])
    assert '<dl class="plans">' not in page(run)


@pytest.mark.parametrize("first", [True, False])
def test_a_plan_cannot_put_markup_into_the_report(tmp_path, first):
    run = folder(tmp_path / "run")
    bad = "<script>alert(1)</script>\" onload='x' & </dd><b>more"
    run.keep([result(0)], plan_of=plan_of(*((bad, "a ring") if first else ("a ring", bad))))
    reader = read(run)
    assert reader.tags.count("script") == 1
    assert "b" not in reader.tags
    assert bad in reader.words


def test_the_report_says_what_became_of_each_image(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1, total=0.5)])
    words = read(run).words
    assert SETTINGS["prompts"][0] in words
    assert "1 of 2" in words
    assert "step 2" in words
    assert "no red ring" in words or "wrong" in words
    assert "+1.500" in words
    assert "hps:5" in words


def test_small_pictures_are_enlarged_with_hard_edges_and_large_ones_are_not(tmp_path):
    run = folder(tmp_path / "run")
    big = torch.zeros(3, 300, 300)
    run.keep([result(0, first_image=big, image=big, strip=())])
    assert 'class="zoomable small"' not in page(run)
    run.keep([result(0)])
    assert page(run).count('class="zoomable small"') == 3


def test_a_report_can_be_made_of_an_unfinished_run_and_of_lost_pictures(tmp_path):
    run = folder(tmp_path / "run")
    assert "No image finished" in read(run).words
    (record,) = run.keep([result(0, total=math.nan, first_total=math.nan, trace=(math.nan, math.nan))])
    (run.path / record.before_file).unlink()
    assert "no longer in the run" in read(RunFolder.open(run.path)).words


def test_the_report_is_written_into_the_run(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)])
    assert write_report(run).read_text() == page(run)


def points_of(svg: str, kind: str) -> list[tuple[float, float]]:
    text = re.search(rf'class="{kind}" points="([^"]*)"', svg)[1]
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_a_curve_rises_where_the_reward_does():
    svg = curve((1.0, 3.0, 2.0), best_step=1, label="x")
    (x0, y0), (x1, y1), (x2, y2) = points_of(svg, "line")
    assert x0 < x1 < x2
    assert y1 < y2 < y0
    assert math.isclose(y0 - y1, 2 * (y0 - y2), rel_tol=0.02)
    best = points_of(svg, "best")
    assert best[1] == (x1, y1)
    assert best[2][1] == y1
    assert f'cx="{x1:.1f}" cy="{y1:.1f}"' in svg


@pytest.mark.parametrize(
    "trace",
    [
        (1.0, 1.0),
        (0.0, 0.0),
        (-5.0, 1e-9),
        (1e6, 2e6),
        tuple(i / 7 for i in range(1000)),
        (0.123, 0.124),
        (1.0, math.nan, 2.0),
    ],
    ids=str,
)
def test_every_curve_stays_inside_its_frame(trace):
    svg = curve(trace, best_step=0, label="x")
    for x, y in points_of(svg, "line") + points_of(svg, "best"):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert 2 <= svg.count('class="grid"') <= 8
    assert len(points_of(svg, "line")) <= 201


def test_one_step_has_no_curve():
    assert curve((1.0,), best_step=0, label="x") == ""
