"""What is counted without weights against what a real run keeps, family by family."""

import pytest
import torch

from plaudit.generators.memory import save_memory
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.memory_simulation import plain_decoder
from plaudit.generators.memory_use import memory_use
from plaudit.generators.random_rewards import random_reward
from plaudit.generators.random_weights import random_generator
from plaudit.generators.sizes_only import META, generator_without_weights

FAMILIES = (
    "sd-turbo", "hyper-sdxl", "sd3-medium", "pixart-dmd", "flux-schnell", "sana-sprint-0.6b",
    "lcm-dreamshaper",
)  # fmt: skip
PLAIN, CHECKPOINTED = MemorySettings(checkpointing=False), MemorySettings()


def planned_and_real(name, settings, *, batch_size=2, dtype=torch.float32, reward=None):
    steps = 2 if name == "sd3-medium" else None
    uses = []
    for generator in (
        generator_without_weights(name, dtype=dtype, scale="tiny", steps=steps),
        random_generator(name, dtype=dtype, scale="tiny", steps=steps),
    ):
        save_memory(generator, settings)
        rewards = []
        if reward is not None:
            judge, network = random_reward(reward, device=generator.device, scale="tiny")
            rewards = [(judge, [network])]
        uses.append(memory_use(generator, batch_size=batch_size, rewards=rewards))
    return uses


def total(use):
    return sum(use.kept.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_planned_is_what_a_real_run_keeps(name):
    for settings in (PLAIN, CHECKPOINTED):
        planned, real = planned_and_real(name, settings, batch_size=6)
        assert planned.kept == pytest.approx(real.kept, rel=0.05)
        # A CPU's convolutions may lay out their result otherwise, of which the next norm then makes a copy.
        assert planned.peak == pytest.approx(real.peak, rel=0.1)
        assert planned.image_size == real.image_size


def test_what_is_planned_in_bfloat16_is_what_a_real_run_keeps():
    planned, real = planned_and_real("pixart-dmd", PLAIN, dtype=torch.bfloat16)
    assert total(planned) == pytest.approx(total(real), rel=0.05)


@pytest.mark.parametrize("name", ["clip-vit-h14", "imagereward-v1"])
def test_rewards_are_planned_as_a_real_run_uses_them(name):
    without, _ = planned_and_real("sd-turbo", CHECKPOINTED, batch_size=8)
    planned, real = planned_and_real("sd-turbo", CHECKPOINTED, batch_size=8, reward=name)
    assert planned.peak == pytest.approx(real.peak, rel=0.1)
    assert planned.peak > without.peak
    assert planned.kept == without.kept


def test_a_ledger_of_all_tensors_holds_at_least_what_is_kept():
    _, real = planned_and_real("sd-turbo", PLAIN)
    assert real.peak >= total(real)


def test_without_a_gradient_nothing_is_kept_and_less_is_used():
    generator = generator_without_weights("sd-turbo", dtype=torch.float32, scale="tiny")
    drawn = memory_use(generator, batch_size=8, gradient=False)
    assert total(drawn) == 0
    assert drawn.peak < memory_use(generator, batch_size=8).peak


def test_checkpointing_slicing_and_the_lean_decoder_each_save():
    generator = generator_without_weights("sd-turbo", dtype=torch.float32, scale="tiny")

    def use(settings, batch_size=8):
        save_memory(generator, settings)
        return memory_use(generator, batch_size=batch_size)

    plain, checkpointed, sliced = use(PLAIN), use(CHECKPOINTED), use(MemorySettings(slicing=True))
    assert total(checkpointed) < 0.5 * total(plain)
    assert sliced.kept["decoder"] < checkpointed.kept["decoder"]
    assert sliced.peak <= checkpointed.peak
    with plain_decoder(generator.vae):
        theirs = use(PLAIN)
    assert theirs.kept["decoder"] > 1.5 * plain.kept["decoder"]
    assert use(PLAIN) == plain


def test_a_plain_decoder_draws_the_same_pictures():
    generator = random_generator("sd-turbo", scale="tiny")
    noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(0))
    condition = generator.encode(["a fox", "a cup"])
    with torch.no_grad():
        ours = generator.sample(noise, condition)
        with plain_decoder(generator.vae):
            theirs = generator.sample(noise, condition)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_nothing_without_weights_takes_memory():
    generator = generator_without_weights("flux-schnell", dtype=torch.bfloat16)
    assert {weight.device for weight in generator.denoiser.parameters()} == {META}
