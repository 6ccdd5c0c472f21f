"""pocket-janus's lessons: words it knows, tokens it paints, and drawing, planning and answering that are learned."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import JanusForConditionalGeneration

from plaudit.generators.janus_answers import answer
from plaudit.generators.janus_files import load_janus, save_janus
from plaudit.pocket.build import janus, janus_sight, llamagen
from plaudit.pocket.build.clip import patch_answers
from plaudit.pocket.build.install import install
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.vae import new_vae
from plaudit.pocket.build.vqa import new_question_tokenizer, new_vqa
from plaudit.pocket.folders import pocket_folder
from plaudit.pocket.plans import longest_plan, read_plan, write_plan
from plaudit.pocket.prompts import describe
from plaudit.pocket.questions import draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, draw_scene
from plaudit.suites.run import pocket

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    return janus.new_words_tokenizer()


@pytest.fixture
def small(monkeypatch, tokenizer):
    """An untrained model of few layers."""
    monkeypatch.setattr(janus, "LAYERS", 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return janus.new_policy(janus.new_janus(tokenizer), tokenizer)


@pytest.fixture(scope="module")
def teacher():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return llamagen.new_tokenizer(new_vae(), CPU).requires_grad_(False)


def test_it_knows_the_words_of_prompts_plans_questions_and_answers(tokenizer):
    rng, unknown = draws_for("test-words", 0).numpy, tokenizer.unk_token_id
    for _ in range(300):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        for text in (describe(scene, rng)[0], write_plan(scene, rng), question.text, question.answer):
            assert unknown not in tokenizer(text)["input_ids"], text
    assert all(unknown not in tokenizer(prompt.text)["input_ids"] for prompt in pocket().prompts)


def test_a_plan_comes_back_as_it_was_written(small):
    rng = draws_for("test-plans", 0).numpy
    scenes = [draw_scene(rng) for _ in range(30)]
    plans = [write_plan(scene, rng) for scene in scenes]
    assert small.max_words == longest_plan() + 1
    again = small.read_words(*small.words_of(plans))
    assert [read_plan(text) for text in again] == [read_plan(plan) for plan in plans]
    longest = max(len(ids) for ids in small.encode([prompt.text for prompt in pocket().prompts]).ids)
    assert longest < small.words.settings.max_prompt, "no prompt of the suite is cut"


def test_painting_is_learned_and_a_stopped_lesson_goes_on(monkeypatch, small, teacher, tmp_path: Path):
    monkeypatch.setattr(janus, "PAINT_PLAN", Plan(steps=20, batch=4, lr=3e-4, warmup=1, ema=0.5))
    with monkeypatch.context() as patch:
        patch.setattr(janus, "PAINT_PLAN", Plan(steps=1, batch=4, lr=1e-9, warmup=1, ema=0.5))
        (first,) = janus.train_to_paint(small, teacher, tmp_path / "first")
    *_, last = janus.train_to_paint(small, teacher, tmp_path / "state")
    assert set(last.parts) == {"mse", "told", "right"}
    # A teacher that was taught nothing can be imitated no better than by chance, and mse is that of painting chance.
    assert last.parts["told"] < 0.95 * first.parts["told"]
    assert last.loss < first.loss
    codes = torch.nn.functional.normalize(teacher.quantize.embedding.weight, dim=-1)
    torch.testing.assert_close(small.image_tokenizer.quantize.embedding.weight, codes)
    assert list(janus.train_to_paint(small, teacher, tmp_path / "state")) == [], "it is done"
    assert not any(weight.requires_grad for weight in small.network.parameters())


def test_drawing_planning_and_answering_are_learned(monkeypatch, small, tmp_path: Path):
    monkeypatch.setattr(janus, "PLAN", Plan(steps=60, batch=8, lr=5e-3, warmup=1, ema=0.5))
    rng = draws_for("test-pool", 0).numpy
    pool = janus.Pool(scenes=[draw_scene(rng) for _ in range(12)], tokens=torch.full((12, 64), 7, dtype=torch.int16))
    seen: dict[str, list[float]] = {}
    in_turns = janus._in_turns

    def noting(*given):
        loss_of = in_turns(*given)

        def noted(draws):
            loss, parts = loss_of(draws)
            for name, value in parts.items():
                seen.setdefault(name, []).append(float(value.detach()))
            return loss, parts

        return noted

    monkeypatch.setattr(janus, "_in_turns", noting)
    list(janus.train_janus(small, pool, tmp_path / "state"))
    for name in ("draw", "draw_planned", "plan", "answers", "looked"):
        values = seen[name]
        assert sum(values[-3:]) / 3 < 0.95 * values[0], name
    assert sum(seen["draw"][-3:]) / 3 < 1.0, "the pictures are all of one token"


def test_looking_is_learned_from_another_tower(monkeypatch, small, tmp_path: Path):
    monkeypatch.setattr(janus_sight, "LOOK_PLAN", Plan(steps=60, batch=8, lr=3e-3, warmup=1, ema=0.5, muon=True))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = new_vqa(new_question_tokenizer()).vision_model
    before = {name: value.clone() for name, value in small.transformer.state_dict().items()}
    *_, last = janus_sight.train_to_look(small, teacher, tmp_path / "state")
    assert last.parts["missed"] < 0.7, "a mean would miss all of its spread, 1"
    # A guess among 8 shapes, 8 colours and the backgrounds.
    assert last.parts["said"] < 0.9 * math.log(len(SHAPES) * len(COLOURS) * len(BACKGROUNDS))
    assert all(torch.equal(value, before[name]) for name, value in small.transformer.state_dict().items())
    assert not any(weight.requires_grad for weight in small.network.parameters())


def test_at_the_end_the_language_model_learns_and_the_tower_stays(monkeypatch, small, tmp_path: Path):
    plan = Plan(steps=12, batch=4, lr=3e-3, warmup=1, ema=0.5, muon=True)
    lesson = janus.Answers(name="test", plan=plan, shares={"draw": 0.2, "plan": 0.2, "answer": 0.6}, plain_first=0.5)
    asked: list[str | None] = []
    real = janus_sight.draw_question
    monkeypatch.setattr(
        janus_sight, "draw_question", lambda scene, rng, kind: asked.append(kind) or real(scene, rng, kind=kind)
    )
    rng = draws_for("test-pool", 0).numpy
    pool = janus.Pool(scenes=[draw_scene(rng) for _ in range(4)], tokens=torch.full((4, 64), 7, dtype=torch.int16))
    tower, spoken = ({n: v.clone() for n, v in it.state_dict().items()} for it in (small.vision_model, small.aligner))
    list(janus.train_to_answer(small, pool, lesson, tmp_path / "state"))
    assert set(asked[:1]) < set(janus.PLAIN_KINDS), "first what is there"
    assert asked[-1] is None, "then all kinds"
    assert all(torch.equal(value, tower[name]) for name, value in small.vision_model.state_dict().items())
    assert not all(torch.equal(value, spoken[name]) for name, value in small.aligner.state_dict().items())
    assert not any(weight.requires_grad for weight in small.network.parameters())


def test_what_is_said_of_patches_is_told_by_the_words_themselves(small):
    """Patches that are the words for what lies there miss little; those of other scenes' much."""
    scenes = [draw_scene(draws_for("test-said", i).numpy) for i in range(4)]
    word = small.transformer.language_model.embed_tokens.weight
    words = {name: F.normalize(word[small.words.ids(name)[0]], dim=-1) for name in (*SHAPES, *COLOURS, *BACKGROUNDS)}
    shown = torch.stack(
        [
            torch.stack(
                [
                    words[scene.background] if shape == 0 else words[SHAPES[shape - 1]] + words[[*COLOURS][colour - 1]]
                    for shape, colour in patches.tolist()
                ]
            )
            for scene, patches in zip(scenes, patch_answers(scenes), strict=True)
        ]
    )
    right, wrong = (janus_sight.said_loss(small, it, scenes) for it in (shown, shown.roll(1, dims=0)))
    assert right < 0.2 * wrong


