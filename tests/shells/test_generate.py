import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.runs import folder as folder_module
from plaudit.runs.folder import RunFolder
from plaudit.shells.cli import main
from plaudit.shells.generate import job_of
from plaudit.shells.options import GenerateOptions


@pytest.fixture
def models(sd_folder, clip_folder, image_reward_folder, tmp_path, monkeypatch):
    """Flags that name the tiny models, from a folder that is the test's own."""
    monkeypatch.chdir(tmp_path)
    return [
        "--model",
        str(sd_folder),
        "--reward",
        f"{clip_folder}:0.01",
        f"{image_reward_folder}:1",
        "--steps",
        "4",
    ]


def pictures(run: RunFolder) -> dict[int, torch.Tensor]:
    return {record.row: read_image(run.path / record.file) for record in run.records}


def drawn(*line: str) -> RunFolder:
    """The run that a command line, which must succeed, made in the folder its --out names."""
    assert main(["generate", *line]) == 0
    return RunFolder.open(Path(line[line.index("--out") + 1]))


def test_one_command_leaves_pictures_settings_and_report(models, capsys, tmp_path):
    prompts = ["a red circle", "a fox"]
    assert main(["generate", *prompts, *models, "--images-per-prompt", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert out.count("\n") == 1
    assert err == ""
    assert [image["prompt"] for image in answer["images"]] == ["a red circle"] * 2 + ["a fox"] * 2
    assert answer["images"][0]["before"]["right"] is False
    assert answer["images"][0]["after"]["reasons"]
    assert answer["images"][2]["after"] is None
    run = RunFolder.open(tmp_path / answer["run"])
    assert run.manifest["status"] == "finished"
    assert (run.path / "report.html").read_text().count("data:image/png") == 12
    for image, record in zip(answer["images"], run.records, strict=True):
        assert (tmp_path / image["file"]).is_file()
        assert image["total"] == record.total >= record.first_total
        assert len(record.trace) == 4
        weights = dict(zip(record.parts, (0.01, 1.0), strict=True))
        total = sum(weights[name] * value for name, value in record.parts.items())
        assert total == pytest.approx(record.total, rel=1e-5)
        assert set(image["parts"]) == set(image["first_parts"]) == set(weights)
        assert image["seconds"] > 0


def test_a_picture_can_be_drawn_again_from_itself_alone(models):
    run = drawn("a red circle", "a star", *models, "--images-per-prompt", "2", "--seed", "3", "--out", "first")
    for record in run.records:
        again = drawn("--from-image", str(run.path / record.file), "--out", f"again{record.row}")
        ((_, picture),) = pictures(again).items()
        assert torch.equal(picture, read_image(run.path / record.file))
        assert again.records[0].prompt == record.prompt
        assert again.records[0].total == pytest.approx(record.total, abs=1e-6)


def test_flags_go_over_the_settings_of_an_image(models):
    run = drawn("a star", *models, "--seed", "3", "--out", "first")
    picture = str(run.path / run.records[0].file)
    other = drawn("--from-image", picture, "--steps", "2", "--out", "shorter")
    assert len(other.records[0].trace) == 2
    assert other.records[0].trace == pytest.approx(run.records[0].trace[:2], abs=1e-5)
    renamed = drawn("a red ring", "--from-image", picture, "--out", "renamed")
    assert renamed.records[0].prompt == "a red ring"
    assert renamed.manifest["settings"]["seed"] == 3


def test_offsets_split_a_job_without_changing_a_picture(models):
    whole = pictures(drawn("a circle", "a star", *models, "--images-per-prompt", "2", "--out", "whole"))
    second = pictures(drawn("a star", *models, "--images-per-prompt", "2", "--prompt-offset", "1", "--out", "second"))
    assert {row: True for row in second} == {2: True, 3: True}
    assert all(torch.equal(picture, whole[row]) for row, picture in second.items())
    later = drawn("a circle", "a star", *models, "--image-offset", "1", "--out", "later")
    assert [record.image_index for record in later.records] == [1, 1]
    assert torch.equal(pictures(later)[1], whole[1])
    assert torch.equal(pictures(later)[3], whole[3])


def stop_after(batches: int, error: BaseException, monkeypatch) -> list[int]:
    """Let the run keep some batches, then fail; the rows of every batch that it was asked to keep."""
    keep = RunFolder.keep
    asked: list[int] = []

    def failing(self, results, **keywords):
        asked.extend(result.row for result in results)
        if len(asked) > batches:
            raise error
        return keep(self, results, **keywords)

    monkeypatch.setattr(folder_module.RunFolder, "keep", failing)
    return asked


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stopped_run_goes_on_where_it_was_and_ends_as_if_never_stopped(models, monkeypatch, capsys, error):
    line = ["a circle", "a star", "a ring", *models, "--batch-size", "1"]
    whole = drawn(*line, "--out", "whole")
    with monkeypatch.context() as patch:
        stop_after(1, error, patch)
        assert main(["generate", *line, "--out", "half"]) == 1
    err = capsys.readouterr().err
    assert "1 of 3 images are finished and kept in 'half'. Continue with: plaudit generate --resume half" in err
    assert err.count("\n") == 1
    assert RunFolder.open(Path("half")).finished_rows() == {0}
    with monkeypatch.context() as patch:
        drawn_now = stop_after(99, error, patch)
        assert main(["generate", "--resume", "half"]) == 0
    assert drawn_now == [1, 2]
    resumed = RunFolder.open(Path("half"))
    assert resumed.manifest["status"] == "finished"
    assert [r.trace for r in resumed.records] == [r.trace for r in whole.records]
    assert all(torch.equal(picture, pictures(resumed)[row]) for row, picture in pictures(whole).items())
    assert "a circle" in (resumed.path / "report.html").read_text()


def test_resuming_a_finished_run_draws_nothing(models, monkeypatch, capsys):
    run = drawn("a circle", *models, "--out", "run")
    before = (run.path / run.records[0].file).stat().st_mtime_ns
    asked = stop_after(0, AssertionError("it drew again"), monkeypatch)
    assert main(["generate", "--resume", "run", "--json"]) == 0
    assert asked == []
    assert (run.path / run.records[0].file).stat().st_mtime_ns == before
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["images"]) == 1


def test_a_run_is_not_continued_with_other_weights(models, capsys):
    run = drawn("a circle", *models, "--out", "run")
    manifest = json.loads((run.path / "run.json").read_text())
    manifest["sources"]["rewards"][0]["weights"]["model.safetensors"] = "0" * 64
    (run.path / "run.json").write_text(json.dumps(manifest))
    assert main(["generate", "--resume", "run"]) == 1
    assert "is not the one that 'run' was begun with" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["none", "best-of-n", "evolve"])
