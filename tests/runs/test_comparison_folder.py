import numpy as np
import pytest
from made_comparisons import SETTINGS, Bright, judged, made_comparison, shades

from plaudit.core.errors import BadConfig
from plaudit.runs import comparison
from plaudit.runs.comparison import (
    FILE,
    ComparisonFolder,
    Cost,
    EntrantFolder,
    table_of,
)
from plaudit.runs.comparison_plot import trade_offs
from plaudit.runs.comparison_report import write_comparison_report
from plaudit.runs.comparison_tables import aligned, as_text, number, read_comparison, write_comparison_tables
from plaudit.suites.comparison import ACCURACY, DISTANCE, SCORE, Table
from plaudit.suites.comparison_results import results_of


@pytest.fixture
def drawn(tmp_path):
    folder = EntrantFolder(tmp_path / "one", {"model": "toy"})
    batch = [judged(row, right=row == 0) for row in range(4)]
    folder.keep(batch[:2], shades(4)[:2], Cost(images=2, pictures=6, seconds=1.0, forwards=12))
    folder.keep(batch[2:], shades(4)[2:], Cost(images=2, pictures=6, seconds=3.0, forwards=12))
    return folder


def ask(folder, reward, *, source="v1", rows=range(4)):
    folder.score(folder.judged(list(rows)), "bright", reward, source={"name": source}, put=lambda images: images)


def test_a_table_holds_verdicts_scores_rewards_diversity_and_cost(drawn):
    ask(drawn, Bright())
    table = table_of("one", drawn, range(4), ["bright"], followed=["bright"])
    assert table.scores[ACCURACY].tolist() == [[1, 0], [0, 0]]
    assert table.scores[SCORE].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert table.scores["bright"] == pytest.approx(np.array([[0, 0.2], [0.4, 0.6]]), abs=1e-6)
    assert table.scores[DISTANCE] == pytest.approx(np.array([[0.2], [0.2]]), abs=1e-5)
    assert (table.prompts, table.categories) == ((0, 1), ("counting", "counting"))
    assert (table.seconds, table.forwards) == (1.0, 6.0)


def test_some_of_the_prompts_are_a_table_too(drawn):
    ask(drawn, Bright())
    assert table_of("one", drawn, [2, 3], ["bright"]).prompts == (1,)


def test_a_table_of_one_image_a_prompt_has_no_diversity(drawn):
    ask(drawn, Bright())
    assert DISTANCE not in table_of("one", drawn, [0, 2], ["bright"]).scores


def test_a_missing_picture_or_score_is_said(drawn):
    with pytest.raises(BadConfig, match="one has 4 of 6 images"):
        table_of("one", drawn, range(6), [])
    with pytest.raises(BadConfig, match="'bright' has not scored 4 pictures"):
        table_of("one", drawn, range(4), ["bright"])


def test_a_board_shows_its_headline_once(tmp_path):
    folder = EntrantFolder(tmp_path, {})
    batch = [judged(row, right=None, parts={"bright": 0.5}) for row in range(2)]
    folder.keep(batch, shades(2), Cost(images=2))
    ask(folder, Bright(), rows=range(2))
    assert list(table_of("one", folder, range(2), ["bright"]).scores) == ["bright", DISTANCE]


def test_a_reward_is_asked_once_for_each_picture(drawn):
    reward = Bright()
    ask(drawn, reward, rows=range(3))
    assert reward.asked == 3
    again = EntrantFolder.there(drawn.path)
    ask(again, reward)
    assert reward.asked == 4
    assert again.scores_of("bright", again.judged([3])) == pytest.approx([0.6])


def test_another_reward_of_the_same_name_is_asked_anew(drawn):
    ask(drawn, Bright())
    ask(drawn, Bright(times=2), source="v2")
    assert drawn.scores_of("bright", drawn.judged([1])) == pytest.approx([0.4])


def test_a_score_that_is_no_number_is_refused(drawn):
    with pytest.raises(BadConfig, match="no finite score"):
        ask(drawn, Bright(times=float("nan")))


def test_costs_add_up_and_what_is_not_known_stays_unknown():
    one, two = Cost(images=1, pictures=4, seconds=2, forwards=8), Cost(images=1, pictures=1, seconds=1, forwards=None)
    assert one.plus(one) == Cost(images=2, pictures=8, seconds=4, forwards=16)
    assert one.plus(two).forwards is None
    assert one.plus(one).less(one) == one


def test_names_that_look_alike_get_folders_of_their_own(tmp_path):
    folder = ComparisonFolder(tmp_path / "out", SETTINGS)
    places = [folder.place_of(name) for name in ("a:b", "a-b", "a:b")]
    assert places[0] == places[2] != places[1]
    folder.save()
    assert ComparisonFolder(tmp_path / "out", SETTINGS).place_of("a-b") == places[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}}'])
