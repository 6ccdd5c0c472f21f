import pytest

from plaudit.core.errors import BadConfig
from plaudit.rewards.specs import OPTIONS, is_code, parse_spec
from plaudit.rewards.table import REWARDS


def parse(spec):
    return parse_spec(spec, REWARDS)


def test_options_follow_the_weight_in_any_order():
    spec = parse("hps:5:max=0.32:smooth=3:cache:normalise=group")
    assert (spec.name, spec.weight, spec.maximum, spec.smooth, spec.cache) == ("hps", 5.0, 0.32, 3, True)
    assert spec.normalise == "group"
    assert parse("HPS:normalise=group:cache:smooth=3:max=0.32:5") == spec


def test_an_option_without_a_value_has_the_usual_one():
    assert parse("hps:smooth").smooth == 4
    assert parse("hps:normalise").normalise == "running"


def test_what_is_normalised_has_the_usual_weight_one():
    assert parse("hps").weight == 5.0
    assert parse("hps:normalise").weight == 1.0
    assert parse("hps:2:normalise").weight == 2.0


@pytest.mark.parametrize(
    ("spec", "name", "weight"),
    [
        ("my_module:MyReward", "my_module:MyReward", 1.0),
        ("my_module:MyReward:0.5", "my_module:MyReward", 0.5),
        ("my.deep.module:reward:2:max=1", "my.deep.module:reward", 2.0),
        ("./file.py:MyReward", "./file.py:MyReward", 1.0),
        ("../some where/file.py:MyReward:-3", "../some where/file.py:MyReward", -3.0),
        ("C:\\mine\\file.py:MyReward:3", "C:\\mine\\file.py:MyReward", 3.0),
    ],
)
def test_a_users_own_reward_is_a_name_with_a_colon(spec, name, weight):
    found = parse(spec)
    assert is_code(found.name)
    assert (found.name, found.weight) == (name, weight)


@pytest.mark.parametrize("name", ["hps", "./my_clip", "a b:C", "module:", ":Class", "module:1"])
def test_other_names_are_no_code(name):
    assert not is_code(name)


def test_a_folder_with_colons_and_options(tmp_path):
    folder = tmp_path / "mine:2:max=1"
    folder.mkdir()
    found = parse(f"{folder}:4:max=3")
    assert (found.name, found.weight, found.maximum) == (str(folder), 4.0, 3.0)
    assert not is_code(str(folder))


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("HPS:2", "hps"),
        ("hps:cache", "hps"),
        ("hps:max=0.30:2", "hps:max=0.3"),
        ("hps:normalise=running:smooth=2:max=1", "hps:smooth=2:max=1:normalise"),
        ("m:R:normalise=group", "m:R:normalise=group"),
    ],
)
def test_a_label_holds_all_that_changes_the_number(spec, label):
    assert parse(spec).label == label
    assert parse(label).label == label


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hps:5:cahce", "'cahce' is no option. Did you mean 'cache'?"),
        ("hps:maxx=3", "there is no option 'maxx'. Did you mean 'max'?"),
        ("hps:colour=3", "There are: smooth, cache, max, normalise."),
        ("hps:normalize", "Did you mean 'normalise'?"),
        ("hps:max", "max takes a number"),
        ("hps:max=nan", "max takes a number"),
        ("hps:max=high", "got 'high'"),
        ("hps:smooth=0", "whole number of looks"),
        ("hps:smooth=2.5", "whole number of looks"),
        ("hps:cache=no", "cache takes no value"),
        ("hps:normalise=batch", "normalise or normalise=group"),
        ("hps:max=1:max=2", "says 'max' twice"),
        ("hps:1:2", "has two weights"),
        ("max=3", "no reward named"),
    ],
)
def test_what_cannot_work_is_one_sentence(spec, says):
    from plaudit.core.errors import PlauditError
    from plaudit.rewards.table import load_reward

    with pytest.raises(PlauditError, match=r".") as caught:
        load_reward(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_weight_means_nothing_for_a_reward_alone():
    from plaudit.rewards.table import load_reward

    with pytest.raises(BadConfig, match="a weight means nothing"):
        load_reward("compressibility:2")


def test_every_option_is_in_the_help(capsys):
    from plaudit.shells.cli import main

    assert main(["train", "rlcm", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option in out for option in OPTIONS)
