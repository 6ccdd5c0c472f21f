"""A GPU whose memory is full: one sentence, what is kept, and how to go on with less. The error itself is torch's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plaudit.core.errors import PlauditError
from plaudit.runs import folder as folder_module
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.folder import RunFolder
from plaudit.shells import cli, training
from plaudit.shells.cli import COMMANDS, main

FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 4.81 MiB is "
    "free. If reserved but unallocated memory is large try setting an option to avoid fragmentation."
)
SMALL_TRAINING = [
    "a red square", "two blue circle", "--reward", "compressibility", "--steps", "3", "--updates", "3",
    "--prompts-per-update", "2", "--images-per-prompt", "2", "--rank", "2", "--save-every", "1", "--device", "cpu",
]  # fmt: skip


def said_by_us(capsys):
    """The one line of stderr, but for the note on prompts that a benchmark has too."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "trained on word by word" not in line]
    assert len(lines) == 1, lines
    return lines[0]


def full_after(calls, owner, name, monkeypatch):
    """Let a method answer so many times, then fail for want of memory."""
    honest, seen = getattr(owner, name), []

    def failing(self, *arguments, **keywords):
        seen.append(1)
        if len(seen) > calls:
            raise FULL
        return honest(self, *arguments, **keywords)

    monkeypatch.setattr(owner, name, failing)


@pytest.fixture
def line(sd_folder, clip_folder, tmp_path, monkeypatch):
    """Three images of a tiny model, in a folder that is the test's own."""
    monkeypatch.chdir(tmp_path)
    rewards = ["--reward", f"{clip_folder}:0.01"]
    return ["a circle", "a star", "a ring", "--model", str(sd_folder), *rewards, "--steps", "2"]


def test_a_run_without_memory_is_stopped_and_goes_on_with_fewer_images_at_once(line, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        full_after(1, folder_module.RunFolder, "keep", patch)
        assert main(["generate", *line, "--batch-size", "2", "--out", "half"]) == 1
    said = said_by_us(capsys)
    assert said == (
        "plaudit: the GPU is out of memory (20.00 MiB more were wanted); 2 of 3 images are finished and kept in 'half'"
        ". Continue with: plaudit generate --resume half --batch-size 1 (--memory GB plans for less)"
    )
    assert RunFolder.open(Path("half")).manifest["status"] == "stopped"
    assert main(["generate", "--resume", "half", "--batch-size", "1", "--device", "cpu"]) == 0
    assert RunFolder.open(Path("half")).finished_rows() == {0, 1, 2}


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        (["--batch-size", "16"], " --batch-size 1 "),
        (["--batch-size", "2"], " --batch-size 1 "),
        (["--batch-size", "1"], " "),
        (["--batch-size", "16", "--method", "evolve", "--steps", "9"], " --batch-size 8 "),
    ],
)
def test_the_batch_that_is_advised_is_smaller_than_the_one_that_was_drawn(line, monkeypatch, capsys, more, advice):
    with monkeypatch.context() as patch:
        full_after(0, folder_module.RunFolder, "keep", patch)
        assert main(["generate", *line, *more, "--out", "half"]) == 1
    assert f"--resume half{advice}(--memory GB plans for less)" in said_by_us(capsys)
    assert main(["generate", "--resume", "half", *advice.split()]) == 0


