"""Distillation: the teacher's sampler is DDIM, and matching moves nothing once the models agree."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from plaudit.pocket.build import turbo
from plaudit.pocket.build.base import Batches, Pool, new_scheduler, new_unet
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.matching import matched
from plaudit.pocket.build.text import new_tokenizer, text_config
from plaudit.pocket.scenes import draw_scene


@pytest.fixture(scope="module")
def batches() -> Batches:
    from transformers import CLIPTextModel

    draws = draws_for("test-pool", 0)
    pool = Pool(scenes=[draw_scene(draws.numpy) for _ in range(8)], latents=draws.normal(8, 8, 8, 8).half())
    tokenizer = new_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(text_config(tokenizer)).eval()
    return Batches(pool, encoder, tokenizer, torch.device("cpu"))


def unet(seed: int) -> UNet2DConditionModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return new_unet()


def test_the_sampler_is_ddims(batches: Batches) -> None:
    teacher = turbo.Teacher(unet(0), batches)
    draws = draws_for("test-sampler", 0)
    noise, states = draws.normal(2, 8, 8, 8), batches.read(["a red ring", "two stars"])
    ours = teacher.sample(noise, states, steps=4, guidance=1.0)
    scheduler = new_scheduler()
    scheduler.set_timesteps(4)
    theirs = noise
    for time in scheduler.timesteps:
        with torch.no_grad():
            v = teacher.unet(theirs, time, encoder_hidden_states=states).sample
        theirs = scheduler.step(v, time, theirs).prev_sample
    # Loose where the machine multiplies in bfloat16.
    assert (ours - theirs).abs().mean() < 0.05 * theirs.abs().mean()


def test_one_step_is_the_samplers_single_step(batches: Batches) -> None:
    model = unet(1)
    noise, states = draws_for("test-one", 0).normal(2, 8, 8, 8), batches.read(["a red ring", "two stars"])
    scheduler = new_scheduler()
    scheduler.set_timesteps(1)
    with torch.no_grad():
        made = turbo.one_step(model, noise, states)
        v = model(noise, scheduler.timesteps[0], encoder_hidden_states=states).sample
        theirs = scheduler.step(v, scheduler.timesteps[0], noise).prev_sample
    assert scheduler.timesteps.tolist() == [turbo.LAST]
    assert (made - theirs).abs().mean() < 0.05 * theirs.abs().mean()


def test_nothing_moves_when_the_follower_is_the_teacher(batches: Batches) -> None:
    teacher = turbo.Teacher(unet(2), batches)
    states = batches.read(["a red ring", "two stars"])
    made = draws_for("test-match", 0).normal(2, 8, 8, 8).requires_grad_()

    def clean(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return teacher.clean(noisy, times, states, guidance=1.0)

    def matched_with(follower: UNet2DConditionModel) -> tuple[torch.Tensor, torch.Tensor]:
        says = lambda noisy, times: turbo.predict(follower, noisy, times, states)  # noqa: E731
        return matched(made, clean, says, teacher.alphas, draws_for("test-match", 1))

    same, apart = matched_with(teacher.unet)
    other, _ = matched_with(unet(3))
    assert float(apart) < 1e-2
    assert float(same.detach()) < 1e-3 * float(other.detach())


def test_distillation_runs_and_resumes(batches: Batches, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(turbo, "REGRESS_PLAN", Plan(steps=2, batch=4, lr=1e-4))
    monkeypatch.setattr(turbo, "MATCH_PLAN", Plan(steps=2, batch=4, lr=1e-4))
    teacher, student = turbo.Teacher(unet(4), batches), unet(4)
    *counts, pairs = turbo.make_pairs(teacher, batches, tmp_path / "pairs.npy", count=6)
    again = list(turbo.make_pairs(teacher, batches, tmp_path / "pairs.npy", count=6))
    assert counts == [6]
    assert isinstance(pairs, turbo.Pairs)
    assert len(again) == 1
    before = student.conv_out.weight.detach().clone()
    assert [p.step for p in turbo.regress(student, pairs, batches, tmp_path / "regress")][-1] == 2
    assert [p.step for p in turbo.match(student, teacher, pairs, batches, tmp_path / "match")][-1] == 2
    assert not torch.equal(before, student.conv_out.weight)
    assert list(turbo.match(student, teacher, pairs, batches, tmp_path / "match")) == []
