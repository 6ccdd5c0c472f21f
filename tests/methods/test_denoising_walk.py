"""A few steps from noise to picture: as diffusers walks them, each image for itself, with its own fresh noise."""

import pytest
import torch
from methods.toy_denoiser import PROMPTS, ToyDenoising

from plaudit.core.random_streams import noise_for, stream
from plaudit.generators.denoising import denoising_of, trailing_scheduler
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.methods.denoising_walk import DenoisingWalk, draw_few_steps

KEYS = [(5, "image", 0, row) for row in range(6)]
STEPS = 4


def walk(*, keys=KEYS, denoising=None, **settings):
    denoising = denoising or ToyDenoising()
    condition = denoising.encode([PROMPTS[key[-1] % 4] for key in keys])
    return DenoisingWalk(denoising, keys, condition, grid=denoising.grid(STEPS), **settings)


def finish(one):
    last = torch.full((len(one.keys),), one.steps - 1)
    with torch.no_grad():
        return one.judged_from(one.start(), torch.zeros_like(last), last)


def by_hand(key, denoising, *, eta, steps=STEPS):
    """One image's latents before every step, and what each step sees in them, by the equations of a flow."""
    condition = denoising.encode([PROMPTS[key[-1] % 4]])
    etas = eta * torch.rand(steps, generator=stream(*key, "eta"))
    latents, states, seen = noise_for([key], denoising.noise_shape), [], []
    for step in range(steps):
        states.append(latents)
        with torch.no_grad():
            clean = denoising.clean(latents, denoising.grid(steps)[[step]], condition)
        seen.append(clean)
        sigma, then = 1 - step / steps, 1 - (step + 1) / steps
        predicted = (latents - (1 - sigma) * clean) / sigma
        mixed = (1 - etas[step] ** 2).sqrt() * predicted + etas[step] * noise_for([(*key, step)], latents.shape[1:])
        latents = (1 - then) * clean + then * mixed
    return states, seen


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_walk_is_the_equations_image_for_image(eta):
    one = walk(eta=eta)
    first, judged = torch.tensor([0, 1, 2, 3, 1, 0]), torch.tensor([0, 3, 2, 3, 2, 1])
    with torch.no_grad():
        latents = one.to(first)
        found = one.judged_from(latents, first, judged)
    for row, key in enumerate(KEYS):
        states, seen = by_hand(key, ToyDenoising(), eta=eta)
        torch.testing.assert_close(latents[row], states[first[row]][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[row], seen[judged[row]][0], rtol=1e-4, atol=1e-5)


def test_noise_is_each_images_own_and_so_is_its_share():
    one = walk(eta=0.7)
    assert torch.equal(one.start(), noise_for(KEYS, (3, 2, 2)))
    assert one.etas.shape == (6, STEPS)
    assert len(set(one.etas.flatten().tolist())) == 24
    assert 0 <= one.etas.min() < 0.2
    assert 0.5 < one.etas.max() <= 0.7
    assert torch.equal(walk(eta=0.7, keys=KEYS[2:4]).etas, one.etas[2:4])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_image_does_not_depend_on_its_batch(eta):
    together = finish(walk(eta=eta))
    alone = torch.cat([finish(walk(eta=eta, keys=[key])) for key in reversed(KEYS)]).flip(0)
    torch.testing.assert_close(alone, together)


def test_without_fresh_noise_none_is_drawn(monkeypatch):
    one = walk(eta=0.0)
    start = one.start()
    monkeypatch.setattr("plaudit.methods.denoising_walk.noise_for", None)
    one.judged_from(start, torch.zeros(6, dtype=torch.long), torch.full((6,), 3))


def test_pictures_with_nothing_but_fresh_noise_are_a_consistency_models():
    """Every step starts from what the one before saw, noised anew."""
    denoising = ToyDenoising()
    condition, level = denoising.encode([PROMPTS[key[-1] % 4] for key in KEYS]), denoising.grid(STEPS)
    latents = noise_for(KEYS, (3, 2, 2))
    for step in range(STEPS):
        at = torch.full((6,), step)
        clean = denoising.clean(latents, level[at], condition)
        if step < STEPS - 1:
            latents = level[at + 1].noised(clean, noise_for([(*key, step) for key in KEYS], (3, 2, 2)))
    found = draw_few_steps(denoising, KEYS, condition, grid=level, fresh=True)
    torch.testing.assert_close(found, denoising.decode(clean))
    assert not torch.allclose(found, draw_few_steps(denoising, KEYS, condition, grid=level), atol=1e-2)


def test_fresh_noise_changes_the_picture_and_not_where_it_starts():
    calm, stirred = walk(eta=0.0), walk(eta=1.0)
    assert torch.equal(calm.start(), stirred.start())
    assert not torch.allclose(finish(calm), finish(stirred), atol=1e-2)
    assert not torch.allclose(finish(stirred), finish(walk(eta=1.0, keys=[(6, *key[1:]) for key in KEYS])), atol=1e-2)


def test_rows_are_handed_back_in_their_order_wherever_they_end():
    one = walk(eta=1.0)
    judged = torch.tensor([3, 0, 2, 1, 0, 3])
    zeros = torch.zeros(6, dtype=torch.long)
    with torch.no_grad():
        found = one.judged_from(one.start(), zeros, judged)
        for row in range(6):
            alone = walk(eta=1.0, keys=[KEYS[row]])
            expected = alone.judged_from(alone.start(), zeros[:1], judged[row : row + 1])
            torch.testing.assert_close(found[[row]], expected)


def test_each_noising_of_a_picture_is_new_and_its_own():
    found, whose = walk().noised_again(3)
    assert whose.tolist() == [row for row in range(6) for _ in range(3)]
    finished = finish(walk())
    denoising = ToyDenoising()
    level = denoising.grid(STEPS)[[3]]
    condition = denoising.encode([PROMPTS[key[-1] % 4] for key in KEYS])
    for row, key in enumerate(KEYS):
        for number in range(3):
            eps = noise_for([(*key, "noised", number)], (3, 2, 2))
            expected = denoising.clean(level.noised(finished[[row]], eps), level, condition[[row]])
            torch.testing.assert_close(found[[3 * row + number]], expected)
    alone, _ = walk(keys=KEYS[4:5]).noised_again(3)
    torch.testing.assert_close(alone, found[12:15])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_pictures_are_those_of_diffusers_sampler(sd_folder, steps):
    generator = StableDiffusion.from_pretrained(sd_folder, steps=steps)
    denoising = denoising_of(generator)
    condition = denoising.encode(["a red square", "two blue circle"])
    found = draw_few_steps(denoising, KEYS[:2], condition, grid=denoising.grid(steps))
    generator.scheduler = trailing_scheduler(generator.scheduler.config)
    expected = generator.sample(noise_for(KEYS[:2], generator.noise_shape), condition)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not found.requires_grad
