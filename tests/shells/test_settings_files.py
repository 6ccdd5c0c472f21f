"""What a file of settings may say, and what becomes of it beside a run or a picture to repeat."""

import json
from pathlib import Path

import pytest

from plaudit.runs import folder, training_folder
from plaudit.shells import generate
from plaudit.shells.cli import COMMANDS, main
from plaudit.shells.flags import parse

RUN = {"seed": 9, "steps": 30, "lr": 0.5, "reward": ["hps:5"], "prompts": ["a fox"], "batch_size": 4}
"""settings of a run to continue"""


def read(content, *typed, name="generate"):
    """The command's options from a file with this content, and what was typed beside it."""
    Path("c.yaml").write_text(content)
    return parse(COMMANDS.find(name).resolve(), [*typed, "--config", "c.yaml"])


def said_of(content, *typed, name, capsys):
    """What the program answers to a file that it refuses."""
    Path("c.yaml").write_text(content)
    assert main([*name.split(), *typed, "--config", "c.yaml"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run():
    """A generate run as far as settings go."""
    Path("run").mkdir()
    Path("run/run.json").write_text(json.dumps({"format": folder.FORMAT, "settings": RUN}))


@pytest.fixture
def training():
    """An R0 training as far as settings go."""
    Path("run").mkdir()
    settings = {"preset": "pocket-r0-plus", "lr": 0.5, "updates": 7, "steps": ["2"], "seed": 3}
    kind = {"kind": training_folder.KIND, "format": training_folder.FORMAT, "method": "r0"}
    Path("run/run.json").write_text(json.dumps({**kind, "settings": settings}))


@pytest.mark.parametrize(
    ("content", "field", "value"),
    [
        ("prompts: cat", "prompts", ("cat",)),
        ("prompts: three blue stars", "prompts", ("three blue stars",)),
        ("prompts: [a, 2, 0.5]", "prompts", ("a", "2", "0.5")),
        ("prompts: 7", "prompts", ("7",)),
        ("reward: hps:5", "reward", ("hps:5",)),
        ("reward: []", "reward", ()),
        ("model: 3", "model", "3"),
        ("out: 3", "out", Path("3")),
        ("prompts_file: prompts.txt", "prompts_file", Path("prompts.txt")),
        ("direct: true", "direct", True),
        ("direct: no", "direct", False),
        ("lr: null", "lr", None),
        ("lr: 1e-5", "lr", 1e-5),
        ("method: none", "method", "none"),
    ],
)
def test_a_file_says_what_its_options_take(content, field, value):
    assert getattr(read(content), field) == value


def test_numbers_among_the_counts_of_steps_are_read():
    from plaudit.shells.train_r0 import task_of

    assert read("steps: [1, 2]", name="train r0").steps == ("1", "2")
    assert task_of(read("steps: 2", name="train r0")).config.steps == (2,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "prompts: [a, null]",
            "sets 'prompts' to a list with null, and it takes a list of texts; put a text in quotes",
        ),
        ("prompts: [a, yes]", "sets 'prompts' to a list with true, and it takes a list of texts"),
        ("prompts: true", "sets 'prompts' to true, and it takes a list of texts; put a text in quotes"),
        ("prompts: [a: b]", "sets 'prompts' to a list with {'a': 'b'}, and it takes a list of texts"),
        ("prompts: [[a]]", "sets 'prompts' to a list with ['a'], and it takes a list of texts"),
        ("prompts: null", "sets 'prompts' to null; give it a text, or leave it out"),
        ("reward: {hps: 5}", "sets 'reward' to {'hps': 5}, and it takes a list of texts"),
        ("reward: 2026-01-31", "and it takes a list of texts; put a text in quotes"),
        ('direct: "no"', "sets 'direct' to 'no', and it takes one value, true or false"),
        ("direct: 1", "sets 'direct' to 1, and it takes one value, true or false"),
        ("direct: null", "sets 'direct' to null; give it true or false, or leave it out"),
        ("seed: null", "sets 'seed' to null; give it a whole number, or leave it out"),
        ("seed: true", "sets 'seed' to true, and it takes one value, a whole number"),
        ("grad-clip: [1]", "sets 'grad_clip' to [1], and it takes one value, a number"),
        ("method: [reno]", "sets 'method' to ['reno'], and it takes one value, one of reno, best-of-n, evolve, none"),
        ("model: {a: b}", "sets 'model' to {'a': 'b'}, and it takes one value, a text"),
        ("out: [a]", "sets 'out' to ['a'], and it takes one value, a path"),
        ("prompts: prompts.txt", "sets 'prompts' to 'prompts.txt', the name of a file; for the prompts in it write: "),
        ("prompts: mine", "write: prompts_file: mine"),
    ],
)
def test_what_no_option_takes_is_one_sentence_with_file_and_key(content, says, capsys):
    Path("mine").write_text("a fox")
    err = said_of(content, name="generate", capsys=capsys)
    assert err.startswith("plaudit: 'c.yaml' sets ")
    assert says in err


