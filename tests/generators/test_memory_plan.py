import pytest
import torch
from conftest import save_stable_diffusion

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.generators import memory_plan
from plaudit.generators.allocations import Ledger, fused_attention
from plaudit.generators.memory import load_within
from plaudit.generators.memory_plan import (
    ALLOWANCE,
    BY_SPEED,
    GB,
    USABLE,
    card_plan,
    least_gigabytes,
    peak_of,
    plan_memory,
    ways_to_fit,
)
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.memory_simulation import Simulation, bytes_of, visiting_bytes
from plaudit.generators.memory_use import memory_use, weights_of
from plaudit.generators.offloading import offloaded_blocks
from plaudit.generators.sizes_only import generator_without_weights
from plaudit.generators.table import load_generator
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.rewards.table import load_rewards


@pytest.fixture(scope="module")
def tiny():
    return Simulation("sd-turbo", (), "float32", "tiny")


def card_of(simulation, room):
    """The plan for a card on which so many bytes can be used."""
    return card_plan(simulation, (room + ALLOWANCE) / USABLE / GB)


def test_a_plan_says_what_every_network_weighs():
    plan = plan_memory("pixart-dmd", dtype="float32", rewards=["hpsv2.1"], scale="tiny", gigabytes=[8])
    generator = generator_without_weights("pixart-dmd", dtype=torch.float32, scale="tiny")
    assert [part.name for part in plan.parts] == ["text encoder", "denoiser", "autoencoder"]
    assert [part.kind for part in plan.parts] == ["T5EncoderModel", "PixArtTransformer2DModel", "AutoencoderKL"]
    expected = sum(weight.numel() for weight in generator.denoiser.parameters())
    assert plan.parts[1].parameters == expected
    assert plan.parts[1].bytes >= 4 * expected
    assert [reward.name for reward in plan.rewards] == ["hpsv2.1"]


def test_a_plan_compares_what_each_setting_keeps():
    plan = plan_memory("sd-turbo", scale="tiny", gigabytes=[8])
    kept = {(row.dtype, row.checkpointing, row.lean): row.total for row in plan.kept}
    assert len(kept) == len(plan.kept) == 6
    for dtype in ("bfloat16", "float32"):
        assert kept[dtype, True, True] < kept[dtype, False, True] < kept[dtype, False, False]
    assert kept["bfloat16", False, True] < kept["float32", False, True]


def test_the_peak_holds_weights_and_what_the_step_uses(tiny):
    generator, settings = tiny.generator, MemorySettings()
    weights = sum(bytes_of(each) for each in (generator.denoiser, generator.vae, *generator.text_encoders))
    assert peak_of(tiny, settings, 4) == weights + tiny.use(settings, 4).peak
    assert peak_of(tiny, settings, 4, gradient=False) < peak_of(tiny, settings, 4)


def test_more_images_than_a_few_follow_a_line(tiny):
    for settings in (MemorySettings(), MemorySettings(checkpointing=False)):
        for count in (2, 16):
            assert tiny.peak(settings, count) == pytest.approx(tiny.use(settings, count).peak, rel=0.05)


def test_more_steps_than_a_few_follow_a_line():
    planned = Simulation("sd3-medium", (), "float32", "tiny")
    assert planned.steps == 28
    exact = memory_use(generator_without_weights("sd3-medium", dtype=torch.float32, scale="tiny"), batch_size=1)
    found = planned.use(MemorySettings(checkpointing=False), 1)
    assert sum(found.kept.values()) == pytest.approx(sum(exact.kept.values()), rel=0.02)
    assert found.kept["denoiser"] > 20 * found.kept["decoder"]


def test_text_encoders_on_the_cpu_visit_block_by_block(tiny):
    (encoder,) = tiny.generator.text_encoders
    assert 0 < visiting_bytes(encoder) < bytes_of(encoder)
    held, apart = (peak_of(tiny, MemorySettings(offload=where), 8) for where in (None, "text"))
    assert held - apart == bytes_of(encoder)
    # One image needs less than reading its prompt does.
    resident = bytes_of(tiny.generator.denoiser) + bytes_of(tiny.generator.vae)
    assert peak_of(tiny, MemorySettings(offload="text"), 1, gradient=False) >= resident + visiting_bytes(encoder)


