"""Reward-guided consistency distillation: what the student is held to, where rewards lead it, and restarts."""

from dataclasses import replace

import pytest
import torch
from methods.toy_denoiser import PLACES, PROMPTS, Brightness, ToyDenoising

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for, stream
from plaudit.methods.rg_lcm import Pictures, RgLcm, RgLcmConfig, huber

CONFIG = RgLcmConfig(updates=3, images_per_update=6, levels=4, guidance=2.0, reward_scale=0.0, lr=0.01, batch_size=4)


def training(config=CONFIG, *, teacher_weight=0.3):
    """A student and a target that begin at nothing, and a teacher that sees all a little brighter."""
    student, teacher, target = ToyDenoising(), ToyDenoising(), ToyDenoising()
    with torch.no_grad():
        teacher.weight.fill_(teacher_weight)
    latents = noise_for([("picture", row) for row in range(len(PROMPTS))], student.noise_shape).tanh()
    data = Pictures(latents=latents, prompts=PROMPTS)
    return RgLcm(student, Brightness(), data, config, teacher=teacher, target=target)


def test_the_pseudo_huber_norm_by_hand():
    difference = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])
    # c = 0.5 sqrt(2): sqrt(25 + 0.5) - sqrt(0.5), and 0.
    expected = [25.5**0.5 - 0.5**0.5, 0.0]
    assert huber(difference, 0.5).tolist() == pytest.approx(expected)


def test_the_student_is_led_to_what_the_target_sees_after_a_guided_step_of_the_teacher():
    """The first update's distance, by the equations, an image at a time."""
    one = training()
    student, teacher, config = one.student, one.teacher, one.config
    total = 0.0
    chosen = torch.randint(len(PROMPTS), (6,), generator=stream(0, "prompts", 0))
    for row, number in enumerate(chosen.tolist()):
        key = (0, "pair", 0, row)
        at = int(torch.randint(4, (), generator=stream(*key, "level")))
        signal, noise = at / 4, 1 - at / 4
        x = signal * one.data.latents[[number]] + noise * noise_for([key], student.noise_shape)
        given, blank = (teacher.clean(x, one.grid[[at]], student.encode([text])) for text in (PROMPTS[number], ""))
        guided = blank + config.guidance * (given - blank)
        wanted = guided
        if at < 3:
            eps = (x - signal * guided) / noise
            down = (signal + 0.25) * guided + (noise - 0.25) * eps
            wanted = one.target.clean(down, one.grid[[at + 1]], student.encode([PROMPTS[number]]))
        seen = student.clean(x, one.grid[[at]], student.encode([PROMPTS[number]]))
        total += huber(seen - wanted, config.huber).sum().item()
    assert next(one.updates()).distance == pytest.approx(total / 6, rel=1e-4)


def test_distillation_alone_comes_closer_to_the_teacher():
    one = training(replace(CONFIG, updates=150, guidance=1.0, lr=0.02, target=0.5))
    # The grid of four steps meets a quarter of the toy's levels.
    met = one.grid.time
    list(one.updates())
    weight = one.student.weight.detach()[met].mean(dim=1)
    assert (weight > 0.15).all()
    assert one.student.weight.detach()[[PLACES - 1]].abs().max() == 0


def test_rewards_lead_the_student_beyond_its_teacher():
    without = training(replace(CONFIG, updates=40, guidance=1.0))
    led = training(replace(CONFIG, updates=40, guidance=1.0, reward_scale=50.0))
    for one in (without, led):
        list(one.updates())
    assert led.student.weight[led.grid.time].mean() > without.student.weight[led.grid.time].mean() + 0.05


def test_the_target_is_the_students_running_average_and_the_teacher_stays():
    one = training(replace(CONFIG, updates=1, target=0.75))
    frozen = one.teacher.weight.detach().clone()
    next(one.updates())
    assert torch.allclose(one.target.weight, 0.25 * one.student.weight, atol=1e-7)
    assert torch.equal(one.teacher.weight, frozen)
    assert one.teacher.weight.grad is None
    assert one.target.weight.grad is None


@pytest.mark.parametrize("normalise", ["none", "latents", "pixels"])
def test_the_batchs_size_changes_nothing(normalise):
    config = replace(CONFIG, reward_scale=1.0, normalise=normalise)
    found = []
    for size in (1, 4, 6):
        one = training(replace(config, batch_size=size))
        list(one.updates())
        found.append(one.student.weight.detach())
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)


def test_stopping_and_going_on_changes_nothing():
    config = replace(CONFIG, updates=5, reward_scale=1.0)
    whole = training(config)
    list(whole.updates())
    half = training(config)
    for update in half.updates():
        if update.index == 1:
            break
    rest = training(config)
    rest.load(half.state())
    assert [update.index for update in rest.updates()] == [2, 3, 4]
    assert torch.equal(rest.student.weight, whole.student.weight)
    assert torch.equal(rest.target.weight, whole.target.weight)


def test_pictures_without_their_prompts_and_rewards_without_a_gradient_are_refused():
    with pytest.raises(BadConfig, match="4 pictures need as many prompts, got 3"):
        Pictures(latents=torch.zeros(4, 3, 2, 2), prompts=PROMPTS[:3])
    reward = Brightness()
    reward.differentiable = False
    given = ToyDenoising(), reward, training().data, replace(CONFIG, reward_scale=1.0)
    with pytest.raises(BadConfig, match="follows gradients, and the reward 'reward' has none"):
        RgLcm(*given, teacher=ToyDenoising(), target=ToyDenoising())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"updates": 0}, "updates must be at least 1, got 0"),
        ({"levels": 1}, "levels must be at least 2, got 1"),
        ({"guidance": -1.0}, "guidance must be at least 0, got -1.0"),
        ({"huber": 0.0}, "huber must be positive, got 0.0"),
        ({"target": 1.0}, "target must be at least 0 and below 1, got 1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, says):
    with pytest.raises(BadConfig, match=says):
        RgLcmConfig(**wrong)
