import dataclasses
import math

import pytest
import torch
from toys import Colour, Null, Painter, Rounded, Texture

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.methods.losses import clip_per_image, norm_penalty
from plaudit.methods.reno import BestSoFar, RenoConfig, optimise_noise
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.table import load_rewards

PROMPTS = ["a red square", "two rings", "a blue star"]
MIX = WeightedSum({"red": (1.0, Colour(0)), "texture": (2.0, Texture())})


def run(config, prompts=PROMPTS, reward=MIX, generator=None, held_out=None):
    """Every step, and each image's result."""
    best = BestSoFar(prompts, config)
    steps = []
    for step in optimise_noise(generator or Painter(), reward, prompts, config, held_out=held_out):
        best.see(step)
        steps.append(step)
    return steps, best.results()


class Poisoned(Colour):
    """Its gradient is not a number for one prompt while `left` lasts; its score always is one."""

    def __init__(self, prompt, times):
        super().__init__()
        self.prompt, self.left = prompt, times

    def __call__(self, images, prompts):
        scores = super().__call__(images, prompts)
        if images.requires_grad and self.left > 0:
            self.left -= 1
            bad = torch.tensor([prompt == self.prompt for prompt in prompts])
            # The square root's slope at nought is infinite, times nought is not a number.
            scores = scores.clone()
            scores[bad] += (images[bad] * 0).sum(dim=(1, 2, 3)).sqrt() * 0
        return scores


def test_fifty_looks_are_forty_nine_updates():
    generator = Painter()
    steps, _ = run(RenoConfig(), prompts=PROMPTS[:1], generator=generator)
    assert [step.index for step in steps] == list(range(50))
    assert {step.steps for step in steps} == {50}
    assert len(generator.batch_sizes) == 50
    assert len({step.norm.item() for step in steps}) == 50  # 49 changes of the noise


def test_the_last_look_needs_no_gradient_and_makes_none():
    class Notes(Painter):
        def __init__(self):
            super().__init__()
            self.wanted = []

        def sample(self, noise, condition):
            self.wanted.append(noise.requires_grad and torch.is_grad_enabled())
            return super().sample(noise, condition)

    generator = Notes()
    run(RenoConfig(steps=4, start_best_of=2), generator=generator)
    assert generator.wanted == [False, False, True, True, True, False]


def test_the_first_step_is_the_image_nobody_optimised():
    steps, _ = run(RenoConfig(steps=2, seed=3, images_per_prompt=2))
    expected = noise_for([(3, p, i) for p in range(3) for i in range(2)], Painter.noise_shape)
    assert torch.equal(steps[0].noise, expected)
    assert steps[0].rows == (0, 1, 2, 3, 4, 5)


def test_one_update_is_the_paper_s():
    config = RenoConfig(steps=2, lr=0.7, grad_clip=0.05, prior_weight=0.02)
    generator = Painter()
    steps, _ = run(config, generator=generator)
    noise = steps[0].noise.clone().requires_grad_()
    images = generator.sample(noise, generator.encode(PROMPTS))
    loss = (0.02 * norm_penalty(noise) - MIX(images, PROMPTS)).sum()
    gradient = clip_per_image(torch.autograd.grad(loss, noise)[0], 0.05)
    assert (gradient.flatten(1).norm(dim=1) > 0.0499).all()  # the clip is what is tested
    torch.testing.assert_close(steps[1].noise, (noise - 0.7 * 1.9 * gradient).detach())


