import pytest
import torch

from plaudit.core.errors import UnknownName
from plaudit.generators.check import check_generator
from plaudit.generators.published import PUBLISHED
from plaudit.generators.random_rewards import random_reward
from plaudit.generators.random_weights import random_generator
from plaudit.generators.shapes.models import SHAPES
from plaudit.generators.shapes.rewards import PUBLISHED_REWARDS
from plaudit.generators.sizes_only import META, generator_without_weights
from plaudit.generators.spelling_tokenizers import spelling_tokenizer
from plaudit.generators.table import GENERATORS
from plaudit.rewards.check import check_reward
from plaudit.rewards.table import REWARDS

# Millions of parameters as the models' own papers and pages give them.
CLIP_L, OPEN_CLIP_H, OPEN_CLIP_BIG_G, T5_XXL, GEMMA = 123.06, 340.39, 694.66, 4762.3, 2614.3
KL, DC = 83.65, 312.25
PUBLISHED_SIZES = {
    "sd-turbo": ([OPEN_CLIP_H], 865.91, KL),
    "sd-1.5": ([CLIP_L], 859.52, KL),
    "lcm-dreamshaper": ([CLIP_L], 859.6, KL),
    "lcm-lora-sd15": ([CLIP_L], 859.52, KL),
    "sdxl-turbo": ([CLIP_L, OPEN_CLIP_BIG_G], 2567.5, KL),
    "hyper-sdxl": ([CLIP_L, OPEN_CLIP_BIG_G], 2567.5, KL),
    "sdxl": ([CLIP_L, OPEN_CLIP_BIG_G], 2567.5, KL),
    "sd3-medium": ([CLIP_L, OPEN_CLIP_BIG_G, T5_XXL], 2028.0, 83.8),
    "pixart-dmd": ([T5_XXL], 611.0, KL),
    "flux-schnell": ([CLIP_L, T5_XXL], 11900.0, 83.8),
    "sana-sprint-0.6b": ([GEMMA], 590.0, DC),
    "sana-sprint-1.6b": ([GEMMA], 1604.0, DC),
}


def millions(network):
    return sum(weight.numel() for weight in network.parameters()) / 1e6


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_a_shipped_shape_has_the_published_numbers_of_parameters_and_noise(name):
    encoders, denoiser, autoencoder = PUBLISHED_SIZES[name]
    found = generator_without_weights(name, dtype=torch.bfloat16)
    assert [millions(encoder) for encoder in found.text_encoders] == pytest.approx(encoders, rel=0.02)
    assert millions(found.denoiser) == pytest.approx(denoiser, rel=0.02)
    assert millions(found.vae) == pytest.approx(autoencoder, rel=0.02)
    assert tuple(found.noise_shape) == GENERATORS.find(name).facts["noise"]


def test_every_published_row_has_a_shape_and_a_size_to_compare():
    assert set(SHAPES) == {row.name for row in PUBLISHED} == set(PUBLISHED_SIZES)


@pytest.mark.parametrize("name", SHAPES)
def test_a_miniature_keeps_the_contract(name):
    # Two of many steps: every step is alike.
    many = GENERATORS.find(name).arguments["steps"] > 4
    check_generator(random_generator(name, scale="tiny", steps=2 if many else None))


def test_a_miniature_is_drawn_with_the_rows_own_steps_and_guidance():
    found = random_generator("sdxl", scale="tiny")
    assert (found.steps, found.guidance) == (50, 5.0)
    assert random_generator("lcm-lora-sd15", scale="tiny").guidance is None
    assert random_generator("hyper-sdxl", scale="tiny").lcm_time == 800


def test_weights_are_the_same_at_every_call_and_nobody_elses_draws_change():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second = (random_generator("sd-turbo", scale="tiny") for _ in range(2))
    assert torch.equal(torch.rand(4), expected)
    pairs = zip(first.unet.state_dict().values(), second.unet.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert first.unet.conv_in.weight.std() > 0.01


def test_weights_are_frozen_and_come_in_the_precision_asked_for():
    found = random_generator("flux-schnell", scale="tiny", dtype=torch.bfloat16)
    networks = (*found.text_encoders, found.denoiser, found.vae)
    weights = [weight for network in networks for weight in network.parameters()]
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in weights)
    assert torch.get_default_dtype() is torch.float32
    noise = torch.randn(1, *found.noise_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = found.sample(noise, found.encode(["a fox"]))
    assert image.isfinite().all()
    assert image.std() > 0


def test_weights_that_are_one_stay_one():
    t5 = random_generator("pixart-dmd", scale="tiny").text_encoder
    assert t5.shared.weight is t5.encoder.embed_tokens.weight


def test_a_shape_that_is_not_shipped_is_named():
    with pytest.raises(UnknownName, match="no shape of a model named 'pocket-turbo'"):
        random_generator("pocket-turbo")


@pytest.mark.parametrize("name", PUBLISHED_REWARDS)
def test_the_published_rewards_come_in_miniature_and_in_their_own_size(name):
    check_reward(random_reward(name, scale="tiny")[0])
    _, network = random_reward(name, device=META)
    # In millions, by the table's megabytes of weights in float32.
    assert millions(network) == pytest.approx(REWARDS.find(name).facts["memory_mb"] / 4, rel=0.02)


def test_an_unknown_reward_is_named():
    with pytest.raises(UnknownName, match="no published reward named 'hsp'"):
        random_reward("hsp")


def test_the_tokenizers_spell_and_read_sanas_instruction_by_words():
    clip, t5, gemma = (spelling_tokenizer(kind) for kind in ("clip", "t5", "gemma"))
    assert len(clip("a fox")["input_ids"]) == 2 + 4
    assert len(t5("fox", add_special_tokens=False)["input_ids"]) in (3, 4)
    assert max(len(clip), len(t5)) <= 128
    assert len(gemma) <= 2048
    instruction = random_generator("sana-sprint-0.6b", scale="tiny").instruction
    read = gemma(instruction)["input_ids"]
    # Its words, and an end of line for every line.
    assert len(instruction.split()) < len(read) < 2 * len(instruction.split())
    assert gemma.unk_token_id not in read
