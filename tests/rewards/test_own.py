"""A user's own reward: loaded by its name, guarded, and everything wrong with it said in one sentence."""

import json
import os
import subprocess
import sys

import pytest
import torch

from plaudit.core.errors import BrokenContract, PlauditError
from plaudit.rewards.own import OwnReward
from plaudit.rewards.table import load_reward, load_rewards
from plaudit.shells.cli import main

GOOD = """
class Brightness:
    differentiable = True
    raw_scale = (0.0, 1.0)

    def __call__(self, images, prompts):
        return images.flatten(1).mean(dim=1)

ready = Brightness()

def wrong_kind(images, prompts):
    return images

def judge(images, prompts):
    return images.flatten(1).mean(dim=1).detach()
judge.differentiable = False

class NeedsWeights:
    differentiable = True
    def __init__(self, folder): ...
    def __call__(self, images, prompts): ...

class OneArgument:
    differentiable = True
    def __call__(self, images): ...

class OneNumber:
    differentiable = True
    def __call__(self, images, prompts): return images.mean()

class Bytes:
    differentiable = True
    def __call__(self, images, prompts): return (images * 255).round().flatten(1).mean(dim=1) / 255

class NotANumber:
    differentiable = True
    def __call__(self, images, prompts): return images.flatten(1).mean(dim=1) * float("nan")

class Doubles:
    differentiable = True
    def __call__(self, images, prompts): return images.double().flatten(1).mean(dim=1)

class Raises:
    differentiable = True
    def __call__(self, images, prompts): return images @ prompts

class Silent:
    def __call__(self, images, prompts): return images
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with own_rewards_for_tests.py, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_rewards_for_tests.py").write_text(GOOD)
    yield tmp_path
    for name in ("own_rewards_for_tests", "broken", "falls", "asks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("source", ["own_rewards_for_tests", "./own_rewards_for_tests.py"])
@pytest.mark.parametrize("attribute", ["Brightness", "ready", "judge"])
@pytest.mark.usefixtures("mine")
def test_a_class_or_a_made_reward_loads_from_a_module_or_a_file(source, attribute):
    reward = load_reward(f"{source}:{attribute}")
    torch.testing.assert_close(reward(torch.full((2, 3, 4, 4), 0.25), ["a", "b"]), torch.tensor([0.25, 0.25]))
    assert reward.differentiable == (attribute != "judge")


@pytest.mark.usefixtures("mine")
def test_weight_options_and_scale_belong_to_own_rewards_too():
    mix = load_rewards(["./own_rewards_for_tests.py:Brightness:3:max=0.5"])
    (label,) = mix.parts
    assert label == "./own_rewards_for_tests.py:Brightness:max=0.5"
    torch.testing.assert_close(mix(torch.ones(1, 3, 2, 2), ["a"]), torch.tensor([1.5]))
    assert mix.scales == {label: (0.0, 1.0)}


def test_the_program_finds_a_module_in_the_working_folder(mine):
    """Unlike `python -m plaudit`, the installed program's path does not hold the working folder."""
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; from plaudit.shells.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, "check", "reward", "own_rewards_for_tests:Brightness:2"]
    done = subprocess.run(line, cwd=mine, capture_output=True, text=True, env={**os.environ, "PYTHONSAFEPATH": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "own_rewards_for_tests:Brightness keeps the contract of a reward" in done.stdout.replace(":2 ", " ")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:Mine", "there is no module 'no_such_module'"),
        ("no.such.module:Mine", "there is no module 'no'"),
        ("./no_such_file.py:Mine", "there is no file 'no_such_file.py'"),
        ("own_rewards_for_tests:Brightnes", "defines no 'Brightnes'. Did you mean 'Brightness'?"),
        ("hsp:5:Mine", "is not a number"),
        ("hpss:Mine", "Did you mean the reward 'hps'"),
        ("own_rewards_for_tests:wrong_kind", "have an attribute 'differentiable'"),
        ("own_rewards_for_tests:Silent", "have an attribute 'differentiable'"),
        ("own_rewards_for_tests:NeedsWeights", "cannot be made"),
        ("own_rewards_for_tests:OneArgument", "is called as reward(images, prompts), and it takes (images)"),
        ("own_rewards_for_tests:OneNumber", "3 images gave (), wanted (3,)"),
        ("own_rewards_for_tests:Doubles", "torch.float64"),
        ("own_rewards_for_tests:NotANumber", "scores must be finite"),
        ("own_rewards_for_tests:Bytes", "no gradient reaches the image"),
        ("own_rewards_for_tests:Raises", "scoring failed: TypeError"),
        ("own_rewards_for_tests:GOOD", "defines no 'GOOD'"),
        ("./broken.py:Mine", "SyntaxError"),
        ("broken:Mine", "broken.py, line 2)"),
        ("./falls.py:Mine", "importing 'falls.py' failed: ZeroDivisionError: division by zero"),
        ("falls:Mine", "falls.py, line 2)"),
        ("asks:Mine", "importing 'asks' failed: ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(name, says, mine, capsys):
    (mine / "broken.py").write_text("class Mine:\n    def (self)\n")
    (mine / "falls.py").write_text("class Mine: ...\n1 / 0\n")
    (mine / "asks.py").write_text("import not_there_at_all\n")
    assert main(["check", "reward", name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert says in err


@pytest.mark.usefixtures("mine")
def test_where_it_failed_is_the_line_of_the_users_code():
    reward = load_reward("./own_rewards_for_tests.py:Raises")
    line = next(number for number, text in enumerate(GOOD.splitlines(), 1) if "images @ prompts" in text)
    with pytest.raises(BrokenContract, match=rf"own_rewards_for_tests\.py, line {line}\)"):
        reward(torch.rand(1, 3, 4, 4), ["a"])


def test_our_own_errors_pass_as_they_are():
    class Refuses:
        differentiable = False

        def __call__(self, images, prompts):
            raise PlauditError("the server is asleep")

    with pytest.raises(PlauditError, match=r"^the server is asleep$"):
        OwnReward("mine", Refuses())(torch.rand(1, 3, 4, 4), ["a"])


@pytest.mark.usefixtures("mine")
def test_a_file_may_import_what_lies_beside_it(tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "beside_for_tests.py").write_text("LEVEL = 0.5\n")
    (elsewhere / "main_one.py").write_text(f"from beside_for_tests import LEVEL\n{GOOD}")
    assert load_reward(f"{elsewhere}/main_one.py:ready").differentiable


@pytest.fixture
def line(sd_folder, mine):
    assert mine.is_dir()
    return ["a red circle", "--model", str(sd_folder), "--steps", "3", "--out", "run"]


def test_generate_follows_it_and_records_its_file(line, mine):
    assert main(["generate", *line, "--reward", "./own_rewards_for_tests.py:Brightness:2", "--lr", "1"]) == 0
    manifest = json.loads((mine / "run" / "run.json").read_text())
    (source,) = manifest["sources"]["rewards"]
    import hashlib

    assert source["weights"] == {"own_rewards_for_tests.py": hashlib.sha256(GOOD.encode()).hexdigest()}
    assert (source["name"], source["weight"]) == ("./own_rewards_for_tests.py:Brightness", 2.0)
    (image,) = manifest["images"]
    assert image["total"] > image["first_total"]


def test_a_run_is_not_continued_under_changed_code(line, mine, capsys):
    assert main(["generate", *line, "--reward", "own_rewards_for_tests:Brightness"]) == 0
    (mine / "own_rewards_for_tests.py").write_text(GOOD + "\n# changed\n")
    assert main(["generate", "--resume", "run"]) == 1
    assert "is not the one that 'run' was begun with" in capsys.readouterr().err


def test_code_that_a_picture_names_runs_only_if_the_user_names_it(line, mine, capsys):
    spec = "./own_rewards_for_tests.py:Brightness"
    assert main(["generate", *line, "--reward", spec]) == 0
    (picture,) = (mine / "run" / "images").iterdir()
    (mine / "own_rewards_for_tests.py").write_text("open('it_ran', 'w')\n" + GOOD)
    assert main(["generate", "--from-image", str(picture), "--out", "again"]) == 1
    assert f"--reward {spec}" in capsys.readouterr().err
    assert not (mine / "it_ran").exists()
    assert main(["generate", "--from-image", str(picture), "--out", "again", "--reward", spec]) == 0
    assert (mine / "it_ran").exists()


@pytest.mark.parametrize("broken", ["NotANumber", "Raises", "OneNumber"])
def test_a_broken_one_stops_a_run_with_one_sentence(broken, line, capsys):
    method = ["--method", "best-of-n"]
    assert main(["generate", *line, *method, "--reward", f"own_rewards_for_tests:{broken}"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert broken in err


def test_it_trains(mine, sd_folder):
    small = ["--steps", "2", "--updates", "1", "--prompts-per-update", "2", "--images-per-prompt", "2", "--rank", "2"]
    given = ["--reward", "own_rewards_for_tests:judge:1", "--held-out", "./own_rewards_for_tests.py:Brightness:max=0.9"]
    assert main(["train", "rlcm", "a fox", "--model", str(sd_folder), "--out", "t", *small, *given]) == 0
    manifest = json.loads((mine / "t" / "run.json").read_text())
    assert manifest["sources"]["held_out"]["name"] == "./own_rewards_for_tests.py:Brightness"


@pytest.mark.usefixtures("mine")
def test_evaluate_searches_with_it(sd_folder):
    reward = ["--reward", "own_rewards_for_tests:Brightness"]
    few = ["--prompts", "6", "--images-per-prompt", "1", "--method", "best-of-n", "--steps", "2"]
    assert main(["evaluate", "pocket", "--model", str(sd_folder), *few, *reward, "--json"]) == 0
