"""pocket-janus's lessons: words it knows, tokens it paints, and drawing, planning and answering that are learned."""

from pathlib import Path

import pytest
import torch
from transformers import JanusForConditionalGeneration

from plaudit.generators.janus_answers import answer
from plaudit.generators.janus_files import load_janus, save_janus
from plaudit.pocket.build import janus, llamagen
from plaudit.pocket.build.install import install
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.vae import new_vae
from plaudit.pocket.folders import pocket_folder
from plaudit.pocket.plans import longest_plan, read_plan, write_plan
from plaudit.pocket.prompts import describe
from plaudit.pocket.questions import draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import draw_scene
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
    draw, plan = janus._draw_loss, janus._answer_loss

    def noting(made):
        loss, parts = made
        for name, value in parts.items():
            seen.setdefault(name, []).append(float(value.detach()))
        return loss, parts

    monkeypatch.setattr(janus, "_draw_loss", lambda *given, **named: noting(draw(*given, **named)))
    monkeypatch.setattr(janus, "_answer_loss", lambda *given: noting(plan(*given)))
    list(janus.train_janus(small, pool, tmp_path / "state"))
    for name in ("draw", "draw_planned", "plan", "answers", "looked"):
        values = seen[name]
        assert sum(values[-3:]) / 3 < 0.95 * values[0], name
    assert sum(seen["draw"][-3:]) / 3 < 1.0, "the pictures are all of one token"


def test_answers_are_read_as_they_are_taught(small):
    """What a lesson foretells an answer from is what asking the model reads."""
    scenes = [draw_scene(draws_for("test-answers", i).numpy) for i in range(3)]
    asked = [draw_question(scene, draws_for("test-asked", i).numpy) for i, scene in enumerate(scenes)]
    states, wanted = janus._read_questions(small, small.look(render(scenes)), asked)
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
