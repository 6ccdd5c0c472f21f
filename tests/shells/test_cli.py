import dataclasses
import json
import os
import resource
import subprocess
import sys

import pytest

from plaudit.core.errors import PlauditError
from plaudit.shells import cli
from plaudit.shells.cli import COMMANDS, main
from plaudit.shells.flags import Command, field_docs, flag_of, help_page
from plaudit.shells.options import DrawingOptions, GenerateOptions

NAMES = [entry.name for entry in COMMANDS]
SLOW = ("torch", "diffusers", "transformers", "numpy", "scipy", "matplotlib", "cma", "rich")


def command(name: str) -> Command:
    return COMMANDS.find(name).resolve()


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_answers_at_once_and_imports_nothing_slow(name):
    code = (
        "import sys; from plaudit.shells.cli import main; code = main(sys.argv[1:]); "
        f"sys.exit(code or ' '.join(m for m in {SLOW} if m in sys.modules) or None)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *name.split(), "--help"], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "example" in done.stdout
    # Time of the processor, not of the clock: the test may share its machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_on_its_help_page_with_a_word_on_what_it_does(name):
    it = command(name)
    page = " ".join(help_page(it).split())
    for field in dataclasses.fields(it.options):
        shown = field.metadata.get("placeholder") if "positional" in field.metadata else flag_of(field)
        assert shown in page
        doc = field_docs(it.options)[field.name]
        assert doc
        # The page breaks words at hyphens; compare without spaces.
        assert doc.replace(" ", "").replace("-", "") in page.replace(" ", "").replace("-", "")


@pytest.mark.parametrize("name", NAMES)
def test_every_help_page_teaches_by_an_example_of_its_own(name):
    lines = [line.strip() for line in command(name).examples.strip().splitlines()]
    assert lines
    assert all(line.startswith(f"plaudit {name} ") or line == f"plaudit {name}" for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_help_pages_are_understood(name, monkeypatch):
    """Each line is parsed as a shell would hand it over; what it would do is not done."""
    import shlex

    from plaudit.shells import generate
    from plaudit.shells.flags import parse

    monkeypatch.setattr(generate, "_of_run", lambda _: {})
    monkeypatch.setattr(generate, "_of_image", lambda _: {})
    it = command(name)
    # Runs and trainings to go on with are not there.
    recorded = generate.recorded if name == "generate" else lambda _: {}
    it = dataclasses.replace(it, recorded=recorded if it.recorded else None)
    for line in it.examples.strip().splitlines():
        words = shlex.split(line.split("     ")[0])
        assert isinstance(parse(it, words[1 + len(name.split()) :]), it.options)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("generat x", "no command named 'generat'. Did you mean 'generate'?"),
        ("frobnicate", "no command named 'frobnicate'. See: plaudit --help"),
        ("generate x --stpes 3", "'plaudit generate' has no flag '--stpes'. Did you mean '--steps'?"),
        ("generate x --step 3", "'plaudit generate' has no flag '--step'. Did you mean '--steps'?"),
        ("generate x --steps=3 --see=3", "'plaudit generate' has no flag '--see'. Did you mean '--seed'?"),
        ("generate x -s 3", "'plaudit generate' has no flag '-s'."),
        ("generate x --steps three", "--steps takes a whole number, got 'three'."),
        ("generate x --lr fast", "--lr takes a number, got 'fast'."),
        ("generate x --method ren", "one of reno, best-of-n, evolve, none, got 'ren'. Did you mean 'reno'?"),
        ("generate x --steps", "--steps: expected one argument."),
        ("generate", 'say what to draw, for example: plaudit generate "three blue stars"'),
        ("generate --resume a --from-image b", "--resume and --from-image each bring their own settings"),
        ("generate x --resume a", "--resume continues a run with its own settings; leave prompts out"),
        ("generate --resume a --steps 3", "leave --steps out"),
        ("list modles", "no table named 'modles'. Did you mean 'models'?"),
        ("list", "the following arguments are required: table. See: plaudit list --help"),
        ("check rewrd x", "'rewrd' cannot be checked. Did you mean 'reward'?"),
        ("evaluate poket", "no suite named 'poket'. Did you mean 'pocket'?"),
        ("reproduce rino", "'rino' can be reproduced. Did you mean 'reno'?"),
        ("pocket", "'plaudit pocket' is followed by build or "),
        ("pocket biuld", "got 'biuld'. Did you mean 'build'?"),
        ("score", "the following arguments are required: images."),
        ("generate x --config none.yaml", "cannot read the settings in 'none.yaml': No such file"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence_and_exit_code_2(line, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("plaudit: ")
    assert err.count("\n") == 1
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_every_abbreviation_of_every_flag_is_refused(capsys):
    for field in dataclasses.fields(GenerateOptions):
        flag = flag_of(field)
        known = {flag_of(f) for f in dataclasses.fields(GenerateOptions)} | {"--config", "--help"}
        for end in range(3, len(flag)):
            if flag[:end] not in known:
                assert main(["generate", "x", flag[:end], "1"]) == 2
                assert f"no flag '{flag[:end]}'" in capsys.readouterr().err


def test_no_arguments_show_what_there_is_and_count_as_wrong_usage(capsys):
    assert main([]) == 2
    page = capsys.readouterr().out
    assert all(name in page for name in NAMES)
    assert main(["pocket", "--help"]) == 0
    assert "pocket show" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "plaudit 0.1.0\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing to say."""


def failing(error: BaseException) -> Command:
    def run(_: object) -> int:
        raise error

    return Command(
        name="list",
        purpose="",
        examples="plaudit list",
        options=NoOptions,
        run=run,
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PlauditError("the moon is down"), "plaudit: the moon is down\n"),
        (PermissionError(13, "Permission denied", "runs"), "plaudit: permission denied ('runs')\n"),
        (OSError(28, "No space left on device"), "plaudit: no space left on device\n"),
        (KeyboardInterrupt(), "plaudit: stopped by Ctrl-C; nothing was finished\n"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_exit_code_1(error, says, capsys, monkeypatch):
    monkeypatch.setattr(type(COMMANDS.find("list")), "resolve", lambda _: failing(error))
    assert main(["list"]) == 1
    assert capsys.readouterr().err == says


def test_a_bug_shows_its_traceback(monkeypatch):
    monkeypatch.setattr(type(COMMANDS.find("list")), "resolve", lambda _: failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_settings_come_from_a_file_and_flags_go_over_them(tmp_path):
    from plaudit.shells.flags import parse

    (tmp_path / "s.yaml").write_text("steps: 7\nreward: [hps:2, clip]\ngrad-clip: 0.5\nprompts: [a fox]\n")
    options = parse(command("generate"), ["--config", str(tmp_path / "s.yaml"), "--steps", "9"])
    assert (options.steps, options.grad_clip, options.reward) == (9, 0.5, ("hps:2", "clip"))
    assert options.prompts == ("a fox",)
    assert options.seed == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("stpes: 3", "sets 'stpes', which is no setting of this command. Did you mean 'steps'?"),
        ("steps: many", "--steps takes a whole number, got 'many'"),
        ("just words", "holds no settings"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_settings_file_is_wrong_usage(content, says, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(content)
    assert main(["generate", "x", "--config", str(tmp_path / "s.yaml")]) == 2
    assert says in capsys.readouterr().err


def test_the_flags_defaults_are_the_methods_own():
    from plaudit.methods.reno import RenoConfig

    own = {field.name: field.default for field in dataclasses.fields(RenoConfig)}
    flags = {field.name: field.default for field in dataclasses.fields(GenerateOptions)}
    assert flags["images_per_prompt"] == own.pop("images_per_prompt")
    assert {name: flags[name] for name in own} == own


def test_every_flag_reaches_the_methods_config():
    from plaudit.shells.drawing import config_of

    changed = DrawingOptions(
        steps=7, lr=0.5, momentum=0.5, grad_clip=0.7, prior_weight=0.2, seed=3, start_best_of=4, patience=6,
        guard_held_out=True, batch_size=5,
    )  # fmt: skip
    config = config_of(changed, images_per_prompt=2)
    assert config.images_per_prompt == 2
    for field in dataclasses.fields(config):
        if field.name != "images_per_prompt":
            assert getattr(config, field.name) == getattr(changed, field.name) != field.default
    search = config_of(DrawingOptions(method="evolve", steps=7, seconds=2.5, seed=3, batch_size=5), images_per_prompt=2)
    assert (search.forwards, search.seconds, search.seed) == (7, 2.5, 3)
    assert (search.batch_size, search.images_per_prompt) == (5, 2)


@pytest.mark.parametrize("table", ["models", "rewards", "suites", "presets"])
def test_each_table_is_an_array_of_named_rows(table, capsys):
    assert main(["list", table, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert rows
    assert all(row["name"] and row["summary"] for row in rows)
    assert err == ""
    assert main(["list", table]) == 0
    assert rows[0]["name"] in capsys.readouterr().out


def test_lists_of_models_and_rewards_wait_for_no_torch():
    code = "import sys; from plaudit.shells.cli import main; main(['list', 'models']); main(['list', 'rewards'])"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_reader_that_goes_away_is_no_error():
    line = f"{sys.executable} -m plaudit list models | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode <= cli.FAILED


ABORTS = "import atexit, os; from plaudit.shells.cli import console; atexit.register(os.abort); console()"


@pytest.mark.parametrize(("processes", "code"), [("1", -6), ("2", 0)])
def test_a_process_of_several_ends_before_anything_can_abort_its_exit(processes, code):
    environment = {**os.environ, "WORLD_SIZE": processes}
    done = subprocess.run(
        [sys.executable, "-c", ABORTS, "--version"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    if code == 0:
        assert done.stdout.startswith("plaudit ")


def test_a_process_of_several_ends_with_the_commands_code():
    environment = {**os.environ, "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "plaudit", "nothing"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no command named 'nothing'" in done.stderr