def test_questions_behind_one_picture_are_read_as_if_each_was_alone(small):
    scenes = [draw_scene(draws_for("test-alone", i).numpy) for i in range(3)]
    rng, shown = draws_for("test-alone", 9).numpy, small.look(render(scenes))
    asked = [[draw_question(scene, rng) for _ in range(4)] for scene in scenes]
    states, wanted = janus_sight.read_questions(small, shown, asked)
    alone = [
        janus_sight.read_questions(small, shown[i : i + 1], [[one]]) for i, many in enumerate(asked) for one in many
    ]
    torch.testing.assert_close(states, torch.cat([one for one, _ in alone]), rtol=1e-4, atol=1e-5)
    assert torch.equal(wanted, torch.cat([one for _, one in alone]))


def test_answers_are_read_as_they_are_taught(small):
    """What a lesson foretells an answer from is what asking the model reads."""
    scenes = [draw_scene(draws_for("test-answers", i).numpy) for i in range(3)]
    asked = [draw_question(scene, draws_for("test-asked", i).numpy) for i, scene in enumerate(scenes)]
    states, wanted = janus_sight.read_questions(small, small.look(render(scenes)), [[question] for question in asked])
    logits = small.transformer.word_logits(states)[:, 0].masked_fill(~small.writable, -torch.inf)
    logits[:, small.begin_of_image] = -torch.inf
    first = [small.words.text([word]) for word in logits.argmax(dim=-1).tolist()]
    said = answer(small, render(scenes), [question.text for question in asked], max_words=1)
    assert said == first
    assert [small.words.text([word]) for word in wanted[:, 0].tolist()] == [question.answer for question in asked]
    assert (wanted[:, 1] == small.words.end).all()


def test_it_is_installed_in_transformers_own_layout(small, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    save_janus(small, tmp_path / "built" / "janus")
    install("pocket-janus", tmp_path / "built", root=tmp_path / "installed")
    folder = pocket_folder("pocket-janus", root=tmp_path / "installed")
    network = JanusForConditionalGeneration.from_pretrained(str(folder))
    assert network.dtype == torch.float16
    loaded = load_janus(folder)
    assert (loaded.num_tokens, loaded.vocabulary, loaded.image_size) == (64, llamagen.CODES, 64)
    assert loaded.words.settings == janus.plan_settings()
    images = render([draw_scene(draws_for("test-installed", 0).numpy)])
    torch.testing.assert_close(loaded.decode(loaded.encode_images(images)).shape, images.shape)
