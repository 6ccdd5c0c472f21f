import json

import pytest
import torch
from made_runs import SETTINGS, folder, result

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.core.picture_files import read_image
from plaudit.runs import folder as folder_module
from plaudit.runs.folder import RunFolder, RunStopped


def test_a_run_reads_back_as_it_was_written(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1)], seconds=1.5)
    again = RunFolder.open(tmp_path / "run")
    assert again.records == run.records
    assert again.manifest == json.loads(json.dumps(run.manifest))
    assert again.manifest["seconds"] == 1.5
    assert again.manifest["settings"] == SETTINGS
    assert again.finished_rows() == {0, 1}


def test_a_record_has_the_plans_of_the_kept_picture_and_of_the_first(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)], plan_of=lambda noise: "at last" if bool(noise.any()) else "at first")
    run.keep([result(1)])
    with_plans, without = RunFolder.open(run.path).records
    assert (with_plans.plan, with_plans.first_plan) == ("at last", "at first")
    assert (without.plan, without.first_plan) == (None, None)


def test_runs_of_before_there_were_plans_are_read(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0)])
    content = json.loads((run.path / "run.json").read_text())
    for name in ("plan", "first_plan"):
        del content["images"][0][name]
    (run.path / "run.json").write_text(json.dumps(content))
    assert RunFolder.open(run.path).records == run.records


def test_pictures_keep_their_size_and_values(tmp_path):
    run = folder(tmp_path / "run")
    (record,) = run.keep([result(0)])
    assert torch.equal(read_image(run.path / record.before_file), torch.zeros(3, 8, 8))
    torch.testing.assert_close(read_image(run.path / record.file), torch.full((3, 8, 8), 128 / 255))
    strip = read_image(run.path / record.strip_file)
    assert strip.shape == (3, 8, 24)
    torch.testing.assert_close(strip[0, 0, ::8], torch.tensor([0.0, 40.0, 120.0]) / 255)
    assert record.strip_steps == (0, 1, 3)


def test_the_judge_is_asked_about_prompts_of_the_pocket_world_only(tmp_path):
    pocket, other = folder(tmp_path / "run").keep([result(0), result(1, prompt="a photo of a fox")])
    assert pocket.before is not None
    assert not pocket.before.right
    assert pocket.before.reasons
    assert other.before is None
    assert other.after is None


def test_a_run_never_takes_a_folder_that_holds_anything(tmp_path):
    folder(tmp_path / "run").keep([result(0)])
    with pytest.raises(BadConfig, match="already holds a run"):
        folder(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(BadConfig, match="not empty"):
        folder(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match="is a file"):
        folder(tmp_path / "file")
    assert RunFolder.open(tmp_path / "run").finished_rows() == {0}


def test_runs_without_a_place_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [folder(None).path for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(path.parent.name == "runs" and "a-red-ring" in path.name for path in paths)


def test_an_image_whose_picture_is_gone_is_not_finished(tmp_path):
    run = folder(tmp_path / "run")
    run.keep([result(0), result(1)])
    (run.path / run.records[1].file).unlink()
    assert RunFolder.open(run.path).finished_rows() == {0}


def keep_two(run):
    with run.keeping_what_is_finished(2):
        run.keep([result(0)])
        run.keep([result(1)])


def keep_one_and_stop(run, error):
    with run.keeping_what_is_finished(2):
        run.keep([result(0)])
        raise error


def test_run_json_never_names_a_picture_that_is_not_there(tmp_path, monkeypatch):
    """The disk fills up at any one of the writes: what run.json lists is whole, and the run can go on."""
    whole_write = folder_module.write_whole
    for writes_that_fit in range(6):
        run = folder(tmp_path / f"run{writes_that_fit}")
        left = iter(range(writes_that_fit))

        def write(path, content, left=left):
            if next(left, None) is None:
                raise OSError(28, "No space left on device", str(path))
            whole_write(path, content)

        monkeypatch.setattr(folder_module, "write_whole", write)
        with pytest.raises(RunStopped, match=r"no space left on device.*--resume"):
            keep_two(run)
        monkeypatch.setattr(folder_module, "write_whole", whole_write)
        again = RunFolder.open(run.path)
        assert again.finished_rows() == {record.row for record in again.records}
        assert len(again.records) == (1 if writes_that_fit >= 3 else 0)
        assert again.manifest["status"] == "stopped"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyboardInterrupt(), "stopped by Ctrl-C; 1 of 2 images are finished"),
        (OSError(28, "No space left on device", "x.png"), "no space left on device"),
        (BadConfig("the reward gave no number."), "the reward gave no number; 1 of 2"),
    ],
)
def test_a_stopped_run_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, error, says):
    run = folder(tmp_path / "run it")
    with pytest.raises(RunStopped) as stopped:
        keep_one_and_stop(run, error)
    assert says in str(stopped.value)
    assert f"plaudit generate --resume '{tmp_path}/run it'" in str(stopped.value)
    assert isinstance(stopped.value, PlauditError)
    assert RunFolder.open(run.path).manifest["status"] == "stopped"


def test_a_bug_in_a_run_is_not_dressed_up(tmp_path):
    with pytest.raises(ZeroDivisionError), folder(tmp_path / "run").keeping_what_is_finished(1):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no run.json"),
        ("{", "not JSON"),
        ("[]", "does not know"),
        ('{"format": 99}', "does not know"),
        ('{"format": 1, "images": [{"row": 1}]}', "damaged"),
    ],
)
def test_a_folder_that_holds_no_run_is_refused_in_one_sentence(tmp_path, content, says):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadConfig, match=says):
        RunFolder.open(tmp_path)
