"""pocket-pixart's building: every word is a piece, padding changes nothing, and the folder draws what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline
from transformers import CLIPTextModel

from plaudit.generators.pixart import PixArtAlpha
from plaudit.pocket.build import pixart, turbo, vae
from plaudit.pocket.build.base import Batches, Pool, new_unet
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.text import new_tokenizer, text_config
from plaudit.pocket.prompts import describe
from plaudit.pocket.scenes import draw_scene

PROMPTS = ["a red ring left of a Green square", "two stars"]


@pytest.fixture(scope="module")
def words() -> pixart.Words:
    tokenizer = pixart.new_t5_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return pixart.Words(tokenizer=tokenizer, encoder=pixart.new_t5(tokenizer).eval())


@pytest.fixture(scope="module")
def student() -> pixart.PixArtTransformer2DModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return pixart.new_transformer().eval()


def test_every_word_of_the_world_is_one_piece(words: pixart.Words) -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        text = describe(draw_scene(rng), rng)[0].lower()
        pieces = words.tokenizer.tokenize(text)
        assert pieces == [f"▁{word}" for word in text.split()]
    spelt = words.tokenizer.tokenize("zebra")
    assert "".join(spelt) == "▁zebra"
    assert words.tokenizer.unk_token not in spelt


def test_more_padding_changes_no_latents(words: pixart.Words, student: pixart.PixArtTransformer2DModel) -> None:
    noise = draws_for("test-pixart", 0).normal(2, 8, 8, 8)
    read = words.read(PROMPTS)
    longer = pixart.Reading(
        states=torch.cat([read.states, torch.ones(2, 9, pixart.WIDTH)], dim=1),
        mask=torch.cat([read.mask, torch.zeros(2, 9, dtype=read.mask.dtype)], dim=1),
    )
    with torch.no_grad():
        short, long = (pixart.one_step(student, noise, it) for it in (read, longer))
    assert (short - long).abs().mean() < 0.02 * short.abs().mean()


def test_the_published_folder_draws_what_was_trained(
    words: pixart.Words, student: pixart.PixArtTransformer2DModel, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        autoencoder = vae.new_vae().eval()
    PixArtAlphaPipeline(
        tokenizer=words.tokenizer,
        text_encoder=words.encoder,
        vae=autoencoder,
        transformer=student,
        scheduler=pixart.new_student_scheduler(),
    ).save_pretrained(tmp_path)
    generator = PixArtAlpha.from_pretrained(tmp_path)
    noise = draws_for("test-pixart", 1).normal(2, *generator.noise_shape)
    with torch.no_grad():
        drawn = generator.sample_latents(noise, generator.encode(PROMPTS))
        trained = pixart.one_step(student, noise, words.read(PROMPTS))
    # Loose where the machine trains in bfloat16.
    assert (drawn - trained).abs().mean() < 0.03 * trained.abs().mean()


def test_it_learns_and_resumes(words: pixart.Words, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for plan in ("READ_PLAN", "DENOISE_PLAN", "REGRESS_PLAN", "MATCH_PLAN"):
        monkeypatch.setattr(pixart, plan, Plan(steps=2, batch=4, lr=1e-4))
    draws = draws_for("test-pool", 0)
    pool = Pool(scenes=[draw_scene(draws.numpy) for _ in range(8)], latents=draws.normal(8, 8, 8, 8).half())
    tokenizer = new_tokenizer()
    batches = Batches(pool, CLIPTextModel(text_config(tokenizer)).eval(), tokenizer, torch.device("cpu"))
    teacher = turbo.Teacher(new_unet(), batches)
    fresh = pixart.Words(tokenizer=words.tokenizer, encoder=pixart.new_t5(words.tokenizer))
    assert [it.step for it in pixart.train_words(fresh, tmp_path / "words")][-1] == 2
    *_, pairs = turbo.make_pairs(teacher, batches, tmp_path / "pairs.npy", count=6)
    assert isinstance(pairs, turbo.Pairs)
    assert len(pairs.prompts) == 6
    student = pixart.new_transformer()
    before = student.proj_out.weight.detach().clone()
    assert [it.step for it in pixart.denoise(student, fresh, batches, tmp_path / "denoise")][-1] == 2
    assert [it.step for it in pixart.regress(student, fresh, pairs, tmp_path / "regress")][-1] == 2
    assert [it.step for it in pixart.match(student, fresh, teacher, pairs, batches, tmp_path / "match")][-1] == 2
    assert not torch.equal(before, student.proj_out.weight)
    assert list(pixart.match(student, fresh, teacher, pairs, batches, tmp_path / "match")) == []
