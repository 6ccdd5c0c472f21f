"""What reproductions that train share: the work that is done of them, what they keep, and how it is read."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from toys import Colour, Texture
from trained_claims import Means

from plaudit.claims.kept_trainings import (
    curves_of,
    keep_look,
    looks_in,
    made_once,
    measured_in,
    read_training,
    updates_in,
)
from plaudit.claims.markdown import estimate, interval, number
from plaudit.claims.scored_pictures import feature_set, features_seen, judged_by, raw_scores, trained_on
from plaudit.claims.work import Progress, finished, in_turn, seconds_of
from plaudit.core.errors import BadConfig
from plaudit.runs.files import write_json
from plaudit.runs.training import METRICS, Log

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Named:
    name: str


def steps_of(name, *shares, begun=None):
    if begun is not None:
        begun.append(name)
    for share in shares:
        yield Progress(training=Named(name), done=share, what="trained")


def test_shares_count_parts_by_their_costs_and_a_part_without_work_as_done():
    parts = [(1.0, steps_of("a", 0.5, 1.0)), (4.0, steps_of("b")), (5.0, steps_of("c", 0.2, 1.0))]
    assert [(progress.training.name, share) for progress, share in in_turn(parts)] == [
        ("a", pytest.approx(0.05)), ("a", pytest.approx(0.1)), ("c", pytest.approx(0.6)), ("c", pytest.approx(1.0)),
    ]  # fmt: skip


def test_a_part_begins_when_the_one_before_it_is_over():
    begun = []
    going = in_turn([(1.0, steps_of("a", 0.5, 1.0, begun=begun)), (1.0, steps_of("b", 1.0, begun=begun))])
    assert begun == []
    next(going)
    next(going)
    assert begun == ["a"]
    next(going)
    assert begun == ["a", "b"]


def test_trainings_come_with_their_results_or_not_at_all():
    results = {"a": {"curve": 1}, "b": {"curve": 2}}
    assert finished("ba", results.get) == [("b", {"curve": 2}), ("a", {"curve": 1})]
    with pytest.raises(BadConfig, match="2 of 3 trainings are not finished yet"):
        finished("axy", results.get)


def test_the_time_of_a_result_is_that_of_its_updates_and_of_every_picture_drawn():
    measured = {"few": {"seconds": 0.5, "right": [True, False]}, "many": {"seconds": 2.0, "right": [True]}}
    assert seconds_of({"curve": {"seconds": [1.0, 2.5]}, "measured": measured}) == 6.5
    assert seconds_of({"timing": {}, "measured": measured}) == 3.0


def test_looks_are_found_by_the_number_of_updates_with_their_pictures_beside_them(tmp_path):
    for done in (10, 0):
        keep_look(tmp_path, done, {"right": [done > 0]}, torch.rand(3, 4, 8))
    assert {file.name for file in (tmp_path / "looks").iterdir()} == {
        "000000.json", "000000.png", "000010.json", "000010.png",
    }  # fmt: skip
    assert list(looks_in(tmp_path).items()) == [("0", {"right": [False]}), ("10", {"right": [True]})]


def test_curves_are_of_updates_and_not_of_the_look_before_them(tmp_path):
    for line in ({"update": 0, "look_hps": 1.0}, {"update": 1, "kl": 0.5}, {"update": 2, "kl": 0.25, "rate": 3.0}):
        Log(tmp_path / METRICS).write(line)
    assert curves_of(updates_in(tmp_path), ("kl", "rate")) == {"kl": [0.5, 0.25], "rate": [None, 3.0]}


def test_a_training_is_read_when_it_is_whole(tmp_path):
    files = {name: tmp_path / f"{name}.json" for name in ("few", "many")}
    write_json(tmp_path / "result.json", {"curve": {}})
    write_json(files["few"], {"right": [True]})
    assert measured_in(files) == {"few": {"right": [True]}}
    assert read_training(tmp_path, files) is None
    write_json(files["many"], {"right": []})
    assert read_training(tmp_path, files) == {
        "curve": {},
        "measured": {"few": {"right": [True]}, "many": {"right": []}},
    }
    (tmp_path / "result.json").unlink()
    assert read_training(tmp_path, files) is None


def test_what_is_made_once_is_made_again_only_if_its_file_is_damaged(tmp_path):
    file, made = tmp_path / "real.json", []

    def make():
        made.append(1)
        return {"fid": 0.5}

    assert [made_once(file, make) for _ in range(2)] == [{"fid": 0.5}] * 2
    assert len(made) == 1
    file.write_text(json.dumps({"fid": 0.5})[:5])
    assert made_once(file, make) == {"fid": 0.5}
    assert len(made) == 2


def test_pictures_are_scored_by_what_is_trained_on_and_by_what_is_not():
    task = SimpleNamespace(rewards=("hps:2", "clip"), held_out="pickscore")
    assert trained_on(task) == ["hps", "clip"]
    assert judged_by(task) == ["hps", "clip", "pickscore"]
    with pytest.raises(BadConfig, match="the preset names none"):
        judged_by(SimpleNamespace(rewards=("hps",), held_out=None))


def test_a_picture_is_scored_and_seen_as_it_is_alone():
    images, texts = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)), ["a", "b", "c", "d", "e"]
    rewards, net = {"hps": Colour(), "clip": Texture()}, Means("one")
    found = raw_scores(rewards, images, texts, batch=2, device=CPU)
    seen = features_seen(net, images, batch=2, device=CPU)
    assert list(found) == ["hps", "clip"]
    for row in range(5):
        alone = images[row : row + 1]
        for name, reward in rewards.items():
            assert found[name][row] == pytest.approx(float(reward(alone, [texts[row]])))
        torch.testing.assert_close(seen[row], net(alone)[0])
    whole = feature_set(net, seen, groups=torch.arange(5))
    assert (whole.net, whole.fingerprint) == ("one", "means of one")
    torch.testing.assert_close(whole.moments.mean.float(), seen.mean(dim=0))


def test_numbers_have_as_many_digits_as_are_asked_for():
    assert number(0.123456, digits=1) == "0.1"
    assert number(0.123456, signed=True, digits=4) == "+0.1235"
    assert number(None, digits=1) == "-"
    assert interval(None) == "-"
    assert estimate({"value": 0.5, "low": 0.25, "high": 1.0}, digits=4) == "0.5000 (0.2500 to 1.0000)"
    assert estimate({"value": 0.5, "low": 0.25, "high": 1.0}) == "0.500 (0.250 to 1.000)"
