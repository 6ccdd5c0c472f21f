"""`plaudit train plans` and `plaudit train reasongen`: a Janus's folder in, one that plans out; stops lose nothing."""

import base64
import io
import json
import sys
from pathlib import Path

import pytest
import torch
from audited import check_audited
from PIL import Image
from safetensors.torch import load_file

from plaudit.core.errors import BadConfig
from plaudit.core.picture_files import read_image
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.table import load_generator, load_plan_policy
from plaudit.generators.token_policy import Sampling
from plaudit.presets.reasongen import LESSONS, TASKS
from plaudit.runs.checkpoints import Checkpoints
from plaudit.runs.lineage import follows_rewards
from plaudit.runs.looks import sheet
from plaudit.runs.plan_lessons import load_lessons
from plaudit.shells import train_plans, train_reasongen
from plaudit.shells.cli import main
from plaudit.shells.plan_drawing import Drawing
from plaudit.shells.training_options import overrides

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import GRID, SIDE, save_janus_folder

PROMPTS = ("a red circle", "a blue square", "two green star")
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
    *PROMPTS, "--updates", "4", "--prompts-per-update", "2", "--images-per-prompt", "4", "--rounds", "1",
    "--save-every", "2", "--device", "cpu", "--lr", "0.003", "--warmup", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    file = tmp_path_factory.mktemp("rewards") / "bright.py"
    file.write_text(BRIGHT)
    return f"{file}:Bright", f"{file}:Dark"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return save_janus_folder(tmp_path_factory.mktemp("tiny-janus"))


@pytest.fixture(scope="module")
def train(model, rewards):
    def run(out, *more):
        line = ["train", "reasongen", *SMALL, "--model", str(model), "--reward", rewards[0], "--held-out", rewards[1]]
        return main([*line, "--out", str(out), *more])

    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Described pictures in the published row format."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = []
    for number, (colour, plan) in enumerate((("red", "a red circle on white"), ("blue", "a small blue square")) * 4):
        written = io.BytesIO()
        Image.new("RGB", (SIDE + number, SIDE), colour).save(written, "PNG")
        lines.append({
            "image": base64.b64encode(written.getvalue()).decode(), "brief_caption": f"a {colour} circle",
            "detailed_caption": plan, "augmented_prompts": {"short_caption": f"the {colour} star"},
        })  # fmt: skip
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return file


@pytest.fixture(scope="module")
def teach(model, rewards, rows):
    def run(out, *more):
        line = [
            "train", "plans", *PROMPTS, "--model", str(model), "--lessons", str(rows), "--count", "0", "--updates", "4",
            "--lessons-per-update", "4", "--held-out-share", "0.25", "--lr", "0.003", "--warmup", "0", "--save-every",
            "2", "--reward", rewards[0], "--held-out", rewards[1], "--device", "cpu",
        ]  # fmt: skip
        return main([*line, "--out", str(out), *more])

    return run


