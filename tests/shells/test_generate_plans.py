"""`plaudit generate` and `evaluate` with models that write plans: what is told of them, and plans of the user's own."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from plaudit.core.picture_files import read_image
from plaudit.core.random_streams import noise_for
from plaudit.generators import told_plans
from plaudit.generators.janus import Janus
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.table import load_generator, load_plan_policy
from plaudit.runs.folder import RunFolder
from plaudit.runs.provenance import read_provenance
from plaudit.shells.cli import main

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import save_janus_folder
from tiny_token_models import small_policy

PROMPTS = ("a red circle", "two blue star")
METHODS = {"none": (), "best-of-n": ("--steps", "9"), "evolve": ("--steps", "17")}
DARK = """
class Dark:
    differentiable = True

    def __call__(self, images, prompts):
        return -images.mean(dim=(1, 2, 3))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_janus_folder(tmp_path_factory.mktemp("janus") / "tiny"))


@pytest.fixture
def drawn(model, tmp_path, monkeypatch, capsys):
    """Runs generate in a folder of the test's own; the run, and what was said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dark.py").write_text(DARK)

    def run(name, *more, prompts=PROMPTS, method="none"):
        line = [*prompts, "--model", model, "--reward", "./dark.py:Dark", "--device", "cpu"]
        return again(name, *line, "--method", method, *METHODS[method], *more)

    def again(name, *line):
        code = main(["generate", *line, "--out", name])
        said = capsys.readouterr()
        return (RunFolder.open(Path(name)) if code == 0 else None), said.out if code == 0 else said.err

    run.again = again
    return run


def pictures(run):
    return torch.stack([read_image(run.path / record.file) for record in run.records])


def same(one, other):
    """Whether pictures are the same but for rounding to bytes, which a batch of another size may tip."""
    return torch.allclose(one, other, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_the_plan_that_is_told_is_the_one_that_the_kept_picture_was_drawn_after(drawn, model, method, batch_size):
    """Drawing after the told plan, with the same noise for the tokens, gives the same picture."""
    kept = []
    keep = RunFolder.keep

    def remember(self, results, **more):
        kept.extend(results)
        return keep(self, results, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "keep", remember)
        run, _ = drawn("run", "--images-per-prompt", "2", "--batch-size", batch_size, method=method)
    assert len(run.records) == 4
    moved = [record for record in run.records if record.best_step]
    assert bool(moved) is (method != "none")
    assert all(record.plan != record.first_plan for record in moved)
    assert all(record.plan == record.first_plan for record in run.records if not record.best_step)
    policy = load_plan_policy(model)
    for record, result in zip(run.records, sorted(kept, key=lambda it: it.row), strict=True):
        for plan, noise, image in (
            (record.plan, result.noise, result.image),
            (record.first_plan, result.first_noise, result.first_image),
        ):
            generator = PlanGenerator(policy, plan=plan)
            expected = generator.sample(noise[None], generator.encode([record.prompt]))
            # In a batch of another size, sums round differently.
            torch.testing.assert_close(image[None], expected, atol=1e-4, rtol=0)


def test_plans_are_written_once_and_never_again_for_the_record(drawn, monkeypatch):
    calls = []
    draw = PlanGenerator.draw
    monkeypatch.setattr(PlanGenerator, "draw", lambda *given: calls.append(1) or draw(*given))
    monkeypatch.setattr(PlanGenerator, "plans", lambda *_: pytest.fail("a plan was written again"))
    drawn("run", method="best-of-n")
    assert len(calls) == 9


def test_what_is_remembered_is_no_more_than_a_batch_and_the_next_ones_start(drawn, monkeypatch):
    most = []
    plan_of = told_plans.ToldPlans.plan_of
    monkeypatch.setattr(
        told_plans.ToldPlans, "plan_of", lambda self, noise: most.append(len(self._told)) or plan_of(self, noise)
    )
    drawn("run", "--images-per-prompt", "4", "--batch-size", "2", method="best-of-n")
    assert max(most) <= 2 * (9 + 2)


def test_plans_are_printed_and_stand_in_run_json_and_in_every_picture(drawn):
    run, said = drawn("run", method="best-of-n")
    assert all(record.plan for record in run.records)
    assert [line for line in said.splitlines() if line.startswith("  plan: ")] == [
        f"  plan: {record.plan}" for record in run.records
    ]
    written = json.loads((run.path / "run.json").read_text())["images"]
    for record, image in zip(run.records, written, strict=True):
        assert (image["plan"], image["first_plan"]) == (record.plan, record.first_plan)
        assert read_provenance(run.path / record.file)["plan"] == record.plan
        line = Image.open(run.path / record.file).text["parameters"]
        assert line.endswith(f'Plan: "{record.plan}"')


def test_plans_are_a_field_of_each_image_in_json(drawn):
    run, out = drawn("run", "--json", method="best-of-n")
    images = json.loads(out)["images"]
    assert [(image["plan"], image["first_plan"]) for image in images] == [
        (record.plan, record.first_plan) for record in run.records
    ]


def test_the_report_shows_the_plans_beside_the_pictures(drawn):
    run, _ = drawn("run", "--seed", "1", method="best-of-n")
    page = run.report.read_text()
    for record in run.records:
        card = page[page.index(f"<h3>{record.prompt}") :].partition("</section>")[0]
        plans = re.search('<dl class="plans">(.*?)</dl>', card)[1]
        assert f"<dd>{record.plan}</dd>" in plans
        assert (f"<dd>{record.first_plan}</dd>" in plans) is bool(record.best_step)


def test_what_a_model_writes_is_printed_without_signs_that_a_terminal_obeys(drawn, monkeypatch):
    monkeypatch.setattr(Janus, "read_words", lambda _, words, __: ["a\n\x1b[2Jb\tc"] * len(words))
    run, said = drawn("run")
    assert said.count("  plan: a [2Jb c\n") == 2
    assert run.records[0].plan == "a\n\x1b[2Jb\tc"
    monkeypatch.setattr(Janus, "read_words", lambda _, words, __: [""] * len(words))
    run, said = drawn("empty")
    assert said.count("  plan: (no words)\n") == 2
    assert run.records[0].plan == ""


def test_a_plan_of_the_users_own_is_drawn_for_all_prompts(drawn, model):
    run, said = drawn("run", "--plan", " red : blue  star ")
    assert said.count("  plan: red : blue star\n") == 2
    assert [(record.plan, record.first_plan) for record in run.records] == [("red : blue star",) * 2] * 2
    generator = PlanGenerator(load_plan_policy(model), plan="red : blue star")
    noise = noise_for([(0, prompt, 0) for prompt in range(2)], generator.noise_shape)
    assert same(pictures(run), generator.sample(noise, generator.encode(PROMPTS)))
    assert not same(pictures(run), pictures(drawn("free")[0]))
    # The user's words stay as they were said, so that the picture can be repeated by them.
    assert run.manifest["settings"]["plan"] == " red : blue  star "


def test_without_a_plan_the_picture_follows_the_prompt_and_nothing_is_told(drawn, model):
    run, said = drawn("run", "--direct")
    assert "plan" not in said
    assert "<dt>plan" not in run.report.read_text()
    assert [(record.plan, record.first_plan) for record in run.records] == [(None, None)] * 2
    assert "plan" not in read_provenance(run.path / run.records[0].file)
    generator = PlanGenerator(load_plan_policy(model), PlanSampling(plan=False))
    noise = noise_for([(0, prompt, 0) for prompt in range(2)], generator.noise_shape)
    assert same(pictures(run), generator.sample(noise, generator.encode(PROMPTS)))
    assert not same(pictures(run), pictures(drawn("free")[0]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("said", [(), ("--plan", "a red : star"), ("--direct",)], ids=["own", "given", "none"])
def test_a_picture_is_repeated_from_itself_with_its_plan(drawn, method, said):
    run, _ = drawn("run", "--seed", "5", *said, prompts=PROMPTS[:1], method=method)
    (record,) = run.records
    again, _ = drawn.again("again", "--from-image", str(run.path / record.file), "--reward", "./dark.py:Dark")
    assert torch.equal(pictures(again), pictures(run))
    assert (again.records[0].plan, again.records[0].first_plan) == (record.plan, record.first_plan)


@pytest.mark.parametrize("method", ["none", "best-of-n"])
def test_an_edited_plan_is_drawn_with_the_noise_of_the_picture(drawn, model, method):
    run, _ = drawn("run", "--seed", "1", "--images-per-prompt", "2", method=method)
    record = next(it for it in run.records if it.prompt_index == 1 and (it.best_step or method == "none"))
    edited, _ = drawn.again(
        "edited", "--from-image", str(run.path / record.file), "--reward", "./dark.py:Dark", "--plan", "a blue ring"
    )
    assert [it.plan for it in edited.records] == ["a blue ring"]
    key = (1, 1, record.image_index, *(("candidate", record.best_step) if record.best_step else ()))
    generator = PlanGenerator(load_plan_policy(model), plan="a blue ring")
    expected = generator.sample(noise_for([key], generator.noise_shape), generator.encode([record.prompt]))
    assert same(pictures(edited), expected)
    # Its own words, given as another's, draw the very picture.
    given, _ = drawn.again(
        "given", "--from-image", str(run.path / record.file), "--reward", "./dark.py:Dark", "--plan", record.plan
    )
    assert same(pictures(given)[0], read_image(run.path / record.file))


def test_an_edited_picture_can_be_edited_and_repeated_again(drawn):
    run, _ = drawn("run", "--seed", "1", method="best-of-n")
    record = next(it for it in run.records if it.best_step)
    line = ("--reward", "./dark.py:Dark")
    edited, _ = drawn.again("edited", "--from-image", str(run.path / record.file), *line, "--plan", "a blue ring")
    file = str(edited.path / edited.records[0].file)
    assert torch.equal(pictures(drawn.again("same", "--from-image", file, *line)[0]), pictures(edited))
    back, _ = drawn.again("back", "--from-image", file, *line, "--plan", record.plan)
    assert same(pictures(back)[0], read_image(run.path / record.file))
    direct, _ = drawn.again("direct", "--from-image", file, *line, "--direct")
    assert direct.records[0].plan is None
    assert "plan" not in direct.manifest["settings"]
    file = str(direct.path / direct.records[0].file)
    planned, _ = drawn.again("planned", "--from-image", file, *line, "--plan", "a blue ring")
    assert torch.equal(pictures(planned), pictures(edited))


def test_flags_go_over_what_an_edited_plan_leaves_of_a_search(drawn):
    run, _ = drawn("run", "--seed", "1", method="best-of-n")
    record = next(it for it in run.records if it.best_step)
    line = ("--from-image", str(run.path / record.file), "--reward", "./dark.py:Dark", "--plan", "a blue ring")
    searched, _ = drawn.again("searched", *line, "--steps", "9", "--noise-offset", "0")
    whole, _ = drawn("whole", "--seed", "1", "--plan", "a blue ring", method="best-of-n")
    assert searched.records[0].trace == pytest.approx(whole.records[record.prompt_index].trace)
    first, _ = drawn.again("first", *line, "--method", "none")
    assert first.records[0].trace == pytest.approx(whole.records[record.prompt_index].trace[:1])


def test_a_plan_that_evolution_found_is_edited_by_searching_again(drawn):
    run, _ = drawn("run", method="evolve")
    record = run.records[0]
    line = ("--from-image", str(run.path / record.file), "--reward", "./dark.py:Dark", "--plan", "a blue ring")
    edited, _ = drawn.again("edited", *line)
    assert edited.manifest["settings"]["method"] == "evolve"
    assert len(edited.records[0].trace) == len(record.trace)


def test_best_of_n_can_go_on_with_further_noises(drawn):
    whole, _ = drawn("whole", method="best-of-n")
    rest, _ = drawn("rest", "--steps", "4", "--noise-offset", "5", method="best-of-n")
    for one, other in zip(whole.records, rest.records, strict=True):
        assert one.trace[5:] == pytest.approx(other.trace)
    assert rest.manifest["settings"]["noise_offset"] == 5
    assert "noise_offset" not in whole.manifest["settings"]


def test_a_stopped_run_goes_on_with_its_plan(drawn, monkeypatch):
    whole, _ = drawn("whole", "--plan", "a blue ring", "--batch-size", "1")
    keep = RunFolder.keep
    with monkeypatch.context() as patch:

        def once(self, results, **more):
            if self.records:
                raise KeyboardInterrupt
            return keep(self, results, **more)

        patch.setattr(RunFolder, "keep", once)
        assert drawn("half", "--plan", "a blue ring", "--batch-size", "1")[0] is None
    assert main(["generate", "--resume", "half"]) == 0
    half = RunFolder.open(Path("half"))
    assert [record.plan for record in half.records] == ["a blue ring"] * 2
    assert torch.equal(pictures(half), pictures(whole))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--plan", "a unicorn"], "the plan 'a unicorn' says 'unicorn', which is no word of this model"),
        (["--plan", "a red star left of a ring"], "has 7 words as the model counts, and it reads no more than 6"),
        (["--plan", "a <s> star"], "the plan 'a <s> star' holds '<s>', which is a sign to this model"),
        (["--plan", " "], "--plan is empty; say what the picture shall show, or take --direct to draw without a plan"),
        (["--plan", "a star", "--direct"], "--direct draws without a plan; leave one of them out"),
        (["--noise-offset", "2"], "--noise-offset belongs to best-of-n; none starts from each image's first noise"),
    ],
)
def test_a_plan_that_cannot_be_is_one_sentence_and_leaves_nothing(drawn, flags, says):
    run, said = drawn("run", *flags)
    assert run is None
    assert len(said.strip().splitlines()) == 1
    assert says in said
    assert not Path("run").exists()


@pytest.mark.parametrize("flags", [["--plan", "a star"], ["--direct"]], ids=str)
@pytest.mark.parametrize("command", [["generate", "a red circle"], ["evaluate", "pocket"]], ids=str)
@pytest.mark.parametrize("kind", ["noise", "tokens", "row"])
def test_models_that_write_no_plans_say_so(command, flags, kind, sd_folder, tmp_path, capsys):
    if kind == "tokens":
        from plaudit.generators.llamagen_files import save_llamagen

        save_llamagen(small_policy(), tmp_path / "tokens")
    name = {"noise": str(sd_folder), "tokens": str(tmp_path / "tokens"), "row": "pocket-llamagen"}[kind]
    capsys.readouterr()
    line = [*command, "--model", name, "--method", "none", *flags, "--out", str(tmp_path / "run")]
    assert main(line) == 1
    said = capsys.readouterr().err.strip()
    assert said == f"plaudit: {flags[0]} is for models that write plans, and {name!r} writes none; leave it out"


def test_a_model_that_draws_at_once_by_itself_draws_after_a_plan_that_it_is_given(drawn, tmp_path):
    """As published Januses do, and what is left of a training without plans."""
    from plaudit.generators.trained_part import save_trained, train_all

    told = {"kind": "training", "method": "made", "sampling": {"guidance": 1.0}}
    trained = tmp_path / "trained"
    trained.mkdir()
    model = str(save_janus_folder(tmp_path / "own"))
    (trained / "run.json").write_text(json.dumps({**told, "settings": {"model": model}}))
    policy = load_plan_policy(model)
    train_all(policy.transformer)
    save_trained(policy.transformer, trained)
    assert not load_generator(str(trained)).planned
    run, said = drawn("run", "--model", str(trained))
    assert "plan" not in said
    assert run.records[0].plan is None
    run, said = drawn("given", "--model", str(trained), "--plan", "a blue ring")
    assert run.records[0].plan == "a blue ring"


def test_evaluate_draws_after_plans_and_without_and_keeps_the_two_apart(model, tmp_path, capsys, monkeypatch):
    # The judge reads scenes of 64 x 64 pixels.
    decode = Janus.decode
    monkeypatch.setattr(
        Janus, "decode", lambda *given: decode(*given).repeat_interleave(11, 2).repeat_interleave(11, 3)
    )
    drawn = []
    sample = PlanGenerator.sample
    monkeypatch.setattr(PlanGenerator, "sample", lambda self, *given: drawn.append(self) or sample(self, *given))
    line = ["evaluate", "pocket", "--model", model, "--prompts", "6", "--images-per-prompt", "1", "--device", "cpu"]

    def settings(name, *more):
        drawn.clear()
        assert main([*line, "--out", str(tmp_path / name), "--json", *more]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 6
        assert drawn
        return json.loads((tmp_path / name / "evaluation.json").read_text())["settings"]

    assert not {"plan", "direct"} & set(settings("own"))
    assert all(it.planned and it.plan is None for it in drawn)
    assert settings("direct", "--direct")["direct"] is True
    assert not any(it.planned for it in drawn)
    assert settings("given", "--plan", "a blue ring")["plan"] == "a blue ring"
    assert all(it.plan == "a blue ring" for it in drawn)
    assert main([*line, "--out", str(tmp_path / "own"), "--direct"]) == 1
    assert "holds an evaluation with another direct" in capsys.readouterr().err
    settings("searched", "--method", "best-of-n", "--steps", "2", "--reward", "compressibility")
