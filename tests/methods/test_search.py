import dataclasses
import math

import numpy as np
import pytest
import torch
from toys import Colour, Painter, Rounded, Texture

from plaudit.core.errors import BadConfig
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.methods.search import BestSoFar, SearchConfig, best_of_n, evolve, on_shell

PROMPTS = ["a red square", "two rings", "a blue star"]


def run(method, config, reward=None, generator=None, held_out=None):
    best = BestSoFar(PROMPTS, config)
    steps = []
    for step in method(generator or Painter(), reward or Rounded(), PROMPTS, config, held_out=held_out):
        best.see(step)
        steps.append(step)
    return steps, best.results()


def test_best_of_n_draws_n_and_keeps_the_best():
    steps, results = run(best_of_n, SearchConfig(forwards=12))
    assert [step.index for step in steps] == list(range(12))
    totals = torch.stack([step.total for step in steps])
    assert [r.total for r in results] == pytest.approx(totals.max(dim=0).values.tolist())
    assert len({tuple(noise.flatten().tolist()) for step in steps for noise in step.noise}) == 36


def test_the_noises_of_best_of_n_are_numbered_and_may_begin_at_any():
    whole, _ = run(best_of_n, SearchConfig(forwards=5, images_per_prompt=2))
    later, _ = run(best_of_n, SearchConfig(forwards=2, images_per_prompt=2, noise_offset=3))
    assert [step.index for step in later] == [0, 1]
    assert all(torch.equal(one.noise, other.noise) for one, other in zip(later, whole[3:], strict=True))
    with pytest.raises(BadConfig, match="noise_offset must not be negative, got -1"):
        SearchConfig(noise_offset=-1)


@pytest.mark.parametrize("method", [best_of_n, evolve])
def test_a_result_has_the_noises_of_its_first_and_of_its_best_image(method):
    generator = Painter()
    _, results = run(method, SearchConfig(forwards=33, batch_size=2), generator=generator)
    assert any(result.best_step > 0 for result in results)
    for result in results:
        condition = generator.encode([result.prompt])
        for noise, image in ((result.first_noise, result.first_image), (result.noise, result.image)):
            torch.testing.assert_close(generator.sample(noise[None], condition)[0], image)


def test_every_method_starts_from_the_same_noise():
    config = SearchConfig(forwards=9, images_per_prompt=2, seed=5)
    reno = next(optimise_noise(Painter(), Colour(), PROMPTS, RenoConfig(images_per_prompt=2, seed=5)))
    for method in (best_of_n, evolve):
        step = next(method(Painter(), Colour(), PROMPTS, config))
        assert torch.equal(step.noise, reno.noise)
        torch.testing.assert_close(step.total, reno.total)


@pytest.mark.parametrize("method", [best_of_n, evolve])
def test_results_do_not_depend_on_the_batch_size(method):
    config = SearchConfig(forwards=17, population=4, images_per_prompt=2)
    _, reference = run(method, config)
    for batch_size in (1, 4):
        _, results = run(method, dataclasses.replace(config, batch_size=batch_size))
        for one, other in zip(results, reference, strict=True):
            torch.testing.assert_close(one.noise, other.noise)
            assert one.trace == pytest.approx(other.trace)


@pytest.mark.parametrize("method", [best_of_n, evolve])
def test_no_more_than_batch_size_images_are_drawn_at_once(method):
    generator = Painter()
    run(method, SearchConfig(forwards=9, population=4, batch_size=2), generator=generator)
    assert max(generator.batch_sizes) <= 2
    assert sum(generator.batch_sizes) == 3 * 9


def test_evolution_beats_chance_at_equal_forwards_without_any_gradient():
    config = SearchConfig(forwards=161, population=8)
    _, evolved = run(evolve, config)
    _, drawn = run(best_of_n, config)
    assert all(one.total > other.total for one, other in zip(evolved, drawn, strict=True))


def test_evolved_candidates_lie_on_the_gaussian_shell():
    steps, _ = run(evolve, SearchConfig(forwards=41, population=8))
    shell = math.sqrt(3 * 4 * 4 - 1)
    for step in steps[1:]:
        torch.testing.assert_close(step.norm, torch.full_like(step.norm, shell))
        assert bool((step.deviation.abs() < 1e-3).all())


def test_on_shell_keeps_the_direction():
    noise = torch.randn(4, 17)
    put = on_shell(noise)
    torch.testing.assert_close(put.norm(dim=1), torch.full((4,), 4.0))
    torch.testing.assert_close(torch.cosine_similarity(put, noise), torch.ones(4))


def test_evolution_leaves_the_global_random_state_alone():
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    run(evolve, SearchConfig(forwards=17))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_evolution_survives_scores_that_are_no_numbers():
    class Sometimes(Rounded):
        def __call__(self, images, prompts):
            scores = super().__call__(images, prompts)
            return torch.where(scores > 0.1, torch.nan, scores)

    steps, results = run(evolve, SearchConfig(forwards=41), reward=Sometimes())
    assert all(math.isfinite(r.total) for r in results)
    assert len(steps) == 6


def test_a_budget_of_seconds_is_kept(monkeypatch):
    clock = [0.0]

    class Slow(Painter):
        def sample(self, noise, condition):
            clock[0] += 0.02
            return super().sample(noise, condition)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    # Three images in one batch: 0.3 s, 15 draws of 0.02 s.
    steps, _ = run(best_of_n, SearchConfig(seconds=0.1), generator=Slow())
    assert len(steps) == steps[-1].steps == 15
    assert steps[-1].seconds == pytest.approx(0.3)


def test_held_out_scores_come_along():
    for method in (best_of_n, evolve):
        steps, results = run(method, SearchConfig(forwards=9), held_out=Texture())
        torch.testing.assert_close(steps[1].held_out, Texture()(steps[1].images, PROMPTS))
        assert len(results[0].held_out_trace) == len(steps)


def test_a_generation_s_record_is_each_image_s_best_candidate():
    generator = Painter()
    steps, _ = run(evolve, SearchConfig(forwards=9), generator=generator)
    for step in steps:
        images = generator.sample(step.noise, generator.encode(PROMPTS))
        torch.testing.assert_close(images, step.images)
        torch.testing.assert_close(Rounded()(images, PROMPTS), step.total)


@pytest.mark.parametrize("settings", [
    {"forwards": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"population": 1}, {"spread": 0.0},
    {"images_per_prompt": 0}, {"batch_size": 0},
])  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(settings):
    with pytest.raises(BadConfig, match=next(iter(settings))):
        SearchConfig(**settings)


def test_a_budget_below_one_generation_is_refused():
    with pytest.raises(BadConfig, match="at least 9 forwards"):
        evolve(Painter(), Rounded(), PROMPTS, SearchConfig(forwards=8))


@pytest.mark.parametrize("method", [best_of_n, evolve])
def test_an_empty_prompt_is_refused_at_once(method):
    with pytest.raises(BadConfig, match="prompt 1 of 1 is empty"):
        method(Painter(), Rounded(), [""], SearchConfig())
