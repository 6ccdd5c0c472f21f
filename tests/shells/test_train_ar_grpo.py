"""`plaudit train ar-grpo`: a token model's folder in, a better transformer out; stops lose nothing."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from audited import check_audited
from safetensors.torch import load_file

from plaudit.core.devices import has_fast_bfloat16
from plaudit.core.picture_files import read_image
from plaudit.generators.llamagen_files import save_llamagen
from plaudit.generators.table import load_generator, load_token_policy
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import draw_pictures
from plaudit.presets.ar_grpo import TASKS
from plaudit.rewards.loo_fid import LeaveOneOutFID
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.looks import FixedLook, sheet
from plaudit.shells.cli import main
from plaudit.shells.flags import parse
from plaudit.shells.train_ar_grpo import COMMAND, SECTIONS, ArGrpoOptions, look_sampling, task_of
from plaudit.shells.training_options import decisive, overrides, with_model
from plaudit.suites import reference_sets

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_token_models import small_policy

CLASSES = ("a red circle", "a blue ring", "a green star", "a pink heart", "a cyan cross")
BRIGHT = """
class Bright:
    differentiable = False

    def __call__(self, images, prompts):
        return images.mean(dim=(1, 2, 3))


class Dark(Bright):
    def __call__(self, images, prompts):
        return -super().__call__(images, prompts)