def test_a_larger_card_draws_more_images_and_none_more_than_it_holds(tiny):
    one = peak_of(tiny, MemorySettings(), 1)
    cards = [card_of(tiny, room) for room in (int(1.01 * one), 2 * one, 10 * one)]
    assert all(card.settings is not None for card in cards)
    assert [card.batch_size for card in cards] == sorted(card.batch_size for card in cards)
    assert cards[0].batch_size < cards[2].batch_size
    for card, room in zip(cards, (int(1.01 * one), 2 * one, 10 * one), strict=True):
        assert card.peak <= room
        assert card.peak == peak_of(tiny, card.settings, card.batch_size)


def test_a_large_card_takes_the_fastest_settings_and_a_small_one_what_fits(tiny):
    large, small = card_of(tiny, 10**9), card_of(tiny, peak_of(tiny, BY_SPEED[3], 1))
    assert (large.settings.checkpointing, large.settings.offload, large.batch_size) == (False, None, 64)
    assert large.settings.dtype == "float32"
    assert small.settings.offload is not None


def test_pictures_are_changed_only_where_nothing_else_fits(tiny, monkeypatch):
    whole, tiled = MemorySettings(), MemorySettings(slicing=True, tiling=8)
    monkeypatch.setattr(memory_plan, "BY_SPEED", (whole, tiled))
    images = {whole.tiling: 100 * 2**20, tiled.tiling: 30 * 2**20}
    monkeypatch.setattr(memory_plan, "peak_of", lambda _, settings, count, **__: count * images[settings.tiling])
    # Two whole images fit, or eight in tiles.
    kept, changed = (card_of(tiny, room * 2**20) for room in (250, 70))
    assert (kept.settings.tiling, kept.batch_size) == (None, 2)
    assert (changed.settings.tiling, changed.batch_size) == (8, 2)


def test_where_a_device_shares_the_cpus_memory_nothing_is_gained_by_waiting_there(tiny):
    ways = list(ways_to_fit(tiny, shared=True))
    assert len(set(ways)) == len(ways) < len(list(ways_to_fit(tiny)))
    assert {settings.offload for settings in ways} == {None}
    room = peak_of(tiny, MemorySettings(slicing=True, offload="text"), 1)
    assert card_of(tiny, room).settings is not None
    assert card_plan(tiny, (room + ALLOWANCE) / USABLE / GB, shared=True).settings is None


@pytest.mark.parametrize("gradient", [True, False])
def test_the_least_memory_is_what_a_single_image_fits(tiny, gradient):
    least = least_gigabytes(tiny, gradient=gradient)
    assert card_plan(tiny, 1.0001 * least, wanted=1, gradient=gradient).batch_size == 1
    assert card_plan(tiny, 0.9999 * least, wanted=1, gradient=gradient).batch_size == 0


def test_fewer_images_than_a_card_could_hold_take_the_fastest_settings_for_them(tiny):
    fastest = MemorySettings(checkpointing=False)
    room = peak_of(tiny, fastest, 1)
    assert card_of(tiny, room).settings.checkpointing
    alone = card_plan(tiny, (room + ALLOWANCE) / USABLE / GB, wanted=1)
    assert (alone.settings.checkpointing, alone.batch_size) == (False, 1)


@pytest.mark.parametrize(
    ("name", "kind", "weights"),
    [
        ("blip-vqa:2", "weights alone", 1_540_000_000),
        ("compressibility", "no network", 0),
        ("./mine.py:Mine", "not counted", 0),
        ("nobody/clip", "not counted", 0),
    ],
)
def test_a_reward_that_cannot_be_run_without_weights_says_how_far_it_is_counted(name, kind, weights):
    plan = plan_memory("sd-turbo", rewards=[name], scale="tiny", gigabytes=[8])
    assert [(reward.kind, reward.bytes, reward.parameters) for reward in plan.rewards] == [(kind, weights, None)]
    assert plan.peak_optimise > weights