def test_only_where_there_is_prompts_file_a_files_name_is_no_prompt(capsys):
    Path("list.csv").write_text("a fox")
    assert "prompts_file: list.csv" in said_of("prompts: list.csv", name="train rlcm", capsys=capsys)
    assert read("names: [list.csv]", name="pocket build").names == ("list.csv",)
    assert read("prompts: 5", "pocket", name="evaluate").prompts == 5
    refused = said_of("prompts: list.csv", "pocket", name="evaluate", capsys=capsys)
    assert "--prompts takes a whole number, got 'list.csv'" in refused


@pytest.mark.parametrize("name", ["resume", "from_image", "from-image"])
def test_a_file_brings_no_run_of_its_own(name, capsys):
    err = said_of(f"{name}: run", name="generate", capsys=capsys)
    field, flag = name.replace("-", "_"), "--" + name.replace("_", "-")
    assert err == f"plaudit: 'c.yaml' sets '{field}', which brings settings of its own; type {flag} instead\n"


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("content", "leave_out"),
    [
        ("seed: 8", "--seed"),
        ("seed: 0", "--seed"),  # its default is not what the run says either
        ("prompts: [a cat]", "prompts"),
        ("prompts_file: more.txt", "--prompts"),
        ("lora: mine", "--lora"),
        ("reward: [hps:5, clip]", "--reward"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_whatever_a_file_says(content, leave_out, capsys):
    Path("more.txt").write_text("a cat\n")
    err = said_of(content, "--resume", "run", name="generate", capsys=capsys)
    says = f"--resume continues a run with its own settings; leave {leave_out} out, of 'c.yaml' too"
    assert err == f"plaudit: {says}\n"


@pytest.mark.usefixtures("run")
def test_a_file_beside_resume_may_say_what_the_run_says_and_what_no_picture_depends_on():
    Path("c.yaml").write_text(json.dumps({**RUN, "lr": "5e-1", "json": True, "momentum": 0.9, "batch_size": 16}))
    command = COMMANDS.find("generate").resolve()
    options = parse(command, ["--resume", "run", "--config", "c.yaml", "--device", "cpu"])
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in RUN.items()}
    assert {name: getattr(options, name) for name in own} == {**own, "batch_size": 16}
    assert (options.json, options.device, options.resume) == (True, "cpu", Path("run"))
    assert parse(command, ["--resume", "run", "--config", "c.yaml", "--batch-size", "2"]).batch_size == 2


@pytest.mark.usefixtures("run")
def test_the_file_that_a_run_was_begun_with_may_stay_beside_resume(capsys):
    """It names the run's folder and whence its prompts are, which no run records."""
    Path("all.txt").write_text("a fox\n")
    for content in ("out: run\nprompts_file: all.txt\nseed: 9", "out: ./run/\nprompts: [a fox]"):
        options = read(content, "--resume", "run")
        assert (options.prompts, options.prompts_file, options.out) == (("a fox",), None, None)
    Path("all.txt").write_text("a fox\na cat\n")
    assert "leave --prompts out" in said_of("prompts_file: all.txt", "--resume", "run", name="generate", capsys=capsys)
    assert "leave --out out" in said_of("out: other", "--resume", "run", name="generate", capsys=capsys)
    Path("all.txt").write_text("a fox\n")
    said = said_of("prompts: [a fox]\nprompts_file: all.txt", "--resume", "run", name="generate", capsys=capsys)
    assert "leave --prompts out" in said


@pytest.mark.usefixtures("run")
def test_a_flag_at_its_default_is_another_setting_than_the_runs(capsys):
    assert main(["generate", "--resume", "run", "--steps", "50"]) == 2
    assert capsys.readouterr().err.endswith("leave --steps out\n")


@pytest.mark.usefixtures("training")
def test_a_training_goes_on_with_its_own_settings_whatever_a_file_says(capsys):
    says = "--resume goes on with a training's own settings; leave {} out, of 'c.yaml' too"
    for content, flag in (("lr: 0.25", "--lr"), ("seed: 0", "--seed"), ("steps: [2, 3]", "--steps")):
        assert says.format(flag) in said_of(content, "--resume", "run", name="train r0", capsys=capsys)
    options = read("lr: 0.5\nsteps: 2\nupdates: 9", "--resume", "run", name="train r0")
    assert (options.lr, options.steps, options.updates, options.seed) == (0.5, ("2",), 9, 3)
    assert "type --resume instead" in said_of("resume: run", name="train r0", capsys=capsys)


def test_what_a_file_says_counts_as_typed_beside_a_picture(monkeypatch):
    seen = {}

    def of_image(typed):
        seen.update(typed)
        return {"seed": 9, "steps": 30, "plan": "theirs"}

    monkeypatch.setattr(generate, "_of_image", of_image)
    options = read("plan: mine\nsteps: 4", "--from-image", "a.png", "--steps", "5")
    assert (seen["plan"], seen["steps"]) == ("mine", 5)
    assert (options.plan, options.steps, options.seed) == ("mine", 5, 9)