"""
SMALL = [
    *CLASSES[:3], "--updates", "4", "--prompts-per-update", "2", "--images-per-prompt", "4", "--save-every", "2",
    "--device", "cpu", "--lr", "0.03", "--start-images", "12", "--reference", "renders", "--warmup", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    file = tmp_path_factory.mktemp("rewards") / "bright.py"
    file.write_text(BRIGHT)
    return f"{file}:Bright", f"{file}:Dark"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llamagen")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_llamagen(small_policy(CLASSES), folder)
    return folder


@pytest.fixture(autouse=True)
def _few_renders(monkeypatch):
    monkeypatch.setattr(reference_sets, "MANY", 24)


@pytest.fixture(scope="module")
def train(model, rewards, clip_folder):
    def run(out, *more):
        line = ["train", "ar-grpo", *SMALL, "--model", str(model), "--net", str(clip_folder), "--reward", rewards[0]]
        return main([*line, "--held-out", rewards[1], "--out", str(out), *more])

    return run


@pytest.fixture(scope="module")
def trained(train, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_sets, "MANY", 24)
        assert train(out, "--ema", "0.5", "--kl-weight", "0.01") == 0
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before, "the model itself stays as it was"
    return out


def lines_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def newest(out):
    return Checkpoints(out).newest().tensors


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_it_leaves_a_transformer_a_log_looks_a_card_and_a_report(trained, model):
    assert [line["update"] for line in lines_of(trained)] == [0, 1, 2, 3, 4]
    assert sorted(file.stem for file in (trained / "samples").glob("*.png")) == ["000000", "000002", "000004"]
    manifest = json.loads((trained / "run.json").read_text())
    assert (manifest["status"], manifest["method"]) == ("finished", "ar-grpo")
    assert manifest["settings"]["model"] == str(model)
    assert manifest["sampling"] == {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    told = manifest["sources"]["distribution"]
    assert told["reference"] == {"pictures": "24 renders of 3 prompts, seed 0", "count": 24}
    assert told["net"]["fingerprint"]
    last = lines_of(trained)[-1]
    wanted = {"distribution_distance", "entropy", "entropy_coefficient", "kl", "equal_groups", "off_policy"}
    assert wanted | {"look_reward", "look_held_out", "look_diversity"} <= set(last)
    assert last["kl"] > 0, "the start stays where it was"
    check_audited(trained)
    report = (trained / "report.html").read_text()
    assert "distance of all pictures from real ones" in report
    assert "entropy, as a share" in report
    left, before = load_file(trained / "transformer.safetensors"), load_file(model / "transformer.safetensors")
    assert left.keys() == before.keys()
    assert not same(left, before)
    assert all(value.isfinite().all() for value in left.values())


def test_it_gets_brighter(trained):
    looks = [line["look_reward"] for line in lines_of(trained) if "look_reward" in line]
    assert looks[-1] > looks[0] + 1e-4


def test_what_is_left_are_the_averaged_weights(trained):
    left, kept = load_file(trained / "transformer.safetensors"), newest(trained)
    names = [name for name, _ in load_token_policy(str(trained)).transformer.named_parameters()]
    assert all(torch.equal(left[name], kept[f"average.{number}"]) for number, name in enumerate(names))
    assert not all(torch.equal(left[name], kept[f"weight.{number}"]) for number, name in enumerate(names))


def test_the_folder_draws_the_looks_own_pictures(trained):
    """Unguided, where the row or folder of the model may say otherwise."""
    generator = load_generator(str(trained))
    assert isinstance(generator, TokenGenerator)
    assert generator.sampling == Sampling()
    texts = [prompt for prompt in CLASSES[:3] for _ in range(4)]
    keys = [(0, "look", number) for number in range(12)]
    images = draw_pictures(generator.policy, generator.encode(texts), keys, generator.sampling, batch_size=5)
    kept = read_image(trained / "samples" / "000004.png")
    torch.testing.assert_close(sheet(images, 4), kept, atol=0.51 / 255, rtol=0)
    first = read_image(trained / "samples" / "000000.png")
    assert (first - kept).abs().max() > 1 / 255


def test_the_folder_remembers_the_guidance_that_it_is_to_be_drawn_with(train, trained, tmp_path):
    out, over = tmp_path / "run", tmp_path / "over"
    assert train(out, "--updates", "1", "--look-guidance", "2", "--net", "none") == 0
    generator = load_generator(str(out))
    assert generator.sampling == Sampling(guidance=2.0)
    keys = [(0, "look", number) for number in range(4)]
    images = draw_pictures(generator.policy, generator.encode([CLASSES[0]] * 4), keys, generator.sampling, batch_size=4)
    kept = read_image(out / "samples" / "000001.png")[:, : images.shape[-1]]
    torch.testing.assert_close(sheet(images, 4), kept, atol=0.51 / 255, rtol=0)
    # The last training over a model says how it is drawn.
    assert train(over, "--updates", "1", "--model", str(out), "--net", "none") == 0
    assert load_generator(str(over)).sampling == Sampling()
    assert load_generator(str(trained), lora=str(out)).sampling == Sampling(guidance=2.0)


def test_the_card_says_how_to_draw_with_it_and_nothing_of_diffusers(trained):
    text = (trained / "README.md").read_text()
    assert "2603.23086" in text
    assert "LOO-FID on" in text
    assert "against 24 pictures (24 renders of 3 prompts, seed 0), weight 2" in text
    assert f'--method none --model "{trained}"' in text
    assert "diffusers" not in text.split("## Settings")[0]
    assert "library_name: plaudit" in text
    assert "guidance 1, temperature 1" in text


@pytest.mark.parametrize("naming", ["--model", "--lora"])
def test_generate_draws_with_the_folder(trained, tmp_path, capsys, naming):
    out = tmp_path / "pictures"
    line = ["generate", "a red circle", "--method", "none", naming, str(trained), "--out", str(out), "--json"]
    assert main([*line, "--reward", "compressibility", "--device", "cpu"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["settings"]["guidance"] == 1.0
    picture = made["images"][0]["file"]
    # The picture knows which weights it was drawn with, and is drawn again from itself.
    again = ["generate", "--from-image", picture, "--out", str(tmp_path / "again"), "--device", "cpu", "--json"]
    assert main(again) == 0
    other = json.loads(capsys.readouterr().out)["images"][0]["file"]
    assert torch.equal(read_image(Path(picture)), read_image(Path(other)))


def test_a_training_goes_on_from_another_one(train, trained, tmp_path, capsys):
    out = tmp_path / "second"
    assert train(out, "--model", str(trained), "--updates", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["updates"] == 1
    both = load_generator(str(out))
    assert same(dict(both.policy.transformer.state_dict()), load_file(out / "transformer.safetensors"))
    looks = [line for line in lines_of(out) if "look_reward" in line]
    assert looks[0]["look_reward"] == pytest.approx(lines_of(trained)[-1]["look_reward"], abs=1e-6)
    assert "It had been tuned before" in (out / "README.md").read_text()


def test_a_stopped_training_goes_on_to_the_same_weights_and_memory(train, trained, tmp_path, monkeypatch, capsys):
    from plaudit.methods.ar_grpo import ArGrpo

    act, calls = ArGrpo.act, []

    def stopping(self, update):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return act(self, update)

    out = tmp_path / "run"
    monkeypatch.setattr(ArGrpo, "act", stopping)
    assert train(out, "--ema", "0.5", "--kl-weight", "0.01") == 1
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C; 2 updates are kept" in said
    assert "plaudit train ar-grpo --resume" in said
    monkeypatch.setattr(ArGrpo, "act", act)
    # What the model drew before training is in the checkpoint, and need not be drawn again.
    begun = []
    monkeypatch.setattr("plaudit.shells.train_ar_grpo._before_training", lambda *_: begun.append(1))
    assert main(["train", "ar-grpo", "--resume", str(out), "--json", "--device", "cpu"]) == 0
    assert begun == []
    assert lines_of(out) == lines_of(trained)
    assert same(newest(out), newest(trained))
    assert same(load_file(out / "transformer.safetensors"), load_file(trained / "transformer.safetensors"))


def test_one_that_was_stopped_before_its_first_checkpoint_begins_as_it_did(train, trained, tmp_path, monkeypatch):
    from plaudit.methods.ar_grpo import ArGrpo

    out, act = tmp_path / "run", ArGrpo.act
    with monkeypatch.context() as patch:
        patch.setattr(ArGrpo, "act", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert train(out, "--ema", "0.5", "--kl-weight", "0.01") == 1
    assert ArGrpo.act is act
    assert main(["train", "ar-grpo", "--resume", str(out), "--device", "cpu"]) == 0
    assert lines_of(out) == lines_of(trained)


def test_the_memory_begins_with_pictures_of_the_model_before_training(train, tmp_path, monkeypatch):
    seen = []
    make = LeaveOneOutFID.__init__

    def noting(self, net, reference, *, start=None, settings=None):
        seen.append((reference, start, settings))
        make(self, net, reference, start=start, settings=settings)

    monkeypatch.setattr(LeaveOneOutFID, "__init__", noting)
    loo = ["--covariance", "diagonal", "--memory-decay", "0.25", "--shrinkage", "0.125"]
    assert train(tmp_path / "run", "--updates", "1", *loo, "--batch-size", "5") == 0
    assert train(tmp_path / "guided", "--updates", "1", "--guidance", "3") == 0
    (reference, start, settings), (_, guided, usual) = seen
    assert (reference.moments.count, start.moments.count) == (24, 12)
    assert (settings.covariance, settings.form) == ("diagonal", "potential")
    assert (settings.decay, settings.shrinkage) == (0.25, 0.125)
    assert usual == TASKS["pocket-llamagen"]().memory
    # Drawn as those to be scored: guided ones with the same streams are others.
    assert not torch.allclose(guided.moments.mean, start.moments.mean)


def test_no_net_is_no_distribution_reward(train, tmp_path):
    out = tmp_path / "run"
    assert train(out, "--updates", "1", "--net", "none") == 0
    assert "distribution_distance" not in lines_of(out)[-1]
    assert json.loads((out / "run.json").read_text())["sources"]["distribution"] is None
    assert "LOO-FID on" not in (out / "README.md").read_text()


def test_a_folder_and_a_file_of_statistics_are_references_too(train, clip_folder, tmp_path):
    from plaudit.rewards.feature_table import load_feature_net
    from plaudit.runs.provenance import png_bytes

    for number in range(4):
        image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(number))
        (tmp_path / f"{number}.png").write_bytes(png_bytes(image))
    net = load_feature_net(str(clip_folder))
    reference_sets.picture_folder(tmp_path).features(net).save(tmp_path / "real.safetensors")
    assert train(tmp_path / "one", "--updates", "2", "--reference", str(tmp_path)) == 0
    assert train(tmp_path / "two", "--updates", "2", "--reference", str(tmp_path / "real.safetensors")) == 0
    assert lines_of(tmp_path / "one") == lines_of(tmp_path / "two")


def test_a_training_that_hacks_its_reward_stops_and_leaves_its_best(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FixedLook, "__call__", lambda _, done: {"reward": float(done), "held_out": -abs(done - 1.0)})
    out, short = tmp_path / "run", tmp_path / "short"
    assert train(out, "--updates", "5", "--save-every", "1", "--stop-when-hacked", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ended_early"].endswith("the weights left are those after 1 updates")
    assert train(short, "--updates", "1") == 0
    assert same(load_file(out / "transformer.safetensors"), load_file(short / "transformer.safetensors"))


@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="this CPU has no native bfloat16")
def test_it_trains_in_bfloat16(train, tmp_path):
    out, full = tmp_path / "run", tmp_path / "full"
    assert train(out, "--precision", "bfloat16", "--kl-weight", "0.1", "--guidance", "2") == 0
    assert train(full, "--kl-weight", "0.1", "--guidance", "2") == 0
    assert not same(newest(out), newest(full))
    rewards = [[line["reward"] for line in lines_of(it)[1:]] for it in (out, full)]
    assert rewards[0] == pytest.approx(rewards[1], abs=0.05)
    assert all(value.dtype == torch.float32 for value in load_file(out / "transformer.safetensors").values())


def test_recomputed_activations_leave_the_same_weights(train, trained, tmp_path):
    out = tmp_path / "run"
    assert train(out, "--recompute", "--ema", "0.5", "--kl-weight", "0.01", "--batch-size", "3") == 0
    for name, value in load_file(out / "transformer.safetensors").items():
        torch.testing.assert_close(value, load_file(trained / "transformer.safetensors")[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--rank", "4"], 2, "trains every weight and lays no LoRA over them; leave --rank and --alpha out"),
        (["--alpha", "4"], 2, "leave --rank and --alpha out"),
        (["--preset", "pocket-llama"], 2, "no preset of ar-grpo is named 'pocket-llama'. Did you mean"),
        (["--ratio", "image"], 2, "--ratio takes one of token, sequence, got 'image'"),
        (["--covariance", "diagonal", "--form", "second-order"], 1, "take the form 'potential' or 'exact'"),
        (["--memory-decay", "1"], 1, "decay must be at least 0 and below 1, got 1.0"),
        (["--start-images", "1"], 1, "start_images is 0 (none) or at least 2, got 1"),
        (["--images-per-prompt", "1"], 1, "a group is at least 2 images of a prompt"),
        (["--net", "none", "--instance-weight", "0"], 1, "there is nothing to follow: --instance-weight is 0"),
        (["--net", "pocket-klip"], 1, "no feature net named 'pocket-klip'. Did you mean 'pocket-clip'?"),
        (["--reference", "nowhere.safetensors"], 1, "there is no statistics file 'nowhere.safetensors'"),
        (["--model", "pocket-turbo"], 1, "'pocket-turbo' draws from noise, not token by token as pocket-llamagen, "),
        (["--model", "pocket-lamagen"], 1, "Did you mean 'pocket-llamagen'?"),
        (["--temperature", "0"], 1, "temperature must be a positive number, got 0.0"),
    ],
)
def test_what_cannot_work_gets_one_sentence(train, tmp_path, capsys, more, code, says):
    assert train(tmp_path / "run", *more) == code
    said = capsys.readouterr().err.strip()
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        (("a red circle", "a fox"), "no class is called 'a fox'; the nearest are"),
        (("0", "1"), "'0' is not about the pocket world's shapes and colours, so there are no renders of it"),
    ],
)
def test_prompts_that_model_or_renders_do_not_know_get_one_sentence(
    model, clip_folder, tmp_path, capsys, prompts, says
):
    line = ["train", "ar-grpo", *prompts, *SMALL[3:], "--model", str(model), "--net", str(clip_folder)]
    assert main([*line, "--reward", "compressibility", "--out", str(tmp_path / "run")]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_numbers_of_classes_are_trained_on_and_said_to_mean_nothing_to_rewards(model, rewards, tmp_path, capsys):
    line = ["train", "ar-grpo", "0", "1", "--model", str(model), "--net", "none", "--reward", rewards[0]]
    assert main([*line, *SMALL[3:], "--updates", "1", "--out", str(tmp_path / "run")]) == 0
    assert "'0' is a class's number, of which a reward that reads prompts knows nothing" in capsys.readouterr().err


def test_a_preset_without_real_pictures_asks_for_them(capsys, tmp_path):
    assert main(["train", "ar-grpo", "--preset", "llamagen", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "'llamagen' brings none: name a folder or a file of their statistics with --reference" in said


def test_a_model_that_cannot_be_guided_is_not(tmp_path, rewards, capsys):
    from tiny_token_models import vqgan_weights

    from plaudit.generators.vqgan import load_published_vqgan, save_vqgan

    torch.save({"state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
    save_vqgan(load_published_vqgan(tmp_path / "last.ckpt", classes=5), tmp_path / "vqgan")
    line = ["train", "ar-grpo", "0", "1", "--model", str(tmp_path / "vqgan"), "--net", "none", "--reward", rewards[0]]
    line += ["--prompts-per-update", "2", "--images-per-prompt", "2", "--updates", "1", "--device", "cpu"]
    for flag in ("--guidance", "--look-guidance"):
        assert main([*line, flag, "2", "--out", str(tmp_path / "run")]) == 1
        assert "draws without guidance (1) only, got 2" in capsys.readouterr().err
    assert main([*line, "--out", str(tmp_path / "run")]) == 0
    assert isinstance(load_generator(str(tmp_path / "run")), TokenGenerator)


def test_anothers_training_is_not_gone_on_with(trained, capsys):
    assert main(["train", "r0", "--resume", str(trained)]) == 1
    assert "is a training of another method; go on with: plaudit train ar-grpo --resume" in capsys.readouterr().err
    assert main(["train", "ar-grpo", "--resume", str(trained), "--lr", "1"]) == 2
    assert "leave --lr out" in capsys.readouterr().err


def test_another_model_is_not_laid_under_it(trained, tmp_path, capsys):
    with torch.random.fork_rng(devices=[]):
        save_llamagen(small_policy(CLASSES, dim=32), tmp_path / "wide")
    line = ["generate", "a red circle", "--method", "none", "--reward", "compressibility", "--out", str(tmp_path / "o")]
    assert main([*line, "--model", str(tmp_path / "wide"), "--lora", str(trained)]) == 1
    assert "does not fit this model" in capsys.readouterr().err
    assert main([*line, "--model", "pocket-turbo", "--lora", str(trained)]) == 1
    assert "is of a model that draws token by token, and cannot be laid over StableDiffusion" in capsys.readouterr().err
    assert main([*line, "--lora", str(trained), "--lora-scale", "0.5"]) == 1
    assert "holds all of a network's weights, which take no scale" in capsys.readouterr().err


SAID = {
    "prompts_per_update": 6, "images_per_prompt": 3, "instance_weight": 0.5, "distribution_weight": 3.0,
    "spread": "group", "advantage_clip": 3.0, "ratio": "sequence", "clip": 0.1, "learned": "drawn",
    "importance_cap": 2.0, "kl_weight": 0.25, "entropy_target": 0.5, "entropy_rate": 0.125, "entropy_limit": 0.25,
    "guidance": 1.5, "temperature": 0.75, "top_k": 7, "top_p": 0.875, "passes": 2, "steps_per_pass": 3, "lr": 0.5,
    "warmup": 4, "decay": "linear", "decay_to": 0.25, "weight_decay": 0.125, "grad_clip": 0.75, "ema": 0.875,
    "batch_size": 7, "draw_batch_size": 9, "updates": 11,
}  # fmt: skip


def test_every_field_of_the_config_is_a_flag_that_goes_over_the_preset():
    config = TASKS["pocket-llamagen"]().config
    assert set(SAID) | {"seed"} == {field.name for field in dataclasses.fields(config)}
    assert set(SAID) | {"seed"} == set(overrides(ArGrpoOptions(), config))
    line = [f"--{name.replace('_', '-')}={value}" for name, value in SAID.items()]
    task = task_of(options := with_model(parse(COMMAND, [*line, "--seed", "3"]), TASKS))
    assert {name: getattr(task.config, name) for name in SAID} == SAID
    assert all(getattr(config, name) != value for name, value in SAID.items())
    assert task.config.seed == 3
    # What is recorded makes the same training again.
    again = ArGrpoOptions(**{**decisive(options), "prompts": (), "reward": ()})
    assert (again.model, task_of(again)) == ("pocket-llamagen", task)


def test_loo_fids_flags_go_over_the_preset():
    line = ["--net", "pocket-pickscore", "--reference", "photos", "--start-images", "64"]
    task = task_of(parse(COMMAND, [*line, "--form", "exact", "--memory-decay", "0.5", "--shrinkage", "0"]))
    assert (task.net, task.reference, task.start_images) == ("pocket-pickscore", "photos", 64)
    usual = TASKS["pocket-llamagen"]().memory
    assert task.memory == dataclasses.replace(usual, form="exact", decay=0.5, shrinkage=0.0)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_left_out_is_the_presets(name):
    options = with_model(ArGrpoOptions(preset=name, reference="photos" if name == "llamagen" else None), TASKS)
    expected = TASKS[name]()
    assert options.model == expected.model
    assert task_of(options) == dataclasses.replace(expected, reference=expected.reference or "photos")


def test_looks_are_drawn_as_what_is_taught():
    config = TASKS["llamagen"]().config
    assert config.guidance == 1.5
    assert look_sampling(config, None) == Sampling()
    assert look_sampling(config, 2.0) == Sampling(guidance=2.0)
    drawn = dataclasses.replace(config, learned="drawn", top_k=5)
    assert look_sampling(drawn, None) == Sampling(guidance=1.5, top_k=5)


def test_the_help_page_has_its_sections_in_order_and_every_flag(capsys):
    assert main(["train", "ar-grpo", "--help"]) == 0
    page = capsys.readouterr().out
    places = [page.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(field.name for field in dataclasses.fields(ArGrpoOptions))
