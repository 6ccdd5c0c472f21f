"""pocket-lcm's distillation: it starts as the teacher, agrees where the teacher does, and samples as LCM does."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from plaudit.pocket.build import lcm
from plaudit.pocket.build.base import Batches, Pool, new_scheduler, new_unet
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.matching import at_times, clean_of
from plaudit.pocket.build.text import new_tokenizer, text_config
from plaudit.pocket.build.turbo import Teacher
from plaudit.pocket.scenes import draw_scene


@pytest.fixture(scope="module")
def batches() -> Batches:
    draws = draws_for("test-pool", 0)
    pool = Pool(scenes=[draw_scene(draws.numpy) for _ in range(8)], latents=draws.normal(8, 8, 8, 8).half())
    tokenizer = new_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(text_config(tokenizer)).eval()
    return Batches(pool, encoder, tokenizer, torch.device("cpu"))


@pytest.fixture(scope="module")
def teacher(batches: Batches) -> Teacher:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Teacher(new_unet(), batches)


def told_of(student: UNet2DConditionModel, teacher: Teacher, states: torch.Tensor) -> lcm.Told:
    guidance = lcm.draw_guidance(draws_for("test-guidance", 0), len(states))
    return lcm.Told(unet=student, alphas=teacher.alphas, states=states, guidance=guidance)


def test_it_starts_as_the_teacher_whatever_guidance_it_is_told(batches: Batches, teacher: Teacher) -> None:
    student = lcm.with_guidance(teacher.unet)
    draws = draws_for("test-start", 0)
    noisy, states = draws.normal(2, 8, 8, 8), batches.read(["a red ring", "two stars"])
    times = torch.tensor([999, 19])
    told = told_of(student, teacher, states)
    with torch.no_grad():
        v = told.predict(noisy, times)
        theirs = teacher.unet(noisy, times, encoder_hidden_states=states).sample
    # Loose where the machine multiplies in bfloat16.
    assert (v.float() - theirs).abs().mean() < 0.05 * theirs.abs().mean()
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_its_scheduler_is_lcms_on_the_teachers_schedule() -> None:
    scheduler = lcm.new_lcm_scheduler()
    assert torch.equal(scheduler.alphas_cumprod, new_scheduler().alphas_cumprod)
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist()[0] == 999
    assert scheduler.config.prediction_type == "v_prediction"


def test_a_picture_and_its_noise_are_found_again_from_any_time(teacher: Teacher) -> None:
    draws = draws_for("test-clean", 0)
    clean, noise = draws.normal(3, 8, 8, 8), draws.normal(3, 8, 8, 8)
    times = torch.tensor([19, 499, 999])
    alpha = teacher.alphas[times].view(-1, 1, 1, 1)
    noisy = at_times(clean, noise, teacher.alphas, times)
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    assert torch.allclose(clean_of(noisy, v, teacher.alphas, times), clean, atol=1e-5)


def test_behind_the_last_time_the_target_is_the_teachers_own_picture(batches: Batches, teacher: Teacher) -> None:
    draws = draws_for("test-last", 0)
    noisy, guided = draws.normal(2, 8, 8, 8), draws.normal(2, 8, 8, 8)
    states = batches.read(["a red ring", "two stars"])
    told = told_of(lcm.with_guidance(teacher.unet), teacher, states)
    wanted = lcm.seen_nearer(told, noisy, guided, torch.tensor([19, 39]))
    assert torch.equal(wanted[0], guided[0])
    assert not torch.allclose(wanted[1], guided[1], atol=1e-3)


def test_only_the_last_step_passes_a_gradient(batches: Batches, teacher: Teacher) -> None:
    calls: list[bool] = []

    class Spy(UNet2DConditionModel):
        def forward(self, *given: object, **named: object) -> object:
            calls.append(torch.is_grad_enabled())
            return super().forward(*given, **named)

    student = lcm.with_guidance(teacher.unet)
    student.__class__ = Spy
    draws = draws_for("test-draw", 0)
    states = batches.read(["a red ring", "two stars"])
    made = lcm.drawn(told_of(student, teacher, states), [999, 499, 19], draws, (2, 8, 8, 8))
    assert calls == [False, False, True]
    assert made.requires_grad


def test_distillation_learns_to_agree_and_resumes(
    batches: Batches, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lcm, "AGREE_PLAN", Plan(steps=3, batch=4, lr=1e-4))
    monkeypatch.setattr(lcm, "MATCH_PLAN", Plan(steps=2, batch=4, lr=1e-4))
    student = lcm.with_guidance(teacher.unet)
    before = student.conv_out.weight.detach().clone()
    assert [p.step for p in lcm.agree(student, teacher, batches, tmp_path / "agree")][-1] == 3
    assert [p.step for p in lcm.match(student, teacher, batches, tmp_path / "match")][-1] == 2
    assert not torch.equal(before, student.conv_out.weight)
    assert list(lcm.match(student, teacher, batches, tmp_path / "match")) == []


def test_guidances_lie_in_their_range_and_vary() -> None:
    guidance = lcm.draw_guidance(draws_for("test-guidance", 0), 50)
    low, high = lcm.GUIDANCE
    assert guidance.shape == (50, 1, 1, 1)
    assert low <= float(guidance.min()) < low + 1
    assert high - 1 < float(guidance.max()) <= high
