import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import save_stable_diffusion
from diffusers import AutoencoderTiny
from tiny_families import FAMILIES, difference, load_tiny, sample_with_gradient

from plaudit.core.errors import BadConfig
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.memory import load_within, save_memory
from plaudit.generators.memory_settings import PRESETS, MemorySettings, for_gigabytes
from plaudit.generators.offloading import is_offloaded, offloaded_blocks
from plaudit.generators.table import load_generator


@pytest.fixture
def folder(tmp_path):
    return save_stable_diffusion(tmp_path / "sd")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_every_preset_and_its_gradients_stay(tmp_path, family):
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    expected = sample_with_gradient(generator)
    for settings in dict.fromkeys(PRESETS.values()):
        save_memory(generator, settings)
        images, gradient = sample_with_gradient(generator)
        torch.testing.assert_close(images, expected[0], atol=1e-5, rtol=1e-5)
        # The decoder's last digits depend on the batch, and the denoiser's backward pass magnifies them.
        assert difference(gradient, expected[1]) < 1e-4


def test_each_setting_is_put_in_force_and_off_again(folder, tmp_path):
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).save_pretrained(str(tmp_path / "tiny"))  # fmt: skip
    generator = load_generator(str(folder))
    before = sample_with_gradient(generator)
    everything = MemorySettings(
        slicing=True, tiling=12, tiny_decoder=str(tmp_path / "tiny"), offload="blocks", dtype="float32"
    )
    save_memory(generator, everything)
    decoding = generator.decoding
    assert (decoding.slicing, decoding.tile, decoding.with_gradients) == (True, 12, "tiny")
    assert is_offloaded(generator.text_encoder)
    assert any(is_offloaded(module) for module in generator.unet.modules())
    assert generator.unet.is_gradient_checkpointing is False  # the blocks are recomputed as they visit
    save_memory(generator, MemorySettings(offload="text"))
    assert (decoding.slicing, decoding.tile, decoding.with_gradients) == (False, None, "full")
    assert is_offloaded(generator.text_encoder)
    assert not any(is_offloaded(module) for module in generator.unet.modules())
    assert generator.unet.is_gradient_checkpointing
    save_memory(generator, MemorySettings(checkpointing=False))
    assert offloaded_blocks(generator) == []
    assert not generator.unet.is_gradient_checkpointing
    torch.testing.assert_close(sample_with_gradient(generator), before, atol=0, rtol=0)


def test_what_waits_on_the_cpu_is_loaded_there(folder):
    """The work device is "meta" here, which computes nothing: weights that were ever there are gone."""
    generator = load_within(str(folder), MemorySettings(offload="blocks"), device="meta")
    assert generator.device.type == "meta"
    home = [tensor for block in offloaded_blocks(generator) for tensor in block.parameters()]
    assert home
    assert not any(tensor.is_meta for tensor in home)


@pytest.mark.parametrize(("dtype", "expected"), [(None, torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_precision_is_the_devices_own_unless_named(folder, dtype, expected):
    generator = load_within(str(folder), MemorySettings(dtype=dtype))
    assert isinstance(generator, NoiseGenerator)
    assert generator.unet.dtype == expected


def test_a_precision_that_the_generator_was_not_loaded_in_is_refused(folder):
    with pytest.raises(BadConfig, match=r"loaded in float32.*dtype=torch\.bfloat16"):
        save_memory(load_generator(str(folder)), MemorySettings(dtype="bfloat16"))


def test_a_generator_without_such_networks_is_refused():
    with pytest.raises(BadConfig, match="object has no denoiser"):
        save_memory(object(), MemorySettings())


@pytest.mark.parametrize("wrong", [{"tiling": 0}, {"offload": "all"}, {"dtype": "int8"}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        MemorySettings(**wrong)


@pytest.mark.parametrize(("gigabytes", "preset"), [(8, 8), (12, 8), (23.9, 16), (24, 24), (79, 48), (141, 80)])
def test_a_card_gets_the_preset_of_the_next_smaller_size(gigabytes, preset):
    assert for_gigabytes(gigabytes) == PRESETS[preset]


@pytest.mark.parametrize("gigabytes", [0, 7.9, -1, float("nan")])
def test_cards_below_the_smallest_preset_are_refused(gigabytes):
    with pytest.raises(BadConfig, match="8, 16, 24, 48, 80 GB"):
        for_gigabytes(gigabytes)


def test_more_memory_never_means_more_saving():
    def saving(settings):
        offload = (None, "text", "blocks").index(settings.offload)
        return (settings.slicing, settings.tiling is not None, offload)

    ordered = [saving(PRESETS[size]) for size in sorted(PRESETS)]
    for less, more in itertools.pairwise(ordered):
        assert all(small >= large for small, large in zip(less, more, strict=True))


def test_every_preset_keeps_to_what_a_card_alone_can_decide():
    """A tiny decoder must be downloaded for one autoencoder, and the precision is the device's own."""
    for settings in PRESETS.values():
        assert settings == replace(settings, tiny_decoder=None, dtype=None, checkpointing=True)


def test_the_settings_can_be_read_without_waiting_for_torch():
    code = "import sys, plaudit.generators.memory_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
