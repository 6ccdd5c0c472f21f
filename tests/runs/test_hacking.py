"""When the trained reward rises and the held-out one falls."""

import json
from pathlib import Path

import pytest
from runs.test_training import new_trainer

from plaudit.core.errors import BadConfig
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.hacking import find_hacking
from plaudit.runs.training import METRICS, Keeping, train_in


def lines(*pairs):
    """Looks every two updates, with updates between that are not looked at."""
    found = []
    for number, (reward, held_out) in enumerate(pairs):
        found.append({"update": 2 * number, "look_reward": reward, "look_held_out": held_out})
        found.append({"update": 2 * number + 1, "reward": 0.0})
    return found


@pytest.mark.parametrize(
    ("pairs", "patience", "margin", "update"),
    [
        ([(0, 5), (1, 6), (2, 5.9), (3, 5.8)], 2, 0.0, 6),
        ([(0, 5), (1, 6), (2, 5.9), (3, 5.8)], 1, 0.0, 4),
        ([(0, 5), (1, 6), (2, 5.9), (3, 5.8)], 3, 0.0, None),
        # A new best begins anew; so does a look whose trained reward is not above the best look's.
        ([(0, 5), (1, 4), (2, 6), (3, 5)], 2, 0.0, None),
        ([(1, 5), (2, 4), (0, 4), (2, 4)], 2, 0.0, None),
        # Both falling is not hacking, nor is a fall within the margin.
        ([(3, 5), (2, 4), (1, 3)], 1, 0.0, None),
        ([(0, 5), (1, 4.6), (2, 4.4)], 1, 0.5, 4),
        # The start may be the best.
        ([(0, 5), (1, 4), (2, 3)], 2, 0.0, 4),
        ([], 1, 0.0, None),
    ],
)
def test_the_rule_by_hand(pairs, patience, margin, update):
    found = find_hacking(lines(*pairs), patience=patience, margin=margin)
    assert (found.update if found else None) == update


def test_what_it_says():
    found = find_hacking(lines((0, 5), (1, 6), (2, 5.5), (3, 5.25)), patience=2)
    assert str(found) == (
        "stopped after 6 updates: for 2 looks in a row the held-out reward was lower than after 2 updates "
        "(6 -> 5.25), and the trained one higher (1 -> 3)"
    )


def test_later_lines_change_nothing_of_the_moment():
    pairs = [(0, 5), (1, 4), (2, 3)]
    assert find_hacking(lines(*pairs), patience=1) == find_hacking(lines(*pairs, (9, 9)), patience=1)


def test_looks_without_a_held_out_reward_say_nothing():
    told = [{"update": n, "look_reward": float(n)} for n in range(5)]
    assert find_hacking(told, patience=1) is None


def look(done: int) -> dict[str, float]:
    """The held-out reward is best after four updates."""
    return {"reward": float(done), "held_out": -abs(done - 4.0)}


KEEPING = Keeping(save_every=2, look_every=1, stop_when_hacked=2)


def test_a_training_stops_there_with_a_checkpoint_of_its_best(tmp_path: Path) -> None:
    assert [update.index for update in train_in(tmp_path, new_trainer(), KEEPING, look=look)] == [0, 1, 2, 3, 4, 5]
    told = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert str(KEEPING.hacking_in(told)).startswith("stopped after 6 updates")
    checkpoints = Checkpoints(tmp_path)
    best, newest = checkpoints.best(), checkpoints.newest()
    assert best is not None
    assert newest is not None
    assert (best.facts["update"], newest.facts["update"]) == (4, 6)


def test_it_does_not_go_on_when_it_is_resumed(tmp_path: Path) -> None:
    list(train_in(tmp_path, new_trainer(), KEEPING, look=look))
    assert list(train_in(tmp_path, new_trainer(), KEEPING, look=look)) == []
    # Unless it is told that it may.
    assert len(list(train_in(tmp_path, new_trainer(), Keeping(save_every=2), look=look))) == 1


def test_a_stop_in_between_changes_nothing_of_when_it_stops(tmp_path: Path) -> None:
    for update in train_in(tmp_path, new_trainer(), KEEPING, look=look):
        if update.index == 4:
            break
    assert [update.index for update in train_in(tmp_path, new_trainer(), KEEPING, look=look)] == [4, 5]


def test_off_it_goes_on(tmp_path: Path) -> None:
    assert len(list(train_in(tmp_path, new_trainer(), Keeping(look_every=1), look=look))) == 7


@pytest.mark.parametrize("over", [{"stop_when_hacked": -1}, {"hacked_margin": -0.1}, {"hacked_margin": float("nan")}])
def test_settings_that_cannot_work_are_refused(over):
    with pytest.raises(BadConfig, match="must be at least 0"):
        Keeping(**over)