def test_one_backward_per_reward_is_the_joint_backward(sd_folder, clip_folder, image_reward_folder):
    generator = StableDiffusion.from_pretrained(sd_folder)
    reward = load_rewards([f"{clip_folder}:0.3", f"{image_reward_folder}:2"])
    config = RenoConfig(steps=2, lr=1.0, momentum=0.0, grad_clip=1e9, prior_weight=0.0)
    steps, _ = run(config, reward=reward, generator=generator)
    noise = steps[0].noise.clone().requires_grad_()
    total = reward(generator.sample(noise, generator.encode(PROMPTS)), PROMPTS)
    joint = torch.autograd.grad(total.sum(), noise)[0]
    split = steps[1].noise - steps[0].noise  # with this config, the step is the gradient of the total
    assert joint.norm() > 1e-3
    torch.testing.assert_close(split, joint, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(steps[0].total, total.detach())


def test_images_together_are_what_they_are_alone(sd_folder, clip_folder):
    generator, reward = StableDiffusion.from_pretrained(sd_folder), load_rewards([f"{clip_folder}:1"])
    config = RenoConfig(steps=6, images_per_prompt=2)
    _, together = run(config, generator=generator, reward=reward)
    _, alone = run(dataclasses.replace(config, batch_size=1), generator=generator, reward=reward)
    assert len(together) == len(alone) == 6
    for one, other in zip(together, alone, strict=True):
        assert (one.row, one.prompt, one.best_step) == (other.row, other.prompt, other.best_step)
        torch.testing.assert_close(one.noise, other.noise, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(torch.tensor(one.trace), torch.tensor(other.trace), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_results_do_not_depend_on_the_batch_size(batch_size):
    config = RenoConfig(steps=10, images_per_prompt=2, patience=4)
    _, reference = run(config)
    _, results = run(dataclasses.replace(config, batch_size=batch_size))
    for one, other in zip(results, reference, strict=True):
        torch.testing.assert_close(one.noise, other.noise, atol=1e-5, rtol=1e-5)
        assert one.trace == pytest.approx(other.trace, abs=1e-5)


def test_a_prompt_s_images_are_the_same_in_other_company():
    _, all_three = run(RenoConfig(steps=8))
    _, first = run(RenoConfig(steps=8), prompts=PROMPTS[:1])
    torch.testing.assert_close(first[0].noise, all_three[0].noise, atol=1e-6, rtol=1e-6)


def test_seeds_differ():
    _, one = run(RenoConfig(steps=1, seed=0))
    _, other = run(RenoConfig(steps=1, seed=1))
    assert not torch.equal(one[0].noise, other[0].noise)


def test_prompts_are_encoded_once():
    generator = Painter()
    run(RenoConfig(steps=5, images_per_prompt=3, batch_size=2), generator=generator)
    assert generator.encoded == PROMPTS


def test_the_asked_for_colour_comes():
    steps, results = run(RenoConfig(steps=50, lr=2.0), reward=Colour(1))
    assert all(r.total > r.first_total + 0.15 for r in results)
    # ReNO's own smoke test: monotone at a small step.
    steps, _ = run(RenoConfig(steps=30, lr=0.2), reward=Colour(1))
    totals = torch.stack([step.total for step in steps])
    assert bool((totals.diff(dim=0) > 0).all())


def test_a_reward_that_is_only_watched_rises_too():
    class Pink(Colour):
        """Close to red, yet not the same."""

        def __call__(self, images, prompts):
            return images[:, 0].mean(dim=(1, 2)) - 0.7 * images[:, 1].mean(dim=(1, 2))

    _, results = run(RenoConfig(steps=30, lr=2.0), reward=Colour(0), held_out=Pink())
    assert all(r.held_out_trace[-1] > r.held_out_trace[0] + 0.05 for r in results)


def test_a_watched_reward_changes_nothing():
    _, with_it = run(RenoConfig(steps=5), held_out=Texture())
    _, without = run(RenoConfig(steps=5))
    assert torch.equal(with_it[0].noise, without[0].noise)
    assert without[0].held_out_trace == ()


def test_the_prior_keeps_the_noise_on_the_gaussian_shell():
    class Large(Painter):
        noise_shape = (4, 16, 16)

        def sample(self, noise, condition):
            return super().sample(noise[:, :3, :4, :4], condition)

    config = RenoConfig(steps=50, images_per_prompt=8, batch_size=24)
    steps, _ = run(config, reward=Null(), generator=Large())
    shell = math.sqrt(4 * 16 * 16 - 1)
    assert float((steps[0].norm / shell - 1).abs().max()) > 0.01  # some start further off
    for step in steps[-5:]:
        torch.testing.assert_close(step.norm, torch.full_like(step.norm, shell), rtol=0.01, atol=0)
        assert bool((step.deviation.abs() < 0.1).all())


def test_without_the_prior_the_noise_leaves_the_shell():
    class Long(Null):
        """A longer noise is better: what a penalty is for."""

        def __call__(self, images, prompts):
            return (images - 0.5).abs().mean(dim=(1, 2, 3)) * 30

    free, _ = run(RenoConfig(steps=50, prior_weight=0.0, lr=1.0), reward=Long())
    held, _ = run(RenoConfig(steps=50, prior_weight=1.0, lr=1.0), reward=Long())
    assert bool((free[-1].norm > held[-1].norm * 1.1).all())


def test_the_default_step_is_the_published_one_scaled_to_the_noise():
    assert RenoConfig().lr_for(16384) == 5.0
    assert RenoConfig().lr_for(4096) == 2.5
    assert RenoConfig().lr_for(65536) == 10.0  # also what the released code uses at 1024 pixels
    assert RenoConfig(lr=2.0).lr_for(4096) == 2.0


def test_a_gradient_that_is_not_a_number_is_survived():
    config = RenoConfig(steps=12, lr=1.0)
    steps, results = run(config, reward=Poisoned("two rings", times=3))
    clean_steps, clean = run(config, reward=Colour())
    assert [r.skipped for r in results] == [0, 3, 0]
    # The image itself stood still three times, at the right place, then went on with an eighth of the step.
    assert torch.equal(steps[3].noise[1], steps[0].noise[1])
    assert not torch.equal(steps[4].noise[1], steps[3].noise[1])
    moved, unharmed = steps[4].noise[1] - steps[3].noise[1], clean_steps[1].noise[1] - steps[0].noise[1]
    torch.testing.assert_close(8 * moved, unharmed, atol=1e-5, rtol=1e-4)
    assert all(math.isfinite(t) for r in results for t in r.trace)
    assert results[1].total > results[1].first_total
    # Its neighbours never noticed.
    for row in (0, 2):
        torch.testing.assert_close(results[row].noise, clean[row].noise)


def test_a_gradient_that_never_is_a_number_leaves_the_first_image():
    steps, results = run(RenoConfig(steps=6), prompts=["a", "two rings"], reward=Poisoned("two rings", times=99))
    assert results[1].skipped == 5
    assert torch.equal(results[1].noise, steps[0].noise[1])


def test_a_score_that_is_not_a_number_is_never_best():
    class Sometimes(Colour):
        calls = 0

        def __call__(self, images, prompts):
            self.calls += 1
            scores = super().__call__(images, prompts)
            return scores / 0 * 0 if self.calls == 1 else scores + (float("inf") if self.calls == 3 else 0)

    _, results = run(RenoConfig(steps=4), reward=Sometimes())
    assert all(r.best_step in (1, 3) for r in results)
    assert all(math.isfinite(r.total) for r in results)


def test_images_that_no_longer_improve_stop():
    steps, results = run(RenoConfig(steps=40, patience=3), reward=Null())
    assert len(steps) == 4
    assert all(len(r.trace) == 4 for r in results)


def test_some_images_stop_while_others_go_on():
    class Half(Colour):
        """Nothing can be won for one of the prompts."""

        def __call__(self, images, prompts):
            worth = torch.tensor([0.0 if prompt == "two rings" else 1.0 for prompt in prompts])
            return super().__call__(images, prompts) * worth

    config = RenoConfig(steps=20, patience=3, lr=0.5)
    steps, results = run(config, reward=Half())
    assert [len(r.trace) for r in results] == [20, 4, 20]
    assert steps[3].rows == (0, 1, 2)
    assert steps[4].rows == (0, 2)
    _, patient = run(dataclasses.replace(config, patience=None), reward=Half())
    torch.testing.assert_close(results[2].noise, patient[2].noise)
    assert torch.equal(results[1].image, results[1].first_image)


def test_the_guard_stops_what_is_gained_at_the_held_out_reward_s_cost():
    class Opposite(Colour):
        def __call__(self, images, prompts):
            return -super().__call__(images, prompts)

    config = RenoConfig(steps=40, lr=1.0, guard_held_out=True)
    steps, results = run(config, reward=Colour(), held_out=Opposite())
    assert len(steps) < 10
    # And what was gained so is not kept.
    assert all(r.best_step == 0 for r in results)
    _, friendly = run(config, reward=Colour(), held_out=Colour())
    assert all(len(r.trace) == 40 and r.best_step > 20 for r in friendly)


def test_a_guard_without_anything_to_watch_is_refused():
    with pytest.raises(BadConfig, match="needs a held-out reward"):
        optimise_noise(Painter(), MIX, PROMPTS, RenoConfig(guard_held_out=True))


def test_the_hybrid_starts_from_the_best_of_several():
    config = RenoConfig(steps=5, start_best_of=4)
    steps, results = run(config)
    assert len(steps) == 9
    assert {step.steps for step in steps} == {9}
    candidates = torch.stack([step.total for step in steps[:4]])
    torch.testing.assert_close(steps[4].total, candidates.max(dim=0).values)
    assert candidates.argmax(dim=0).tolist() != [0, 0, 0]
    # The first picture stays the one that nobody chose or optimised.
    plain, _ = run(RenoConfig(steps=1))
    torch.testing.assert_close(torch.stack([r.first_image for r in results]), plain[0].images)
    assert all(r.total >= float(best) for r, best in zip(results, candidates.max(dim=0).values, strict=True))


def test_the_hybrid_does_not_depend_on_the_batch_size():
    config = RenoConfig(steps=4, start_best_of=3, images_per_prompt=2)
    _, one = run(config)
    _, other = run(dataclasses.replace(config, batch_size=4))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.noise, b.noise, atol=1e-5, rtol=1e-5)


def test_a_part_of_weight_nought_is_reported_and_not_followed():
    watched = WeightedSum({"red": (1.0, Colour(0)), "texture": (0.0, Texture())})
    _, results = run(RenoConfig(steps=6), reward=watched)
    _, alone = run(RenoConfig(steps=6), reward=Colour(0))
    assert len(results[0].parts_trace["texture"]) == 6
    assert torch.equal(results[0].noise, alone[0].noise)


def test_a_reward_without_gradients_is_refused():
    mix = WeightedSum({"red": (1.0, Colour()), "bytes": (1.0, Rounded())})
    with pytest.raises(BadConfig, match="'bytes' has none"):
        optimise_noise(Painter(), mix, PROMPTS, RenoConfig())


@pytest.mark.parametrize(("prompts", "complaint"), [
    ([], "no prompt"), (["a", "  "], "prompt 2 of 2 is empty"), ("a fox", "list of texts"),
])  # fmt: skip
def test_bad_prompts_are_refused_at_once(prompts, complaint):
    with pytest.raises(BadConfig, match=complaint):
        optimise_noise(Painter(), MIX, prompts, RenoConfig())


@pytest.mark.parametrize("settings", [
    {"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}, {"grad_clip": 0.0},
    {"prior_weight": -1.0}, {"images_per_prompt": 0}, {"start_best_of": 0}, {"patience": 0},
    {"batch_size": 0},
])  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(settings):
    with pytest.raises(BadConfig, match=next(iter(settings))):
        RenoConfig(**settings)


def test_nothing_of_the_graph_is_handed_out():
    for step in optimise_noise(Painter(), MIX, PROMPTS, RenoConfig(steps=3), held_out=Texture()):
        tensors = [step.images, step.total, step.noise, step.norm, step.held_out, *step.parts.values()]
        assert not any(tensor.requires_grad for tensor in tensors)


def test_time_spent_by_the_watcher_is_not_counted():
    import time

    begun, watched = time.monotonic(), 0.0
    for step in optimise_noise(Painter(), MIX, PROMPTS, RenoConfig(steps=3)):
        at = time.monotonic()
        assert 0 < step.seconds <= at - begun - watched
        time.sleep(0.2)
        watched += time.monotonic() - at
