"""`plaudit train r0`: from a many-step model's folder to one that draws in few; stops lose nothing."""

import json

import pytest
import torch
from audited import check_audited
from safetensors.torch import load_file

from plaudit.generators.table import load_generator
from plaudit.presets.r0 import TASKS
from plaudit.runs.checkpoints import Checkpoints
from plaudit.shells.cli import main
from plaudit.shells.flags import parse
from plaudit.shells.train_r0 import COMMAND, SECTIONS, R0Options, task_of
from plaudit.shells.training_options import decisive

BRIGHT = """
class Bright:
    differentiable = True

    def __call__(self, images, prompts):
        return images.mean(dim=(1, 2, 3))
"""
SMALL = [
    "a red square", "two blue circle", "--updates", "4", "--images-per-update", "4", "--save-every", "2",
    "--steps", "2", "--shift", "1", "--start", "1", "--device", "cpu", "--lr", "0.01", "--guidance-weight", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    file = tmp_path_factory.mktemp("rewards") / "bright.py"
    file.write_text(BRIGHT)
    return f"{file}:Bright"


def train(folder, out, reward, *more):
    return main(["train", "r0", *SMALL, "--reward", reward, "--model", str(folder), "--out", str(out), *more])


@pytest.fixture(scope="module", params=["whole", "lora"])
def trained(request, sd_folder, bright, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train(sd_folder, out, bright, *(["--rank", "2"] if request.param == "lora" else [])) == 0
    return out


def lines_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_it_leaves_weights_a_sampler_a_log_looks_and_a_report(trained):
    lora = (trained / "pytorch_lora_weights.safetensors").is_file()
    assert (trained / "unet" / "diffusion_pytorch_model.safetensors").is_file() is not lora
    sampler = json.loads((trained / "scheduler/scheduler_config.json").read_text())
    assert sampler["_class_name"] == "EulerDiscreteScheduler"
    assert [line["update"] for line in lines_of(trained)] == [0, 1, 2, 3, 4]
    assert sorted(file.stem for file in (trained / "samples").glob("*.png")) == ["000000", "000002", "000004"]
    manifest = json.loads((trained / "run.json").read_text())
    assert (manifest["status"], manifest["method"]) == ("finished", "r0")
    assert manifest["sampling"] == {"steps": 2, "guidance": 1.0, "shift": 1.0, "start": 1.0}
    assert {"look_reward", "drift", "saturated"} <= set(lines_of(trained)[-1])
    assert "2503.13070" in (trained / "README.md").read_text()
    assert "Curves" in (trained / "report.html").read_text()
    check_audited(trained)


def test_it_gets_brighter(trained):
    looks = [line["look_reward"] for line in lines_of(trained) if "look_reward" in line]
    assert looks[-1] > looks[0]


def test_the_folder_draws_what_the_training_saw(trained, sd_folder):
    """The looks' own pictures, drawn from the folder by the generator's sampler."""
    from plaudit.core.random_streams import noise_for
    from plaudit.generators.denoising import denoising_of
    from plaudit.methods.denoising_walk import draw_few_steps

    tuned, base = load_generator(str(trained)), load_generator(str(sd_folder), steps=2)
    assert (tuned.steps, tuned.guidance) == (2, 1.0)
    keys = [(0, "look", number) for number in range(3)]
    prompts = ["a red square", "two blue circle", "a red square"]
    noise = noise_for(keys, tuned.noise_shape)
    with torch.no_grad():
        sampled = tuned.sample(noise, tuned.encode(prompts))
        before = base.sample(noise, base.encode(prompts))
    walked = draw_few_steps(denoising_of(tuned), keys, tuned.encode(prompts), grid=tuned.grid)
    assert torch.allclose(sampled, walked, atol=1e-5)
    assert (sampled - before).abs().max() > 1e-3


@pytest.mark.parametrize("steps", [1, 4])
def test_other_numbers_of_steps_are_drawn_too(trained, steps):
    tuned = load_generator(str(trained), steps=steps)
    assert len(tuned.grid) == steps
    assert int(tuned.grid.time[0]) == 999


def test_generate_draws_with_the_folder(trained, tmp_path, capsys):
    out = tmp_path / "pictures"
    line = ["generate", "a red square", "--method", "none", "--model", str(trained), "--out", str(out), "--json"]
    assert main([*line, "--reward", "compressibility", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["images"]


def test_a_stopped_training_goes_on_to_the_same_weights(sd_folder, bright, tmp_path, monkeypatch, capsys):
    from plaudit.methods.r0 import R0

    assert train(sd_folder, tmp_path / "whole", bright) == 0
    draw, calls = R0.draw, []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(self, *arguments)

    out = tmp_path / "run"
    monkeypatch.setattr(R0, "draw", stopping)
    assert train(sd_folder, out, bright) == 1
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C; 2 updates are kept" in said
    assert "plaudit train r0 --resume" in said
    monkeypatch.setattr(R0, "draw", draw)
    assert main(["train", "r0", "--resume", str(out), "--json", "--device", "cpu"]) == 0
    assert lines_of(out) == lines_of(tmp_path / "whole")
    first, second = (Checkpoints(place).newest().tensors for place in (out, tmp_path / "whole"))
    assert all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--steps", "two"], 2, "--steps takes whole numbers, got 'two'"),
        (["--steps", "0"], 1, "steps are one or more counts of at least 1, got [0]"),
        (["--truncation", "some"], 1, "a truncation is one, all, tail, last:N, noised:N or late:N, got 'some'"),
        (["--preset", "pocket-r1"], 2, "no preset of r0 is named 'pocket-r1'. Did you mean 'pocket-r0'?"),
        (["--normalise", "all"], 2, "--normalise takes one of latents, pixels, none, got 'all'"),
        (["--eta", "2"], 1, "eta is a share between 0 (no fresh noise) and 1, got 2.0"),
    ],
)
def test_what_cannot_work_gets_one_sentence(tmp_path, capsys, more, code, says):
    assert main(["train", "r0", *SMALL, "--reward", "clip", "--out", str(tmp_path / "run"), *more]) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_reward_without_a_gradient_is_refused(sd_folder, tmp_path, capsys):
    assert train(sd_folder, tmp_path / "run", "compressibility") == 1
    said = capsys.readouterr().err
    assert "R0 follows gradients, and the reward 'compressibility' has none" in said


def test_a_model_of_few_steps_is_refused(tmp_path, bright, capsys):
    assert train("pocket-lcm", tmp_path / "run", bright) == 1
    assert "is not a denoiser at every noise level; a Stable Diffusion 1, 2 or 3 is" in capsys.readouterr().err


def test_anothers_training_is_not_gone_on_with(trained, capsys):
    assert main(["train", "rlcm", "--resume", str(trained)]) == 1
    assert "is a training of another method; go on with: plaudit train r0 --resume" in capsys.readouterr().err


def test_flags_go_over_the_preset():
    said = {
        "shift": 3.0, "start": 0.9, "truncation": "all", "eta": 0.5, "rule": "ddim",
        "normalise": "none", "conflicts": "pcgrad",
        "guidance_weight": 0.25, "guidance_low": 0.1, "guidance_high": 0.9, "detail_weight": 0.5, "detail_high": 0.4,
        "pull": 0.75, "drift_limit": 0.125, "lr": 0.5, "warmup": 4, "decay": "cosine", "decay_to": 0.25,
        "grad_clip": 0.375, "ema": 0.875, "batch_size": 7, "updates": 11, "images_per_update": 6,
    }  # fmt: skip
    line = [f"--{name.replace('_', '-')}={value}" for name, value in said.items()]
    options = parse(COMMAND, [*line, "--steps", "1", "4", "--seed", "3", "--recompute", "--rank", "5"])
    task = task_of(options)
    assert {name: getattr(task.config, name) for name in said} == said
    assert (task.config.steps, task.config.seed, task.config.recompute) == ((1, 4), 3, True)
    assert (task.rank, task.alpha) == (5, 10.0)
    # What is recorded makes the same training again.
    again = R0Options(**{**decisive(options), "prompts": (), "reward": ()})
    assert task_of(again) == task


@pytest.mark.parametrize("name", TASKS)
def test_what_is_left_out_is_the_presets(name):
    assert task_of(R0Options(preset=name)) == TASKS[name]()


def test_the_help_page_has_its_sections_in_order_and_every_flag(capsys):
    import dataclasses

    assert main(["train", "r0", "--help"]) == 0
    page = capsys.readouterr().out
    places = [page.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(field.name for field in dataclasses.fields(R0Options))


def test_the_pocket_presets_prompts_are_not_the_suites():
    from plaudit.suites.pocket_eval import pocket_eval_prompts

    prompts = TASKS["pocket-r0-plus"]().prompts
    assert len(set(prompts)) == len(prompts) == 1024
    assert not set(prompts) & {prompt.text for prompt in pocket_eval_prompts()}


def test_the_safetensors_are_readable_alone(trained):
    files = [*trained.glob("*.safetensors"), *(trained / "unet").glob("*.safetensors")]
    assert files
    assert all(torch.isfinite(value).all() for file in files for value in load_file(file).values())
