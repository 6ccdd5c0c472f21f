"""What the flags of `plaudit train rlcm` change, and what a training leaves when something goes wrong."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from plaudit.core.devices import has_fast_bfloat16
from plaudit.presets.rlcm import TASKS
from plaudit.rewards.jpeg import JpegSize
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.looks import FixedLook
from plaudit.shells.cli import main
from plaudit.shells.flags import parse
from plaudit.shells.train_rlcm import COMMAND, SECTIONS, RlcmOptions, task_of
from plaudit.shells.training_options import decisive, overrides

SMALL = [
    "a red square", "two blue circle", "--reward", "compressibility", "--held-out", "incompressibility", "--steps", "3",
    "--updates", "3", "--prompts-per-update", "2", "--images-per-prompt", "2", "--rank", "2", "--save-every", "1",
    "--device", "cpu", "--lr", "0.01",
]  # fmt: skip


def failures_in(said):
    """Lines of stderr but the note on prompts that a benchmark has too."""
    return [line for line in said.splitlines() if "trained on word by word" not in line]


def train(model, out, *more):
    return main(["train", "rlcm", *SMALL, "--model", str(model), "--out", str(out), *more])


def newest(out):
    return Checkpoints(out).newest().tensors


def manifest_of(out):
    return json.loads((out / "run.json").read_text())


def test_flags_go_over_the_preset():
    said = {
        "comparison": "batch", "buffer_size": 5, "min_count": 3, "advantage_clip": 2.0, "objective": "ppo",
        "clip": 1.5, "rebel_scale": 2.0, "kl_weight": 0.5, "passes": 2, "steps_per_pass": 3, "lr": 0.5, "warmup": 4,
        "decay": "cosine", "decay_to": 0.25, "weight_decay": 0.125, "grad_clip": 0.75, "ema": 0.875, "batch_size": 7,
        "reward_threads": 2, "updates": 11, "prompts_per_update": 6, "images_per_prompt": 3,
    }  # fmt: skip
    config = TASKS["pocket-aesthetic"]().config
    assert set(said) == set(overrides(RlcmOptions(), config)) - {"seed", "keep_last_step"}
    line = [f"--{name.replace('_', '-')}={value}" for name, value in said.items()]
    options = parse(COMMAND, [*line, "--keep-last-step", "--seed", "3", "--alpha", "4.5"])
    task = task_of(options)
    assert {name: getattr(task.config, name) for name in said} == said
    assert (task.config.keep_last_step, task.config.seed, task.alpha) == (True, 3, 4.5)
    # What is recorded makes the same training again.
    again = RlcmOptions(**{**decisive(options), "prompts": (), "reward": (), "reward_threads": 2})
    assert task_of(again) == task


def test_what_is_left_out_is_the_presets():
    assert task_of(RlcmOptions()) == TASKS["pocket-aesthetic"]()
    assert task_of(RlcmOptions(images_per_prompt=1)).config.comparison == "batch"
    assert task_of(RlcmOptions(images_per_prompt=1, comparison="running")).config.comparison == "running"


def test_the_help_page_has_its_sections_in_order(capsys):
    assert main(["train", "rlcm", "--help"]) == 0
    page = capsys.readouterr().out
    places = [page.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)
    assert "torchrun --nproc-per-node 2 -m plaudit train rlcm" in page
    assert "--decay constant|linear|cosine" in page


def test_the_average_is_what_is_left(sd_folder, tmp_path):
    assert train(sd_folder, tmp_path / "run", "--ema", "0.9") == 0
    left = load_file(tmp_path / "run/pytorch_lora_weights.safetensors")
    kept = newest(tmp_path / "run")
    downs = [value for name, value in left.items() if "lora_A" in name or "lora.down" in name]
    averages = [value for name, value in kept.items() if name.startswith("average.")]
    weights = [value for name, value in kept.items() if name.startswith("weight.")]
    assert len(averages) == len(weights) == 2 * len(downs)
    assert all(any(torch.equal(down, average) for average in averages) for down in downs)
    assert not any(torch.equal(down, weight) for down in downs for weight in weights)


def test_every_weight_is_left_as_a_unet(sd_folder, tmp_path):
    import diffusers

    out = tmp_path / "run"
    assert train(sd_folder, out, "--rank", "0", "--updates", "2", "--lr", "0.001") == 0
    assert not (out / "pytorch_lora_weights.safetensors").exists()
    unet = diffusers.UNet2DConditionModel.from_pretrained(str(out), subfolder="unet")
    kept = newest(out)
    for number, (name, value) in enumerate(unet.named_parameters()):
        assert torch.equal(value, kept[f"weight.{number}"]), name


def test_threads_leave_the_same_weights(sd_folder, tmp_path):
    for threads in ("0", "2"):
        assert train(sd_folder, tmp_path / threads, "--reward-threads", threads, "--batch-size", "2") == 0
    one, other = newest(tmp_path / "0"), newest(tmp_path / "2")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="this CPU has no native bfloat16")
def test_the_precision_is_recorded_and_kept(sd_folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert train(sd_folder, out, "--precision", "bfloat16", "--updates", "1") == 0
    assert manifest_of(out)["settings"]["precision"] == "bfloat16"
    assert train(sd_folder, tmp_path / "full", "--updates", "1") == 0
    assert manifest_of(tmp_path / "full")["settings"]["precision"] == "float32"
    one, other = newest(out), newest(tmp_path / "full")
    assert not all(torch.equal(value, other[name]) for name, value in one.items())
    capsys.readouterr()
    # Where there is none, the training does not go on in another precision than it began in.
    monkeypatch.setattr("plaudit.core.devices.has_fast_bfloat16", lambda _: False)
    assert main(["train", "rlcm", "--resume", str(out), "--updates", "2", "--device", "cpu"]) == 1
    assert "no native bfloat16" in capsys.readouterr().err


def test_event_files_are_below_the_folder(sd_folder, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra 'log' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    assert train(sd_folder, out, "--report-to", "tensorboard", "--updates", "2") == 0
    assert main(["train", "rlcm", "--resume", str(out), "--updates", "3", "--report-to", "tensorboard"]) == 0
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [it.step for it in events.Scalars("look/reward")] == [0, 1, 2, 3]
    assert [it.value for it in events.Scalars("reward")] == pytest.approx([it["reward"] for it in logged[1:]])


def test_a_training_that_hacks_its_reward_stops_and_leaves_its_best(sd_folder, tmp_path, monkeypatch, capsys):
    """The looks say that the held-out reward was best after one update."""

    def scripted(_, done):
        return {"reward": float(done), "held_out": -abs(done - 1.0)}

    monkeypatch.setattr(FixedLook, "__call__", scripted)
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert train(sd_folder, out, "--updates", "5", "--stop-when-hacked", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ended_early"].startswith("stopped after 3 updates: for 2 looks in a row the held-out reward was lower")
    assert told["ended_early"].endswith("the weights left are those after 1 updates")
    assert (told["status"], told["updates"]) == ("finished", 3)
    assert manifest_of(out)["ended_early"] == told["ended_early"]
    assert told["ended_early"].replace(">", "&gt;") in (out / "report.html").read_text()
    # What is left are the weights after one update.
    assert train(sd_folder, whole, "--updates", "1") == 0
    best, expected = (load_file(it / "pytorch_lora_weights.safetensors") for it in (out, whole))
    assert all(torch.equal(value, expected[name]) for name, value in best.items())
    # Told to go on, it does, and nothing is left of the verdict.
    again = ["train", "rlcm", "--resume", str(out), "--stop-when-hacked", "0", "--device", "cpu"]
    assert main(again) == 0
    assert "ended_early" not in manifest_of(out)
    assert Checkpoints(out).newest().facts["update"] == 5


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_is_kept(sd_folder, tmp_path, monkeypatch, capsys):
    from plaudit.runs import checkpoints

    write = checkpoints.write_whole

    def full(path, content):
        if path.stem == "000002":
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    out = tmp_path / "run"
    monkeypatch.setattr(checkpoints, "write_whole", full)
    assert train(sd_folder, out) == 1
    said = capsys.readouterr().err.strip()
    assert len(failures_in(said)) == 1
    assert "no space left on device" in said
    assert "; 1 updates are kept in" in said
    assert manifest_of(out)["status"] == "stopped"
    assert Checkpoints(out).newest().facts["update"] == 1
    monkeypatch.setattr(checkpoints, "write_whole", write)
    assert main(["train", "rlcm", "--resume", str(out), "--device", "cpu"]) == 0
    assert Checkpoints(out).newest().facts["update"] == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda images: images.new_full((len(images),), math.nan), "reward 'compressibility' is not finite for a pic"),
        (lambda images: images.mean(), "must answer 4 images with as many scores"),
    ],
)
def test_a_reward_that_answers_nonsense_is_one_sentence(sd_folder, tmp_path, monkeypatch, capsys, answer, says):
    honest, seen = JpegSize.__call__, []

    def failing(self, images, prompts):
        if self.sign < 0 and len(images) == 4:
            seen.append(1)
        return answer(images) if len(seen) == 2 else honest(self, images, prompts)

    monkeypatch.setattr(JpegSize, "__call__", failing)
    out = tmp_path / "run"
    assert train(sd_folder, out) == 1
    said = capsys.readouterr().err.strip()
    assert len(failures_in(said)) == 1
    assert says in said
    assert "; 1 updates are kept in" in said
    assert Checkpoints(out).newest().facts["update"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--decay", "cosin"], 2, "--decay takes one of constant, linear, cosine, got 'cosin'. Did you mean 'cosine'?"),
        (["--ema", "1"], 1, "ema must be at least 0 (no average) and below 1, got 1.0"),
        (["--eta", "0"], 1, "eta must be above 0"),
        (["--report-to", "wandb"], 1, "a training reports to tensorboard or trackio, not to 'wandb'"),
        (["--reward", "clip", "--stop-when-hacked", "2"], 1, "--stop-when-hacked watches a held-out reward"),
        (["--stop-when-hacked", "-1"], 1, "stop_when_hacked must be at least 0"),
        (["--objective", "rebel"], 1, "REBEL compares 2 images per prompt"),
        (["--precision", "float16"], 2, "--precision takes one of float32, bfloat16, got 'float16'"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, code, says, tmp_path, capsys):
    assert main(["train", "rlcm", *arguments, "--device", "cpu", "--out", str(tmp_path / "run")]) == code
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(failures_in(said)) == 1
    assert not (tmp_path / "run").exists()
