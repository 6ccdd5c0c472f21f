"""Reports as a person meets them: opened in a real browser, dragged, clicked, sorted, printed."""

import json

import pytest
import torch
from browser import Browser, find_browser, running_browser
from made_comparisons import made_comparison
from made_runs import folder, result

from plaudit.runs.comparison_report import write_comparison_report
from plaudit.runs.looks import SAMPLES, FixedLook
from plaudit.runs.provenance import png_bytes
from plaudit.runs.report import write_report
from plaudit.runs.training import METRICS, Log
from plaudit.runs.training_folder import TrainingFolder
from plaudit.runs.training_report import write_training_report

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (or named by PLAUDIT_CHROMIUM)")


@pytest.fixture(scope="module")
def browser():
    assert PROGRAM is not None
    with running_browser(PROGRAM) as opened:
        yield opened


@pytest.fixture(scope="module")
def run_report(tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("browser") / "run")
    # Rewards in an order that sorting changes, as numbers and as text.
    run.keep([result(0), result(1, total=10.5), result(2, total=-3.0), result(3, total=-20.0)])
    return write_report(run)


class Bright:
    differentiable = False

    def __call__(self, images, prompts):
        return images.mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def training_report(tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "training"
    made = TrainingFolder.create(
        path, name="made", command="plaudit train", settings={"model": "toy", "preset": "made"}, sources={}
    )
    for done in (0, 5, 10, 15):
        light = torch.linspace(0.1, 0.4, 8).view(-1, 1, 1, 1) + done / 30
        images = light.expand(-1, 3, 16, 16)
        look = FixedLook(folder=path, draw=lambda drawn=images: drawn, prompts=["a dog", "a cat"],
                         scores={"held_out": Bright()})  # fmt: skip
        seen = {f"look_{name}": value for name, value in look(done).items()}
        Log(path / METRICS).write({"update": done, **seen})
    # One look of a model whose pictures are large: it is in the page shrunk.
    (path / SAMPLES / "000005.png").write_bytes(png_bytes(torch.rand(3, 1000, 2000)))
    return write_training_report(made)


@pytest.fixture(scope="module")
def comparison_report(tmp_path_factory):
    return write_comparison_report(made_comparison(tmp_path_factory.mktemp("browser") / "comparison").path)


@pytest.fixture
def at_run(browser: Browser, run_report):
    browser.show_as()
    browser.open(run_report)
    yield browser
    assert browser.problems == []


@pytest.fixture
def at_training(browser: Browser, training_report):
    browser.show_as()
    browser.open(training_report)
    yield browser
    assert browser.problems == []


IS_OPEN = "document.querySelector('dialog').open"
SHOWN = "document.querySelector('dialog img').alt"
ALL_LOADED = "Array.from(document.querySelectorAll('img[src]')).every(it => it.complete && it.naturalWidth > 0)"


def test_every_picture_of_a_run_loads_and_nothing_is_complained_of(at_run):
    assert at_run.run("document.images.length") >= 9
    at_run.wait_for(ALL_LOADED)


def test_every_picture_of_a_training_loads_and_nothing_is_complained_of(at_training):
    assert at_training.run("document.images.length") >= 9
    at_training.wait_for(ALL_LOADED)
    assert at_training.run("document.images[1].naturalWidth") > 0
    assert at_training.run("document.querySelector('.ruling strong').textContent") == "improved"


def test_a_comparison_loads_sorts_and_shows_its_pictures_large(browser, comparison_report):
    browser.show_as()
    browser.open(comparison_report)
    # The plot, and a picture of twelve prompts by two systems.
    assert browser.run("document.images.length") >= 25
    browser.wait_for(ALL_LOADED)
    browser.run("document.querySelector('table.sortable').id = 'measured'")
    assert column(browser, "#measured", 0) == ["base", "<tuned>"]
    browser.click("#measured th:nth-child(1) button")
    assert column(browser, "#measured", 0) == ["<tuned>", "base"]
    browser.click("img.zoomable")
    browser.wait_for(IS_OPEN)
    browser.press("Escape")
    browser.wait_for(f"!{IS_OPEN}")
    assert browser.problems == []


@pytest.mark.parametrize("view", [{}, {"dark": True}, {"width": 390, "height": 844}], ids=["light", "dark", "phone"])
def test_no_page_is_wider_than_its_window(browser, run_report, training_report, comparison_report, view):
    browser.show_as(**view)
    for report in (run_report, training_report, comparison_report):
        browser.open(report)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def cut(browser):
    """Where the upper picture is cut, in percent from the right."""
    return browser.run("getComputedStyle(document.querySelector('.slider .before img')).clipPath")


@pytest.mark.parametrize("report", ["at_run", "at_training"])
def test_a_slider_follows_the_mouse_and_the_keys(report, request):
    page = request.getfixturevalue(report)
    value = "Number(document.querySelector('.slider input').value)"
    start = cut(page)
    page.drag(".slider input", 0.5, 0.9)
    assert 85 <= page.run(value) <= 95
    dragged = cut(page)
    assert dragged != start
    page.run("document.querySelector('.slider input').focus()")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    assert cut(page) != dragged
    page.press("Home")
    assert page.run(value) == 0
    assert "100%" in cut(page)


def test_before_and_after_go_side_by_side_and_back(at_run):
    beside = "(p => p[0].getBoundingClientRect().right <= p[1].getBoundingClientRect().left)"
    pair = "(document.querySelectorAll('.slider')[0].querySelectorAll('img'))"
    assert at_run.run(beside + pair) is False
    at_run.click(".choice")
    assert at_run.run(beside + pair) is True
    assert at_run.run("getComputedStyle(document.querySelector('.slider input')).display") == "none"
    at_run.click(".slider .after img")
    at_run.wait_for(IS_OPEN)
    assert at_run.run(SHOWN).startswith("after: ")
    at_run.press("Escape")
    at_run.wait_for(f"!{IS_OPEN}")
    at_run.click(".choice")
    assert at_run.run(beside + pair) is False


def test_a_click_shows_a_picture_large_and_escape_puts_it_away(at_run):
    assert at_run.run(IS_OPEN) is False
    at_run.click(".strip img")
    at_run.wait_for(IS_OPEN)
    at_run.wait_for("document.querySelector('dialog img').naturalWidth > 0")
    assert "at steps 0, 1, 3: a red ring" in at_run.run(SHOWN)
    large = at_run.run("document.querySelector('dialog img').getBoundingClientRect().width")
    assert large > 2 * at_run.run("document.querySelector('.strip img').getBoundingClientRect().width")
    at_run.press("Escape")
    at_run.wait_for(f"!{IS_OPEN}")


def test_arrow_keys_go_through_the_pictures_and_round(at_run):
    at_run.click(".slider .open")
    at_run.wait_for(IS_OPEN)
    first = at_run.run(SHOWN)
    assert first.startswith("before: ")
    at_run.press("ArrowRight")
    assert at_run.run(SHOWN).startswith("after: ")
    at_run.press("ArrowLeft")
    at_run.press("ArrowLeft")
    assert at_run.run(SHOWN) == at_run.run("Array.from(document.querySelectorAll('img.zoomable')).pop().alt")
    at_run.press("ArrowRight")
    assert at_run.run(SHOWN) == first


def test_a_picture_opens_by_the_keyboard_and_gives_the_focus_back(at_training):
    at_training.run("document.querySelector('.film img').focus()")
    at_training.press("Enter")
    at_training.wait_for(IS_OPEN)
    assert at_training.run(SHOWN) == "before training"
    at_training.press("Escape")
    at_training.wait_for(f"!{IS_OPEN}")
    assert at_training.run("document.activeElement === document.querySelector('.film img')")


def column(page, table, number):
    rows = f"Array.from(document.querySelectorAll('{table} tbody tr'))"
    return page.run(f"{rows}.map(row => row.cells[{number}].textContent)")


def test_a_heading_sorts_numbers_as_numbers_and_the_other_way_round(at_run):
    table = "h2 + .card table"
    images = "Array.from(document.querySelectorAll('table.sortable')).pop()"
    at_run.run(f"{images}.id = 'images'")
    assert column(at_run, "#images", 4) == ["2.500", "10.500", "-3.000", "-20.000"]
    at_run.click("#images th:nth-child(5) button")
    assert column(at_run, "#images", 4) == ["-20.000", "-3.000", "2.500", "10.500"]
    head = "document.querySelector('#images th:nth-child(5)').getAttribute('aria-sort')"
    assert at_run.run(head) == "ascending"
    at_run.run("document.querySelector('#images th:nth-child(5) button').focus()")
    at_run.press("Enter")
    assert column(at_run, "#images", 4) == ["10.500", "2.500", "-3.000", "-20.000"]
    assert at_run.run(head) == "descending"
    at_run.click("#images th:nth-child(1) button")
    assert column(at_run, "#images", 0)[0] == "a red ring"
    assert at_run.run(head) is None
    # The total is no row to be sorted.
    at_run.click(f"{table} th:nth-child(2) button")
    assert at_run.run(f"document.querySelector('{table}').rows[3].cells[0].textContent") == "weighted sum"


def test_empty_cells_stay_last_either_way(at_training):
    looks = "Array.from(document.querySelectorAll('table.sortable')).pop()"
    at_training.run(f"{looks}.id = 'looks'")
    at_training.run("document.querySelector('#looks tbody tr').cells[1].textContent = '-';"
                    "delete document.querySelector('#looks tbody tr').cells[1].dataset.value")  # fmt: skip
    for _ in range(2):
        at_training.click("#looks th:nth-child(2) button")
        assert column(at_training, "#looks", 1)[-1] == "-"


def test_without_scripts_the_pictures_stand_side_by_side_and_nothing_is_dead(browser, run_report):
    """Looked at by a page whose scripts the browser does not run; the driver's own questions are still answered."""
    browser.show_as()
    browser.scripts(allowed=False)
    try:
        browser.open(run_report)
        left, right = (
            browser.run(f"document.querySelectorAll('.slider img')[{place}].getBoundingClientRect().left")
            for place in (0, 1)
        )
        assert right > left
        assert browser.run("document.querySelectorAll('button, dialog').length") == 0
        assert browser.run("getComputedStyle(document.querySelector('.slider input')).display") == "none"
    finally:
        browser.scripts(allowed=True)


def test_on_paper_the_pictures_stand_side_by_side(at_run):
    at_run.show_as(paper=True)
    left, right = (
        at_run.run(f"document.querySelectorAll('.slider img')[{place}].getBoundingClientRect().left")
        for place in (0, 1)
    )
    assert right > left
    assert at_run.run("getComputedStyle(document.querySelector('.choice')).display") == "none"


def test_the_browser_refuses_any_script_but_ours(browser, run_report, tmp_path):
    text = run_report.read_text()
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("<main>", "<main><script>document.title = 'taken'</script><img src=x onerror="
                                    "\"document.title = 'taken'\">"))  # fmt: skip
    browser.show_as()
    browser.open(changed)
    assert browser.run("document.title") != "taken"
    assert any("Content Security Policy" in problem for problem in browser.problems), json.dumps(browser.problems)
    assert browser.run("document.documentElement.classList.contains('scripted')")
