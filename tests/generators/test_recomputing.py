import pytest
import torch
from tiny_families import FAMILIES, PROMPTS, count_kept, load_tiny, noise_of, slope_of

from plaudit.generators.recomputing import recomputed


@pytest.fixture(params=FAMILIES)
def generator(request, tmp_path):
    FAMILIES[request.param](tmp_path)
    return load_tiny(tmp_path, request.param)


def kept_of(generator):
    noise, condition = noise_of(generator).requires_grad_(), generator.encode(PROMPTS)
    with count_kept(generator) as counted:
        images = generator.sample(noise, condition)
    return counted[0], torch.autograd.grad((images * slope_of(images)).sum(), noise)[0]


def test_checkpointing_saves_memory_in_frozen_eval_networks_and_changes_no_gradient(generator):
    assert not generator.denoiser.training
    assert not any(parameter.requires_grad for parameter in generator.denoiser.parameters())
    plain, expected = kept_of(generator)
    generator.use_checkpointing()
    less, gradient = kept_of(generator)
    assert less < 0.7 * plain
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_the_backward_pass_runs_both_networks_again_where_checkpointing_is_on_only(generator):
    running = set()
    for name in ("denoiser", "vae"):
        for module in getattr(generator, name).modules():
            module.register_forward_hook(lambda *_, name=name: running.add(name))
    for checkpointing in (False, True):
        generator.use_checkpointing(checkpointing)
        noise = noise_of(generator).requires_grad_()
        images = generator.sample(noise, generator.encode(PROMPTS))
        assert running == {"denoiser", "vae"}
        running.clear()
        images.sum().backward()
        assert running == ({"denoiser", "vae"} if checkpointing else set())


def test_without_gradients_nothing_is_set_up_for_a_second_run():
    calls = []

    def double(x):
        calls.append(torch.is_grad_enabled())
        return 2 * x

    with torch.no_grad():
        assert recomputed(double, torch.tensor(2.0)) == 4
    x = torch.tensor(3.0, requires_grad=True)
    found = recomputed(lambda x: double(x) ** 2, x)
    assert calls == [False, True]
    (slope,) = torch.autograd.grad(found, x)
    assert slope == 24
    assert calls == [False, True, True]


def test_what_draws_random_numbers_draws_the_same_again():
    x = torch.ones(64, requires_grad=True)
    found = recomputed(lambda x: torch.nn.functional.dropout(x, 0.5).sin(), x, draws=True)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(slope != 0, found != 0)