@pytest.fixture(scope="module")
def trained(train, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    assert train(out, "--ema", "0.5", "--kl-weight", "0.01") == 0
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before, "the model itself stays as it was"
    return out


@pytest.fixture(scope="module")
def taught(teach, tmp_path_factory):
    out = tmp_path_factory.mktemp("taught") / "run"
    assert teach(out) == 0
    return out


def lines_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_it_leaves_weights_a_log_looks_with_plans_a_card_and_a_report(trained):
    assert [line["update"] for line in lines_of(trained)] == [0, 1, 2, 3, 4]
    assert sorted(file.name for file in (trained / "samples").iterdir()) == [
        f"00000{done}.{kind}" for done in (0, 2, 4) for kind in ("json", "png")
    ]
    manifest = json.loads((trained / "run.json").read_text())
    assert (manifest["status"], manifest["method"]) == ("finished", "reasongen")
    plain = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert manifest["sampling"] == {**plain, "words": plain}
    wanted = {"plan_words", "cut_plans", "word_entropy", "token_entropy", "word_kl", "rounds", "equal_groups"}
    assert wanted | {"look_reward", "look_held_out", "look_diversity"} <= set(lines_of(trained)[-1])
    assert lines_of(trained)[-1]["token_kl"] > 0, "the start stays where it was"
    told = json.loads((trained / "samples" / "000004.json").read_text())
    assert [it["prompt"] for it in told] == list(PROMPTS)
    assert all(len(it["said"]) == 4 for it in told)
    plan = told[0]["said"][0]
    check_audited(trained)
    report = (trained / "report.html").read_text()
    assert f"<dt>a red circle</dt><dd>{plan}</dd>" in report
    assert "entropy of plans, nats a word" in report
    card = (trained / "README.md").read_text()
    assert "2505.24875" in card
    assert "library_name: plaudit" in card


def test_the_folder_draws_the_looks_own_pictures_and_plans(trained):
    generator = load_generator(str(trained))
    assert isinstance(generator, PlanGenerator)
    assert generator.sampling == PlanSampling()
    texts = [prompt for prompt in PROMPTS for _ in range(4)]
    keys = [(0, "look", number) for number in range(12)]
    drawing = Drawing(generator.policy, generator.sampling, batch_size=5)
    kept = read_image(trained / "samples" / "000004.png")
    torch.testing.assert_close(sheet(drawing.images(texts, keys), 4), kept, atol=0.51 / 255, rtol=0)
    told = json.loads((trained / "samples" / "000004.json").read_text())
    assert drawing.plans(texts, keys) == [said for it in told for said in it["said"]]


def test_a_stopped_training_goes_on_to_the_same_weights(train, trained, tmp_path, monkeypatch, capsys):
    from plaudit.methods.reasongen import ReasonGen

    gather, calls = ReasonGen.gather, []

    def stopping(self, update):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return gather(self, update)

    out = tmp_path / "run"
    monkeypatch.setattr(ReasonGen, "gather", stopping)
    assert train(out, "--ema", "0.5", "--kl-weight", "0.01") == 1
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C; 2 updates are kept" in said
    assert "plaudit train reasongen --resume" in said
    monkeypatch.setattr(ReasonGen, "gather", gather)
    assert main(["train", "reasongen", "--resume", str(out), "--json", "--device", "cpu"]) == 0
    assert lines_of(out) == lines_of(trained)
    assert same(Checkpoints(out).newest().tensors, Checkpoints(trained).newest().tensors)
    assert same(load_file(out / "transformer.safetensors"), load_file(trained / "transformer.safetensors"))


def test_a_training_without_plans_says_nothing_and_is_drawn_without(train, tmp_path):
    out = tmp_path / "run"
    assert train(out, "--direct", "--updates", "1") == 0
    told = [json.loads(file.read_text()) for file in (out / "samples").glob("*.json")]
    assert len(told) == 2
    assert not any("said" in row for rows in told for row in rows)
    assert "words" not in json.loads((out / "run.json").read_text())["sampling"]
    assert load_generator(str(out)).sampling == PlanSampling(plan=False)
    assert lines_of(out)[-1]["plan_words"] == 0


def test_a_lora_is_left_and_laid_over_the_model_again(train, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("plaudit.generators.tuned.plan_sampling_of", lambda _: PlanSampling(plan=False))
        assert train(out, "--rank", "2", "--updates", "2", "--look-guidance", "2", "--kl-weight", "0.01") == 0
    assert capsys.readouterr().err.count("was not taught to plan") == 1
    assert [line["token_kl"] > 0 for line in lines_of(out)[1:]] == [False, True], "it leaves the model below it"
    assert (out / "adapter_model.safetensors").is_file()
    assert not (out / "transformer.safetensors").exists()
    generator = load_generator(str(out))
    assert generator.sampling == PlanSampling(image=Sampling(guidance=2.0))
    keys = [(0, "look", number) for number in range(12)]
    texts = [prompt for prompt in PROMPTS for _ in range(4)]
    images = Drawing(generator.policy, generator.sampling, batch_size=12).images(texts, keys)
    torch.testing.assert_close(sheet(images, 4), read_image(out / "samples" / "000002.png"), atol=0.51 / 255, rtol=0)


def test_lessons_are_learned_from_rows_in_the_published_format(taught):
    lines = lines_of(taught)
    assert lines[-1]["loss"] < lines[1]["loss"]
    assert {"word_loss", "token_loss", "lessons", "look_reward"} <= set(lines[-1])
    assert [line["update"] for line in lines if "look_word_loss" in line] == [0, 2, 4]
    assert lines[-1]["look_token_loss"] < lines[0]["look_token_loss"], "those that are held out are foretold better"
    assert '<th scope="col">token loss</th>' in (taught / "report.html").read_text()
    assert lines[-1]["lessons"] == 16
    check_audited(taught)
    manifest = json.loads((taught / "run.json").read_text())
    assert not follows_rewards(manifest)
    assert (manifest["method"], manifest["status"]) == ("plans", "finished")
    assert manifest["sources"]["lessons"].endswith("rows.jsonl")
    assert load_generator(str(taught)).sampling == PlanSampling()
    assert "2505.24875" in (taught / "README.md").read_text()


def test_lessons_that_were_stopped_go_on_to_the_same_weights(teach, taught, tmp_path, monkeypatch):
    from plaudit.methods.plan_sft import PlanSft

    losses, calls = PlanSft._losses, []

    def stopping(self, chosen, dropped):
        calls.append(1)
        # Looks before the first update and after the second read what is held out.
        if len(calls) == 5:
            raise KeyboardInterrupt
        return losses(self, chosen, dropped)

    out = tmp_path / "run"
    monkeypatch.setattr(PlanSft, "_losses", stopping)
    assert teach(out) == 1
    monkeypatch.setattr(PlanSft, "_losses", losses)
    assert main(["train", "plans", "--resume", str(out), "--device", "cpu"]) == 0
    assert lines_of(out) == lines_of(taught)
    assert same(load_file(out / "transformer.safetensors"), load_file(taught / "transformer.safetensors"))


def test_prompts_of_a_benchmark_are_named(train, tmp_path, capsys):
    from plaudit.suites.run import pocket

    out = tmp_path / "run"
    tested = next(prompt.text for prompt in pocket().prompts if not prompt.unseen)
    (tmp_path / "more.txt").write_text(tested + "\n")
    assert train(out, "--prompts", str(tmp_path / "more.txt"), "--updates", "1") == 0
    said = capsys.readouterr().err
    assert "PocketEval, seen combinations" in said
    assert "trained on word by word" in said
    (noted,) = [it for it in json.loads((out / "run.json").read_text())["overlaps"] if repr(tested) in it]
    assert f"- {noted}" in (out / "README.md").read_text()


def test_rewards_follow_lessons(train, taught, tmp_path):
    out = tmp_path / "run"
    assert train(out, "--model", str(taught), "--updates", "1") == 0
    looks = [line for line in lines_of(out) if "look_reward" in line]
    assert looks[0]["look_reward"] == pytest.approx(lines_of(taught)[-1]["look_reward"], abs=1e-6)


def test_scenes_are_lessons_whose_prompts_are_not_tested(model):
    from plaudit.pocket.plans import read_plan
    from plaudit.suites.run import pocket

    policy = load_plan_policy(str(model))
    task = train_plans.task_of(train_plans.PlansOptions(preset="pocket-plans", model=str(model), count=40))
    lessons = load_lessons(task, policy)
    assert len(lessons) == 40
    assert lessons.tokens.shape == (40, GRID * GRID)
    assert not set(lessons.prompts) & set(pocket().texts())
    assert all(read_plan(plan) for plan in lessons.plans)
    again = load_lessons(task, policy)
    assert (again.prompts, again.plans) == (lessons.prompts, lessons.plans)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--preset", "pocket-reason"], 2, "no preset of reasongen is named 'pocket-reason'. Did you mean"),
        (["--balance", "words"], 2, "--balance takes one of tokens, images, segments, got 'words'"),
        (["--direct", "--word-top-k", "3"], 2, "without a plan no words are drawn"),
        (["--images-per-prompt", "1"], 1, "a group is at least 2 images of a prompt"),
        (["--word-entropy", "0"], 1, "target must be a positive number of nats"),
        (["--model", "pocket-turbo"], 1, "'pocket-turbo' writes no plans"),
    ],
)
def test_what_cannot_work_is_one_sentence(train, tmp_path, capsys, more, code, says):
    assert train(tmp_path / "run", *more) == code
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_rows_that_are_broken_are_one_sentence(teach, rows, tmp_path, capsys):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(rows.read_text() + '{"brief_caption": "a red circle"}\n')
    assert teach(tmp_path / "run", "--lessons", str(broken)) == 1
    assert "broken.jsonl, line 9" in capsys.readouterr().err
    for row, says in (
        ({"detailed_caption": "a red zebra"}, "line 9: the plan 'a red zebra' says 'zebra'"),
        ({"detailed_caption": "a <begin_of_image> star"}, "line 9: the plan"),
        ({"augmented_prompts": {"short_caption": "a </s>"}}, "line 9: the prompt 'a </s>' holds '</s>'"),
    ):
        last = json.loads(rows.read_text().splitlines()[-1]) | row
        broken.write_text(rows.read_text() + json.dumps(last) + "\n")
        assert teach(tmp_path / "run", "--lessons", str(broken)) == 1
        assert f"broken.jsonl, {says}" in capsys.readouterr().err
        assert not (tmp_path / "run").exists(), "before anything is learned"
    assert teach(tmp_path / "run", "--lessons", str(tmp_path / "none.jsonl")) == 1
    assert "there are no rows at" in capsys.readouterr().err
    with pytest.raises(BadConfig, match="name a file or a data set of them with --lessons"):
        train_plans.task_of(train_plans.PlansOptions(preset="janus-pro-7b-plans"))


@pytest.mark.parametrize("module", [train_plans, train_reasongen])
def test_every_flag_is_in_a_section_and_every_setting_is_a_flag(module):
    options = module.COMMAND.options
    named = [name for names in module.SECTIONS.values() for name in names]
    assert sorted(named) == sorted(options.__dataclass_fields__)
    tasks = LESSONS if module is train_plans else TASKS
    config = next(iter(tasks.values()))().config
    missing = set(config.__dataclass_fields__) - set(overrides(options(), config)) - {"plan"}
    assert missing == set(), "a setting that no flag reaches"