def test_a_training_without_memory_is_stopped_and_its_advice_can_be_followed(sd_folder, tmp_path, monkeypatch, capsys):
    from plaudit.methods.rlcm import Rlcm

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        full_after(2, Rlcm, "judge", patch)
        asked = [*SMALL_TRAINING, "--model", str(sd_folder), "--batch-size", "4", "--out", "run"]
        assert main(["train", "rlcm", *asked]) == 1
    assert said_by_us(capsys) == (
        "plaudit: the GPU is out of memory (20.00 MiB more were wanted); 2 updates are kept in 'run'. "
        "Go on with: plaudit train rlcm --resume run --batch-size 2"
    )
    assert json.loads(Path("run/run.json").read_text())["status"] == "stopped"
    assert main(["train", "rlcm", "--resume", "run", "--batch-size", "2", "--device", "cpu"]) == 0
    content = json.loads(Path("run/run.json").read_text())
    assert (content["status"], content["settings"]["batch_size"]) == ("finished", 2)
    assert Checkpoints(Path("run")).newest().facts["update"] == 3


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"batch_size": 1}, ""),
        ({"batch_size": 5}, " --batch-size 2"),
        ({"batch_size": 4, "draw_batch_size": 0}, " --batch-size 2"),
        ({"batch_size": 4, "draw_batch_size": 64}, " --batch-size 2 --draw-batch-size 32"),
        ({"batch_size": 1, "draw_batch_size": 8}, " --draw-batch-size 4"),
    ],
)
def test_a_training_that_draws_more_at_once_is_advised_both_sizes(config, advice):
    from types import SimpleNamespace

    assert training.fewer_at_once(SimpleNamespace(**config)) == advice


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("evaluate pocket", "; take a smaller --batch-size or --memory GB or --device cpu"),
        (
            "evaluate pocket --out mine",
            "; take a smaller --batch-size or --memory GB or --device cpu; what --out holds already is kept",
        ),
        # Whose memory is not planned.
        ("evaluate pocket --model pocket-llamagen-t2i", "; take a smaller --batch-size or --device cpu"),
        ("score a.png --prompt b", "; take a smaller --batch-size or --device cpu"),
        ("reproduce r0", "; what --out holds already is kept"),
        ("check reward hps", "; take --device cpu"),
        ("list rewards", ""),
    ],
)
def test_any_command_without_memory_is_one_sentence(line, advice, monkeypatch, capsys):
    import dataclasses

    def run(_):
        raise FULL

    name = line.split()[0]
    failing = dataclasses.replace(COMMANDS.find(name).resolve(), run=run)
    monkeypatch.setattr(type(COMMANDS.find(name)), "resolve", lambda _: failing)
    assert main(line.split()) == 1
    expected = f"plaudit: the GPU is out of memory (20.00 MiB more were wanted){advice}\n"
    assert capsys.readouterr().err == expected


def test_another_error_of_torchs_shows_its_traceback(line, monkeypatch):
    def wrong(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(folder_module.RunFolder, "keep", wrong)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        main(["generate", *line, "--out", "run"])


def test_no_torch_is_imported_to_know_its_error():
    code = (
        "import sys\nfrom plaudit.core.stops import full_memory\n"
        "assert full_memory() == ()\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_process_of_several_that_runs_out_of_memory_says_so_itself(monkeypatch, capsys):
    """The leader waits for it, and is ended with it, so that nobody else would say it."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli.time, "sleep", lambda _: None)

    def failing(error, cause):
        def run(_):
            raise error from cause

        monkeypatch.setattr(cli, "_run", run)
        assert main(["list"]) == 1
        return capsys.readouterr().err

    assert failing(PlauditError("the moon is down"), None) == ""
    assert failing(PlauditError("the moon is down"), FULL) == "plaudit: the moon is down\n"


def test_one_process_of_several_that_runs_out_of_memory_stops_the_training(tmp_path):
    """What the leader has recorded since the folder was opened here stays."""
    from types import SimpleNamespace

    from plaudit.core.team import Team
    from plaudit.runs.training_folder import TrainingFolder

    settings = {"prompts": ["a star"], "updates": 20}
    folder = TrainingFolder.create(tmp_path / "run", name="x", command="plaudit", settings=settings, sources={})
    here = TrainingFolder.open(folder.path)
    folder.manifest["settings"]["updates"] = 40
    folder.save()
    trainer = SimpleNamespace(team=Team(rank=1, size=2), config=SimpleNamespace(batch_size=4))
    method = SimpleNamespace(name="rlcm")
    with pytest.raises(PlauditError, match="out of memory"), training._keeping_what_is_saved(here, method, trainer):
        raise FULL
    told = TrainingFolder.open(folder.path).manifest
    assert (told["status"], told["settings"]["updates"]) == ("stopped", 40)


def test_an_error_that_does_not_tell_how_much_was_wanted_is_short():
    from plaudit.core.stops import what_lacked

    assert what_lacked(torch.OutOfMemoryError("HIP out of memory")) == "the GPU is out of memory"
    assert what_lacked(FULL) == "the GPU is out of memory (20.00 MiB more were wanted)"