def test_every_method_leaves_the_same_kind_of_run(models, method, capsys):
    run = drawn("a circle", "a star", *models, "--steps", "20", "--method", method, "--out", "run")
    line = capsys.readouterr().out.splitlines()[0]
    assert (" -> " in line) is (method != "none")
    assert f"{run.records[0].total:.3f}" in line
    reno = drawn("a circle", "a star", *models, "--steps", "1", "--out", "reno")
    for record, other in zip(run.records, reno.records, strict=True):
        assert record.total >= record.first_total == pytest.approx(other.first_total, abs=1e-5)
        assert len(record.trace) == {"none": 1, "best-of-n": 20}.get(method, len(record.trace))
        assert method == "none" or record.total > record.first_total


def test_a_held_out_reward_is_recorded_and_not_optimised(models, image_reward_folder, capsys):
    clip = models[3]
    only_clip = [*models[:2], "--reward", clip, "--steps", "4"]
    alone = drawn("a circle", *only_clip, "--out", "alone")
    held = drawn("a circle", *only_clip, "--held-out", str(image_reward_folder), "--out", "held")
    assert held.records[0].trace == alone.records[0].trace
    assert held.manifest["sources"]["held_out"]["weights"]
    assert main(["generate", "x", *only_clip, "--held-out", clip.rpartition(":")[0]]) == 1
    assert "cannot be optimised and held out at once" in capsys.readouterr().err