def test_a_damaged_comparison_is_one_sentence(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(BadConfig, match="damaged"):
        ComparisonFolder(tmp_path, SETTINGS)


def test_a_folder_in_use_and_other_settings_are_refused(tmp_path):
    ComparisonFolder(tmp_path / "out", SETTINGS).save()
    with pytest.raises(BadConfig, match="another seed, suite"):
        ComparisonFolder(tmp_path / "out", SETTINGS | {"seed": 1, "suite": "geneval"})
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(BadConfig, match="in use"):
        ComparisonFolder(tmp_path, SETTINGS)


@pytest.fixture
def compared(tmp_path):
    return made_comparison(tmp_path / "out")


def test_the_page_and_the_tables_are_made_of_the_folder_alone(compared):
    page = write_comparison_report(compared.path).read_text()
    assert page.count("data:image/png") == 12 * 2
    assert "&lt;tuned&gt;" in page
    assert "<tuned>" not in page
    assert "no such file" in page
    table = write_comparison_tables(compared.path).read_text()
    assert "<tuned>,accuracy,,False,1.0,0.7575" in table
    assert ",1.0,12,base,1.0,0.5150" in table


def test_the_terminal_says_who_is_better_and_what_failed(compared):
    text = as_text(read_comparison(compared.path))
    assert "<tuned>: Better than base: accuracy +1.000 (+0.515 to +1.000), ahead in 100% of the pairs" in text
    assert "bright (held out)" in text
    assert "failed: lost: no such file" in text
    assert "lost failed; the others are held against base" in text


def test_a_plan_shows_what_was_planned_and_what_was_used(compared):
    share = {"steps": 7, "planned": 0.5}
    plan = {"equal": "time", "budget": 0.5, "reference": "base", "entrants": {"base": share, "<tuned>": share}}
    text = as_text({**compared.content, "plan": plan})
    assert "base 7 pictures, 0.5 s planned and 0.1 used" in text
    assert "base, <tuned> missed the plan by more than 20%" in text
    assert "not at the same cost" not in text
    dear = {"base": share, "<tuned>": share | {"planned": 0.7}}
    assert "not at the same cost: <tuned>" in as_text({**compared.content, "plan": {**plan, "entrants": dear}})
    kept = {name: {"steps": 7, "planned": 0.1} for name in ("base", "<tuned>")}
    assert "missed" not in as_text({**compared.content, "plan": {**plan, "entrants": kept}})


def test_too_few_prompts_of_a_category_are_said():
    def table(name):
        scores = {ACCURACY: np.zeros((3, 1))}
        return Table(name=name, prompts=(0, 1, 2), categories=("counting", "counting", "position"), scores=scores)

    results = {
        **results_of([table("a"), table("b")]), "failed": {}, "rewards": [], "held_out": [], "trained_on": {"b": ["x"]},
    }  # fmt: skip
    text = as_text({"results": results, "plan": {}})
    assert "A category has 1 prompt only" in text
    assert "b says little here: x." in text


def test_the_plot_is_the_same_for_the_same_numbers(compared):
    results = read_comparison(compared.path)["results"]
    plot = trade_offs(results)
    assert plot == trade_offs(results)
    assert plot.lstrip().startswith(b"<?xml")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seconds", [(0.1, 0.1), (0.1, 0.11), (0.01, 9.0), (0.0, 0.0)])
def test_systems_of_any_costs_have_a_plot_with_their_names(compared, seconds):
    """Equal costs have no spread to draw, and very different ones no common scale but the logarithm's."""
    results = read_comparison(compared.path)["results"]
    for one, value in zip(results["entrants"], seconds, strict=True):
        results["fronts"]["points"][one["name"]]["seconds"] = value
    plot = trade_offs(results).decode()
    assert ">seconds per image</text>" in plot
    assert plot.count(">1  base</text>") == plot.count(">2  &lt;tuned&gt;</text>") == 1
    # Accuracy against rewards, diversity, seconds and forwards; rewards against the last three.
    assert plot.count(">1</text>") + plot.count(">1 2</text>") >= 7
    # A logarithm's ticks are powers of ten.
    assert ("10^" in plot or "mathdefault" in plot) == (seconds == (0.01, 9.0))


def test_a_folder_without_results_has_no_page(tmp_path):
    with pytest.raises(BadConfig, match="no finished comparison"):
        write_comparison_report(tmp_path)


def test_numbers_and_columns_by_hand():
    assert [number(value) for value in (None, 0.01234, 1.5, 1234.5)] == ["-", "0.0123", "1.5", "1234"]
    assert aligned(["a", "b"], [["one", "2"], ["x", "345"]]) == "a      b\none    2\nx    345"


class Stops(Bright):
    """Stops at the picture of a shade, with an error, with Ctrl-C, or with a score that is no number."""

    def __init__(self, *, at, by):
        super().__init__()
        self.at, self.by = at, by

    def __call__(self, images, prompts):
        found = super().__call__(images, prompts)
        here = (found - self.at).abs() < 0.01
        if here.any() and self.by is not None:
            raise self.by
        return found.where(~here, float("nan"))


@pytest.mark.parametrize(("by", "kept"), [(KeyboardInterrupt, [0, 1]), (None, [0, 1, 3])])
def test_what_a_reward_said_before_it_stopped_stays(drawn, by, kept):
    pictures = drawn.judged(range(4))
    stopped = BadConfig if by is None else by
    with pytest.raises(stopped):
        drawn.score(
            pictures, "bright", Stops(at=0.4, by=by), source={"name": "v1"}, put=lambda images: images, batch_size=2
        )
    again = EntrantFolder.there(drawn.path)
    assert again.scores_of("bright", again.judged(kept)) == pytest.approx([0.2 * row for row in kept], abs=1e-6)
    reward = Bright()
    ask(again, reward)
    assert reward.asked == 4 - len(kept)


def test_scores_are_written_in_one_move_after_each_batch(drawn, monkeypatch):
    written = []
    write = comparison.write_json
    monkeypatch.setattr(comparison, "write_json", lambda path, json: written.append(path.name) or write(path, json))
    drawn.score(drawn.judged(range(4)), "bright", Bright(), source="v1", put=lambda images: images, batch_size=3)
    assert written == ["scores.json"] * 2