def test_more_looks_of_a_reward_take_more_memory():
    plain, smooth = (Simulation("sd-turbo", [f"hpsv2.1{more}"], "float32", "tiny") for more in ("", ":smooth=8"))
    assert smooth.peak(MemorySettings(), 4) > plain.peak(MemorySettings(), 4)
    assert smooth.weights(None) == plain.weights(None)


def test_a_card_that_holds_nothing_is_said_to(tiny):
    assert card_of(tiny, 1000).settings is None
    assert card_of(tiny, 1000).batch_size == 0


def test_a_folder_is_planned_from_its_configs_alone(tmp_path):
    folder = save_stable_diffusion(tmp_path)
    loaded = load_generator(str(folder))
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    plan = plan_memory(str(folder), dtype="float32", gigabytes=[8])
    expected = [sum(w.numel() for w in each.parameters()) for each in (loaded.text_encoder, loaded.unet, loaded.vae)]
    assert [part.parameters for part in plan.parts] == expected
    planned = Simulation(str(folder), (), "float32", "real").use(MemorySettings(checkpointing=False), 2)
    assert planned.kept == pytest.approx(memory_use(loaded, batch_size=2).kept, rel=0.05)


REWARD_SPECS = ("hps:5", "imagereward:1")


def use_of(settings):
    """The bytes of a few steps of noise optimisation on a CPU, with the weights that do not wait elsewhere."""
    generator, rewards = load_within("pocket-turbo", settings), load_rewards(REWARD_SPECS)
    networks = [reward.model for _, reward in rewards.parts.values()]
    weights = list(weights_of(generator, networks))
    waiting = sum(bytes_of(block) for block in offloaded_blocks(generator) if block not in generator.text_encoders)
    ledger = Ledger(torch.device("cpu"))
    ledger.leave_out(weights)
    prompts = ["a red circle", "two blue stars"]
    with fused_attention(), ledger:
        for _ in optimise_noise(generator, rewards, prompts, RenoConfig(steps=3, images_per_prompt=2)):
            pass
    stays = sum(map(bytes_of, (generator.denoiser, generator.vae, *generator.text_encoders, *networks)))
    return ledger.peak, stays - waiting


@pytest.mark.parametrize(
    "settings",
    [
        MemorySettings(checkpointing=False),
        MemorySettings(),
        MemorySettings(slicing=True),
        MemorySettings(slicing=True, tiling=32),
        MemorySettings(slicing=True, offload="blocks"),
    ],
    ids=["plain", "checkpointed", "sliced", "tiled", "offloaded"],
)
def test_what_is_planned_is_what_noise_optimisation_uses(settings):
    planned = Simulation("pocket-turbo", REWARD_SPECS, "float32")
    used, stays = use_of(settings)
    assert used + stays == pytest.approx(peak_of(planned, settings, 4), rel=0.15)
    if settings.offload is None:
        # Small beside the weights, so on its own too.
        assert used == pytest.approx(planned.peak(settings, 4), rel=0.15)


def test_a_pocket_model_is_planned_as_it_is_shipped():
    plan = plan_memory("pocket-turbo", dtype="float32", gigabytes=[8])
    assert (plan.steps, plan.image_size) == (1, 64)
    assert plan.cards[0].settings is not None


@pytest.mark.parametrize(
    ("name", "more", "error", "says"),
    [
        ("sd-trubo", {}, UnknownName, "Did you mean 'sd-turbo'"),
        ("sd-turbo", {"batch_size": 0}, BadConfig, "batch_size must be at least 1, got 0"),
        ("sd-turbo", {"rewards": ["hsp"]}, UnknownName, "no reward named 'hsp'"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_sentence(name, more, error, says):
    with pytest.raises(error, match=says):
        plan_memory(name, scale="tiny", gigabytes=[8], **more)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="has no model_index"):
        plan_memory(str(tmp_path))
