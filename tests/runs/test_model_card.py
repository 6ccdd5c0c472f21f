"""The model card of a training says what was trained, on what, and how to use it; its examples run."""

import dataclasses
import json
import re

import pytest
import torch
import yaml
from made_trainings import made_training
from safetensors.torch import save_file

from plaudit.core.random_streams import noise_for
from plaudit.generators.table import GENERATORS, load_generator
from plaudit.generators.tuned import Chosen, Patch
from plaudit.presets.rlcm import TASKS
from plaudit.runs import model_card
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.model_card import card, front_matter, write_model_card
from plaudit.runs.training import METRICS, Log
from plaudit.runs.training_folder import TrainingFolder

PROMPTS = ("a red square", "two blue `circle`\n# no heading", *(f"a star {number}" for number in range(8)))
CONFIG = dataclasses.replace(TASKS["pocket-compression"]().config, updates=2, lr=0.0625)
LOOKS = (
    {"update": 0, "look_reward": 1.0, "look_held_out": 2.0, "look_diversity": 0.5},
    {"update": 1, "reward": 1.2},
    {"update": 2, "reward": 1.4, "look_reward": 1.512345, "look_held_out": 2.25, "look_diversity": 0.4},
)


@pytest.fixture(scope="module", params=["lora", "whole"])
def training(request, sd_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    folder = made_training(path, sd_folder, whole=request.param == "whole")
    for line in LOOKS:
        Log(path / METRICS).write(line)
    (path / "samples").mkdir()
    for name in ("000000", "000001", "000002"):
        (path / "samples" / f"{name}.png").write_bytes(b"")
    write_model_card(folder, prompts=PROMPTS, config=CONFIG)
    return folder


def read(folder):
    """Front matter, and the text of each section by its heading."""
    text = (folder.path / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    parts = re.split(r"^## (.*)$", body, flags=re.MULTILINE)
    return yaml.safe_load(head), dict(zip(parts[1::2], parts[2::2], strict=True)), parts[0]


def test_the_hub_reads_base_licence_and_tags(training, sd_folder):
    from huggingface_hub import ModelCard

    data = ModelCard.load(training.path / "README.md").data
    whole = (training.path / "unet").is_dir()
    assert data.base_model == str(sd_folder)
    assert data.license == "unknown"
    assert data.pipeline_tag == "text-to-image"
    assert data.library_name == "diffusers"
    assert data.to_dict()["base_model_relation"] == ("finetune" if whole else "adapter")
    assert ("lora" in data.tags) is not whole
    assert {"rlcm", "plaudit", "text-to-image"} <= set(data.tags)


def test_it_tells_what_was_measured_before_and_after(training):
    _, sections, _ = read(training)
    text = sections["Before and after"]
    assert "| reward that was trained on | 1 | 1.512 |" in text
    assert "| held-out reward, never trained on | 2 | 2.25 |" in text
    assert "| ![before](samples/000000.png) | ![after](samples/000002.png) |" in text
    assert "over-trained" not in sections["Intended use and limits"]
    assert "more alike" in sections["Intended use and limits"]


def test_the_verdict_is_said_with_its_rule_and_remarks(training):
    assert "Verdict" not in card(training, prompts=PROMPTS, config=CONFIG)
    verdict = {"word": "hacked", "because": "one rose, the other fell", "remarks": ["More alike."], "rule": "By rule."}
    judged = TrainingFolder(training.path, {**training.manifest, "verdict": verdict})
    text = card(judged, prompts=PROMPTS, config=CONFIG).split("## Before and after")[1].split("## Base model")[0]
    assert "**Verdict: hacked.** one rose, the other fell. More alike.\n\nBy rule." in text


def test_rewards_that_lessons_only_watched_were_not_trained_on(training):
    lessons = TrainingFolder(training.path, {**training.manifest, "method": "plans"})
    text = card(lessons, prompts=PROMPTS, config=CONFIG)
    assert "| reward, watched only | 1 | 1.512 |" in text
    assert "reward that was trained on" not in text


def test_a_held_out_reward_that_fell_is_said_aloud(training):
    log = Log(training.path / METRICS)
    before = log.file.read_bytes()
    log.write({"update": 3, "look_reward": 1.6, "look_held_out": 1.9, "look_diversity": 0.6})
    limits = card(training, prompts=PROMPTS, config=CONFIG).split("## Intended use and limits")[1]
    log.file.write_bytes(before)
    assert "**The held-out reward fell while the trained one rose" in limits
    assert "more alike" not in limits


def test_what_ended_early_is_described_by_the_weights_that_were_left(sd_folder, tmp_path):
    folder = made_training(tmp_path / "run", sd_folder)
    log = Log(folder.path / METRICS)
    for line in (*LOOKS, {"update": 3, "look_reward": 1.6, "look_held_out": 1.0, "look_diversity": 0.1}):
        log.write(line)
    (folder.path / "samples").mkdir()
    for name in ("000000", "000002", "000003"):
        (folder.path / "samples" / f"{name}.png").write_bytes(b"")
    Checkpoints(folder.path).save(2, {"a": torch.zeros(1)}, {}, value=1.0)
    folder.manifest["ended_early"] = "the held-out reward fell"
    text = card(folder, prompts=PROMPTS, config=CONFIG)
    assert "| held-out reward, never trained on | 2 | 2.25 |" in text
    assert "![after](samples/000002.png)" in text
    assert "| updates made | 2 |" in text
    assert "Training ended early: the held-out reward fell." in text
    assert "over-trained" not in text


def test_rewards_prompts_and_settings_are_there(training):
    _, sections, _ = read(training)
    trained, held_out = sections["Rewards"].strip().splitlines()
    assert trained == "- compressibility (licence: Apache-2.0), weight 1"
    assert held_out == "- clip (licence: Apache-2.0), held out"
    assert sections["Prompts"].strip().splitlines()[0] == "10, among them:"
    assert "    two blue `circle` # no heading" in sections["Prompts"].splitlines()
    assert "a star 2" in sections["Prompts"]
    assert "a star 3" not in sections["Prompts"]
    assert "| lr | 0.0625 |" in sections["Settings"]
    assert "| updates made | 2 |" in sections["Settings"]
    assert ("| LoRA's rank | 2 |" in sections["Settings"]) is not (training.path / "unet").is_dir()
    assert "| command | `plaudit train &#124; here` |" in sections["Settings"]
    assert "arxiv.org/abs/2404.03673" in sections["Papers"]


def test_its_examples_in_python_draw_what_plaudit_draws(training):
    _, sections, _ = read(training)
    ours, theirs = re.findall(r"```python\n(.*?)```", sections["How to use it"], re.DOTALL)
    names: dict = {}
    exec(compile(ours, "ours", "exec"), names)
    exec(compile(theirs, "theirs", "exec"), names)
    assert names["image"].size == (16, 16)
    noise = noise_for([(0,)], names["generator"].noise_shape)
    steps = int(re.search(r"num_inference_steps=(\d+)", theirs)[1])
    assert steps == names["generator"].steps == 3
    drawn = names["pipe"](
        "a red square", num_inference_steps=steps, guidance_scale=1.0, latents=noise, output_type="pt"
    ).images
    with torch.no_grad():
        expected = names["generator"].sample(noise, names["generator"].encode(["a red square"]))
        plain = load_generator(training.manifest["settings"]["model"], steps=steps)
        base = plain.sample(noise, plain.encode(["a red square"]))
    torch.testing.assert_close(drawn.float(), expected, atol=5e-3, rtol=0)
    assert (expected - base).abs().max() > 0.02


def test_its_command_is_one_that_plaudit_takes(training):
    from plaudit.shells.flags import parse
    from plaudit.shells.generate import COMMAND

    _, sections, _ = read(training)
    line = re.search(r"```sh\nplaudit generate (.*)\n```", sections["How to use it"])[1]
    import shlex

    options = parse(COMMAND, shlex.split(line))
    assert options.prompts == ("a red square",)
    assert options.lora == str(training.path)
    assert options.method == "none"


def chosen_as(monkeypatch, model, tmp_path):
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file({"unet.to_q.lora_A.weight": torch.zeros(2, 4)}, file)
    patch = Patch(place=tmp_path, weights=file)
    monkeypatch.setattr(model_card, "choose", lambda _: Chosen(model=model, steps=None, patches=(patch,)))


@pytest.mark.parametrize("entry", [it for it in GENERATORS if it.facts.get("steps")], ids=lambda entry: entry.name)
def test_every_models_licence_is_said_as_the_hub_wants_it(entry, training, monkeypatch, tmp_path):
    chosen_as(monkeypatch, entry.name, tmp_path)
    found = front_matter(training)
    assert found["base_model"] == (entry.hub_id or entry.name)
    if entry.licence in ("Apache-2.0", "MIT"):
        assert found["license"] == entry.licence.lower()
        assert "license_link" not in found
    elif found["license"] == "other":
        assert re.fullmatch(r"[a-z0-9.+-]+", found["license_name"])
        assert found["license_link"].startswith("https://")
    assert entry.licence in card(training, prompts=PROMPTS, config=CONFIG)


def test_a_pocket_model_is_found_in_the_package_and_an_lcm_lora_is_laid_below(training, monkeypatch, tmp_path):
    chosen_as(monkeypatch, "pocket-base", tmp_path)
    text = card(training, prompts=PROMPTS, config=CONFIG)
    assert "pipe = DiffusionPipeline.from_pretrained(pocket_folder('pocket-base'))" in text
    assert "num_inference_steps=25, guidance_scale=3.0" in text
    chosen_as(monkeypatch, "lcm-lora-sd15", tmp_path)
    text = card(training, prompts=PROMPTS, config=CONFIG)
    assert "DiffusionPipeline.from_pretrained('stable-diffusion-v1-5/stable-diffusion-v1-5')" in text
    below = text.index("load_lora_weights('latent-consistency/lcm-lora-sdv1-5'")
    assert below < text.index(f"load_lora_weights({str(tmp_path)!r}")
    assert "LCMScheduler.from_config" in text


def test_a_training_without_looks_or_a_held_out_reward_has_a_card_too(sd_folder, tmp_path):
    folder = made_training(tmp_path / "run", sd_folder)
    folder.manifest["sources"]["held_out"] = None
    text = card(folder, prompts=["a star"], config=CONFIG)
    assert "held out" not in text.split("## Rewards")[1].split("##")[0]
    assert json.dumps("a star") in text
