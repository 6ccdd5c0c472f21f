"""pocket-llamagen's lessons: tokens that a picture survives, classes and prompts that are told, both learned."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.pocket.build import llamagen, pixart
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.vae import new_vae
from plaudit.pocket.prompts import parse
from plaudit.pocket.render import render
from plaudit.pocket.scenes import draw_scene
from plaudit.pocket.truth import failures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return llamagen.new_tokenizer(new_vae(), CPU)


@pytest.fixture(scope="module")
def scenes():
    rng = draws_for("test-classes", 0).numpy
    return [draw_scene(rng, kind="one") for _ in range(24)]


def small(**told):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaTransformer(
            LlamaSizes(dim=16, layers=1, heads=2, hidden=32, vocabulary=llamagen.CODES, grid=llamagen.GRID, **told)
        )


def test_its_sizes_are_the_autoencoders_and_its_codes_lie_where_scenes_do(tokenizer):
    assert tokenizer.sizes == llamagen.TOKENIZER_SIZES
    lengths = tokenizer.quantize.embedding.weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    with torch.no_grad():
        latents = tokenizer.latents(render([draw_scene(draws_for("x", 0).numpy) for _ in range(4)]))
        near = tokenizer.quantize.quantise(latents).commitment_loss
        strange = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        assert near < 0.3 * tokenizer.quantize.quantise(strange).commitment_loss


def test_the_tokenizer_learns_and_a_stopped_lesson_goes_on(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(llamagen, "TOKENIZER_PLAN", Plan(steps=6, batch=4, lr=2e-3, warmup=1, ema=0.5))

    def trained(state: Path):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = llamagen.new_tokenizer(new_vae(), CPU)
        steps = list(llamagen.train_tokenizer(made, state, CPU))
        return made.state_dict(), steps

    whole, steps = trained(tmp_path / "whole")
    assert 1 < steps[-1].parts["codes"] <= llamagen.CODES
    monkeypatch.setattr(llamagen, "TOKENIZER_PLAN", replace(llamagen.TOKENIZER_PLAN))
    again, _ = trained(tmp_path / "whole")
    assert all(torch.equal(again[name], value) for name, value in whole.items()), "its state is the end already"


def test_the_decoder_learns_alone_and_tokens_stay(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(llamagen, "PAINT_PLAN", Plan(steps=6, batch=4, lr=2e-3, warmup=1, ema=0.5))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = llamagen.new_tokenizer(new_vae(), CPU)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    images = render([draw_scene(draws_for("x", i).numpy) for i in range(4)])
    tokens = made.encode(images)
    assert list(llamagen.train_to_paint(made, tmp_path / "state", CPU))
    moved = {name.split(".")[0] for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"decoder", "post_quant_conv"}
    assert torch.equal(made.encode(images), tokens)
    assert not any(p.requires_grad for p in made.parameters())


def test_a_class_is_a_prompt_that_its_scenes_fulfil(scenes):
    assert len(set(llamagen.CLASS_NAMES)) == len(llamagen.CLASSES)
    for scene in scenes:
        request = parse(llamagen.CLASS_NAMES[llamagen.class_of(scene)])
        assert failures(scene, request) == ()


def test_tokens_are_kept_for_a_restart(tokenizer, scenes, tmp_path: Path):
    file = tmp_path / "tokens.npy"
    *_, first = llamagen.encode_tokens(tokenizer, scenes, file, CPU)
    assert first.shape == (24, 64)
    assert 0 <= int(first.min()) <= int(first.max()) < llamagen.CODES
    file_time = file.stat().st_mtime_ns
    (again,) = llamagen.encode_tokens(tokenizer, scenes, file, CPU)
    assert torch.equal(first, again)
    assert file.stat().st_mtime_ns == file_time


def test_the_transformer_learns_what_classes_look_like(tokenizer, scenes, tmp_path: Path):
    *_, tokens = llamagen.encode_tokens(tokenizer, scenes, tmp_path / "tokens.npy", CPU)
    policy = LlamaGen(small(classes=len(llamagen.CLASSES)), tokenizer, class_names=llamagen.CLASS_NAMES)
    lesson = replace(
        llamagen.class_lesson(policy, tokens, scenes), plan=Plan(steps=40, batch=16, lr=1e-2, warmup=1, ema=0.5)
    )
    steps = list(llamagen.train_to_foretell(policy, lesson, tmp_path / "state"))
    assert steps[-1].loss < 5.6, "it knew nothing at ln 512 = 6.24"
    assert not any(p.requires_grad for p in policy.transformer.parameters())
    told = policy.encode([llamagen.CLASS_NAMES[3]])
    assert int(told.labels) == 3


def test_a_prompt_is_told_by_its_words(tokenizer, scenes, tmp_path: Path):
    *_, tokens = llamagen.encode_tokens(tokenizer, scenes, tmp_path / "tokens.npy", CPU)
    words = pixart.new_t5_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = pixart.new_t5(words)
    transformer = small(caption_dim=pixart.WIDTH, prefix=32)
    policy = LlamaGen(transformer, tokenizer, text=(words, encoder))
    lesson = llamagen.text_lesson(policy, tokens, scenes)
    condition = lesson.tell([0, 1], draws_for("x", 0))
    assert condition.states.shape == (2, 32, pixart.WIDTH)
    drop = torch.tensor([True, False])
    dropped = policy.asking_nothing(condition, drop)
    assert not torch.equal(dropped.states[0], condition.states[0])
    assert torch.equal(dropped.states[1], condition.states[1])
    shorter = replace(lesson, plan=Plan(steps=3, batch=4, lr=1e-3, warmup=1))
    (progress,) = llamagen.train_to_foretell(policy, shorter, tmp_path / "state")
    assert progress.step == 3