def test_prompts_come_from_a_file_too(models, tmp_path):
    (tmp_path / "p.txt").write_text("\ufeffa circle\n\n  a star  \r\n", encoding="utf-8")
    run = drawn("a ring", *models, "--steps", "1", "--prompts", "p.txt", "--out", "run")
    assert [record.prompt for record in run.records] == ["a ring", "a circle", "a star"]
    assert run.manifest["settings"]["prompts"] == ["a ring", "a circle", "a star"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["", "a star"], "prompt 1 of 2 is empty"),
        (["a star", "   "], "prompt 2 of 2 is empty"),
        (["x", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["x", "--images-per-prompt", "0"], "--images-per-prompt must be at least 1"),
        (["x", "--lr", "-1"], "lr must be a positive number"),
        (["x", "--method", "reno", "--seconds", "3"], "--seconds belongs to best-of-n and evolve"),
        (["x", "--guard-held-out"], "name one with --held-out"),
        (["--prompts", "none.txt"], "cannot read the prompts file 'none.txt': no such file"),
        (["--prompts", "."], "cannot read the prompts file '.': is a directory"),
        (["--prompts", "binary"], "is not text in UTF-8"),
        (["--prompts", "blank"], "holds no prompt"),
        (["x", "--model", "pocket-trubo"], "no model named 'pocket-trubo'. Did you mean 'pocket-turbo'?"),
        (["x", "--reward", "hsp:5"], "no reward named 'hsp'. Did you mean 'hps'?"),
        (["x", "--reward", "hps:five"], "the weight in reward 'hps:five' is not a number"),
        (["x", "--device", "quantum"], "there is no device 'quantum' here"),
        (["--from-image", "binary"], "is not an image"),
        (["--from-image", "none.png"], "there is no file 'none.png'"),
        (["--resume", "."], "holds no run"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(line, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "blank").write_text("\n \n")
    assert main(["generate", *line]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("plaudit: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "blank"]


def test_no_permission_to_write_is_one_sentence(models, monkeypatch, capsys):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "locked/run")

    monkeypatch.setattr(folder_module.Path, "mkdir", refused)
    assert main(["generate", "a star", *models, "--out", "locked/run"]) == 1
    assert capsys.readouterr().err == "plaudit: permission denied ('locked/run')\n"


def test_an_image_without_a_score_is_named_and_the_others_are_kept(models, monkeypatch, capsys):
    from plaudit.rewards.image_reward import ImageReward

    score = ImageReward.__call__

    def broken(self, images, prompts):
        bad = torch.tensor([prompt == "a star" for prompt in prompts])
        return torch.where(bad, torch.nan, score(self, images, prompts))

    monkeypatch.setattr(ImageReward, "__call__", broken)
    assert main(["generate", "a circle", "a star", "a ring", *models, "--out", "run"]) == 1
    assert "no finite score for 'a star' from reward" in capsys.readouterr().err
    assert RunFolder.open(Path("run")).finished_rows() == {0, 2}


def test_ctrl_c_keeps_what_is_finished(models, tmp_path):
    """The real signal, in the middle of the real thing."""
    line = [sys.executable, "-m", "plaudit", "generate", *["a circle"] * 40, *models[:-2], "--steps", "200"]
    line += ["--batch-size", "1", "--out", "run"]
    # Under a shell that started us in the background, Ctrl-C is ignored, and a child would inherit that.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heed)
    deadline = time.monotonic() + 120
    # A picture is finished when it is recorded, not when its file is there.
    while not (tmp_path / "run" / "run.json").exists() or not RunFolder.open(tmp_path / "run").records:
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.startswith("plaudit: stopped by Ctrl-C; ")
    assert "Continue with: plaudit generate --resume run" in err
    run = RunFolder.open(tmp_path / "run")
    assert 0 < len(run.finished_rows()) < 40
    assert run.manifest["status"] == "stopped"


def test_rows_are_counted_as_the_methods_count_them():
    job = job_of(GenerateOptions(prompts=("a", "b"), images_per_prompt=2, image_offset=1, prompt_offset=3))
    assert job.images_per_prompt == 3
    assert job.rows == (10, 11, 13, 14)
    assert [job.prompts[row // 3] for row in job.rows] == ["a", "a", "b", "b"]
    with pytest.raises(BadConfig, match="prompt-offset must not be negative"):
        job_of(GenerateOptions(prompts=("a",), prompt_offset=-1))


def score_not(monkeypatch, *prompts: str) -> None:
    """Let a reward have no finite score for pictures of these prompts."""
    from plaudit.rewards.image_reward import ImageReward

    score = ImageReward.__call__

    def broken(self, images, asked):
        return torch.where(torch.tensor([it in prompts for it in asked]), torch.nan, score(self, images, asked))

    monkeypatch.setattr(ImageReward, "__call__", broken)


@pytest.mark.parametrize("size", ["1", "2", "16"])
def test_images_without_a_score_stop_no_other_in_any_batch(models, monkeypatch, capsys, size):
    line = ["a circle", "a star", "a ring", "a moon", "a fox", *models, "--batch-size", size]
    whole = pictures(drawn(*line, "--out", "whole"))
    capsys.readouterr()
    with monkeypatch.context() as patch:
        score_not(patch, "a star", "a moon")
        assert main(["generate", *line, "--out", "run", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no finite score for 'a star' from reward " in err
    assert ", 'a moon' from reward " in err
    assert "; 3 of 5 images are finished and kept in 'run'. Continue with: plaudit generate --resume run\n" in err
    run = RunFolder.open(Path("run"))
    assert run.manifest["status"] == "stopped"
    assert all(torch.equal(picture, whole[row]) for row, picture in pictures(run).items())
    assert set(pictures(run)) == {0, 2, 4}
    page = run.report.read_text()
    assert "a fox" in page
    assert "stopped" in page
    # Once the reward is mended, what is left is drawn as if nothing had happened.
    assert main(["generate", "--resume", "run"]) == 0
    mended = RunFolder.open(Path("run"))
    assert mended.manifest["status"] == "finished"
    assert all(torch.equal(picture, pictures(mended)[row]) for row, picture in whole.items())


@pytest.mark.parametrize("method", ["none", "best-of-n", "evolve"])
def test_every_method_goes_on_after_an_image_without_a_score(models, monkeypatch, capsys, method):
    score_not(monkeypatch, "a circle")
    line = ["a circle", "a star", *models, "--steps", "9", "--method", method, "--batch-size", "1", "--out", "run"]
    assert main(["generate", *line]) == 1
    assert "no finite score for 'a circle' from reward" in capsys.readouterr().err
    assert RunFolder.open(Path("run")).finished_rows() == {1}


def test_a_run_in_which_no_image_has_a_score_says_so(models, monkeypatch, capsys):
    prompts = [f"star number {number}" for number in range(7)]
    score_not(monkeypatch, *prompts)
    line = [*prompts, *models, "--steps", "1", "--images-per-prompt", "2", "--batch-size", "4"]
    assert main(["generate", *line, "--out", "run"]) == 1
    err = capsys.readouterr().err
    assert "no finite score for any image: 'star number 0' from reward " in err
    assert "'star number 4' from reward" in err
    assert "'star number 5'" not in err
    assert " and 2 more prompts; 0 of 14 images are finished" in err
