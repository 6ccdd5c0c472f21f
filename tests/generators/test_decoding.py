import itertools
from types import SimpleNamespace

import pytest
import torch
from conftest import save_stable_diffusion
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny
from diffusers.configuration_utils import FrozenDict
from hypothesis import given
from hypothesis import strategies as st
from test_sdxl import save_sdxl
from tiny_families import FAMILIES, LiveTensors, difference, load_tiny, noise_of, slope_of

from plaudit.core.errors import BadConfig
from plaudit.generators import decoding as decoding_module
from plaudit.generators.decoding import (
    Decoding,
    pixels_per_latent,
    slice_decoding,
    tile_decoding,
    tile_starts,
    tile_weights,
    use_tiny_decoder,
)
from plaudit.generators.table import load_generator


@pytest.fixture(scope="module")
def sd(sd_folder):
    return load_generator(str(sd_folder))


@pytest.fixture(autouse=True)
def _whole_and_full_again(sd):
    yield
    sd.decoding = Decoding()


def make_vae():
    """Two pixels a latent."""
    torch.manual_seed(3)
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, scaling_factor=0.5,
    )  # fmt: skip
    return vae.eval().requires_grad_(False)


def decode_with_slope(decoding, vae, latents):
    leaf = latents.clone().requires_grad_()
    images = decoding.decode(vae, leaf)
    return images.detach(), torch.autograd.grad((images * slope_of(images)).sum(), leaf)[0]


def latents_of(rows, side, channels=4):
    return 0.3 * torch.randn(rows, channels, side, side, generator=torch.Generator().manual_seed(4))


# --- image by image -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_slicing_changes_neither_images_nor_gradients(tmp_path, family, checkpointing):
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    generator.use_checkpointing(checkpointing)
    latents = 0.5 * noise_of(generator, rows=3)

    def decode():
        leaf = latents.clone().requires_grad_()
        images = generator.decode(leaf)
        return images.detach(), torch.autograd.grad((images * slope_of(images)).sum(), leaf)[0]

    expected = decode()
    slice_decoding(generator)
    images, slope = decode()
    torch.testing.assert_close(images, expected[0], atol=1e-5, rtol=1e-5)
    assert difference(slope, expected[1]) < 1e-5


def test_a_sliced_batch_reaches_the_decoder_image_by_image_and_twice_for_gradients(sd):
    seen = []
    handle = sd.vae.decoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    slice_decoding(sd)
    with torch.no_grad():
        sd.decode(latents_of(3, 8))
    assert seen == [1] * 3
    seen.clear()
    decode_with_slope(sd.decoding, sd.vae, latents_of(3, 8))
    assert seen == [1] * 6
    slice_decoding(sd, False)
    seen.clear()
    decode_with_slope(sd.decoding, sd.vae, latents_of(3, 8))
    handle.remove()
    assert seen == [3]


def most_alive(decoding, vae, latents):
    with LiveTensors() as live:
        decode_with_slope(decoding, vae, latents)
    return live.ledger.most


def test_one_images_activations_exist_at_a_time_in_forward_and_backward():
    vae, whole, sliced = make_vae(), Decoding(), Decoding()
    sliced.slicing = True
    latents = latents_of(8, 16)
    alone, together = most_alive(whole, vae, latents[:1]), most_alive(whole, vae, latents)
    in_slices = most_alive(sliced, vae, latents)
    assert together > 6 * alone
    # Beside one image's activations there are the pictures of all, and the gradients of those.
    pictures = 8 * 3 * 32 * 32 * 4
    assert in_slices < alone + 6 * pictures
    assert in_slices < 0.5 * together


# --- in tiles -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_tiles_cover_everything_overlap_enough_and_are_as_few_as_can_be(size, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    if size <= tile:
        assert starts == [0]
        return
    assert starts[-1] == size - tile
    steps = [later - start for start, later in itertools.pairwise(starts)]
    assert all(0 < step <= tile - overlap for step in steps)
    assert (len(starts) - 2) * (tile - overlap) + tile < size


@given(st.integers(1, 200), st.integers(1, 60), st.data())
def test_weights_of_all_tiles_sum_to_one_everywhere(size, tile, data):
    tile = min(tile, size)
    starts = tile_starts(size, tile, data.draw(st.integers(0, tile - 1)))
    weights = tile_weights(starts, tile, size)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(size))
    for start, row in zip(starts, weights, strict=True):
        assert (row[start : start + tile] >= 0).all()
        assert (row[:start] == 0).all()
        assert (row[start + tile :] == 0).all()


def test_two_tiles_are_blended_linearly():
    first, second = tile_weights([0, 4], 8, 12)
    expected = torch.tensor([1, 1, 1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0, 0, 0])
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, 1 - expected)


class Pointwise(torch.nn.Module):
    """A decoder without neighbourhoods: every latent is two by two pixels of its own."""

    def __init__(self):
        super().__init__()
        self.config = FrozenDict(block_out_channels=(1, 1), scaling_factor=0.5, shift_factor=0.1)
        self.mix = torch.nn.Conv2d(4, 12, 1)

    def decode(self, latents):
        return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(self.mix(latents).tanh(), 2))


def in_tiles(tile, overlap):
    decoding = Decoding()
    decoding.tile, decoding.overlap = tile, overlap
    return decoding


@pytest.mark.parametrize(("tile", "overlap"), [(8, 4), (8, 0), (10, 6), (40, 20)])
@pytest.mark.parametrize("shape", [(32, 32), (7, 19), (4, 30)])
def test_without_neighbourhoods_tiles_are_the_whole_with_no_seam(tile, overlap, shape):
    vae = Pointwise().requires_grad_(False)
    latents = torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(4))
    expected = decode_with_slope(Decoding(), vae, latents)
    assert expected[0].shape == (2, 3, 2 * shape[0], 2 * shape[1])
    torch.testing.assert_close(decode_with_slope(in_tiles(tile, overlap), vae, latents), expected)


def test_far_from_the_edges_of_tiles_convolutions_see_what_they_see_in_the_whole():
    """Norms and attention taken out, what is left reaches so many latents and no further."""
    vae, latents, reach = make_vae(), latents_of(1, 64), 12
    for module in list(vae.decoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    vae.decoder.mid_block.attentions = torch.nn.ModuleList([None])
    expected, slope = decode_with_slope(Decoding(), vae, latents)
    found, found_slope = decode_with_slope(in_tiles(96, 48), vae, latents)
    assert tile_starts(64, 48, 24) == [0, 16]
    first_alone = 2 * (16 - reach)
    torch.testing.assert_close(found[..., :first_alone, :first_alone], expected[..., :first_alone, :first_alone])
    between = slice(2 * (16 + reach), 2 * (48 - reach))  # both tiles, far from the edges of both
    torch.testing.assert_close(found[..., between, between], expected[..., between, between])
    torch.testing.assert_close(found_slope[..., :4, :4], slope[..., :4, :4])
    assert not torch.allclose(found, expected)


def test_tiled_images_and_gradients_are_near_the_whole_ones():
    """Group norms and the middle attention see the tile: no overlap makes tiles exact, so the bounds are loose."""
    vae, latents = make_vae(), latents_of(2, 32)
    weights = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    drawn = []
    for decoding in (Decoding(), in_tiles(48, 24)):
        leaf = latents.clone().requires_grad_()
        images = decoding.decode(vae, leaf)
        drawn.append((images.detach(), torch.autograd.grad((images * weights).sum(), leaf)[0].flatten()))
    (whole, whole_slope), (tiled, tiled_slope) = drawn
    assert 1e-6 < (tiled - whole).abs().mean() < 0.02
    assert torch.nn.functional.cosine_similarity(tiled_slope, whole_slope, dim=0) > 0.95


def test_gradients_of_tiles_are_those_of_what_is_drawn(monkeypatch):
    """Decoding a tile again in the backward pass gives the gradient that keeping its activations gives."""
    vae, latents = make_vae(), latents_of(2, 16)
    expected = decode_with_slope(in_tiles(12, 4), vae, latents)
    monkeypatch.setattr(decoding_module, "recomputed", lambda function, *inputs: function(*inputs))
    torch.testing.assert_close(decode_with_slope(in_tiles(12, 4), vae, latents), expected)


def test_gradients_reach_every_latent_through_tiles():
    _, slope = decode_with_slope(in_tiles(12, 4), make_vae(), latents_of(2, 16))
    assert (slope.abs().sum(dim=1) > 0).all()


def test_images_of_one_tile_are_decoded_whole(sd):
    expected = decode_with_slope(sd.decoding, sd.vae, latents_of(2, 8))
    tile_decoding(sd, 16)
    torch.testing.assert_close(decode_with_slope(sd.decoding, sd.vae, latents_of(2, 8)), expected, atol=0, rtol=0)


def test_tiles_need_less_memory_than_the_whole():
    vae, latents = make_vae(), latents_of(1, 48)
    assert most_alive(in_tiles(24, 8), vae, latents) < 0.5 * most_alive(Decoding(), vae, latents)


def test_images_in_tiles_do_not_depend_on_their_batch(sd):
    tile_decoding(sd, 12, overlap=4)
    latents = latents_of(3, 8)
    with torch.no_grad():
        alone = torch.cat([sd.decode(row) for row in latents.split(1)])
        torch.testing.assert_close(sd.decode(latents), alone)
        slice_decoding(sd)
        torch.testing.assert_close(sd.decode(latents), alone)


def test_a_tile_is_given_in_pixels_and_overlaps_by_a_quarter(sd):
    tile_decoding(sd, 16)
    assert (sd.decoding.tile, sd.decoding.overlap) == (16, 4)
    tile_decoding(sd, None)
    assert sd.decoding.tile is None


@pytest.mark.parametrize("settings", [(0, None), (7, None), (16, 16), (16, 3), (16, -2)])
def test_tiles_that_cannot_be_are_refused(sd, settings):
    tile, overlap = settings
    with pytest.raises(BadConfig, match="multiple of 2"):
        tile_decoding(sd, tile, overlap=overlap)


def test_pixels_of_a_latent_are_read_from_every_kind_of_autoencoder():
    assert pixels_per_latent(make_vae()) == 2
    assert pixels_per_latent(make_tiny()) == 2
    with torch.device("meta"):
        assert pixels_per_latent(AutoencoderDC()) == 32


# --- a tiny decoder for gradients -----------------------------------------------------------------------------------


def make_tiny(*, channels=4, scales=2):
    torch.manual_seed(8)
    return AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(8,) * scales, decoder_block_out_channels=(8,) * scales,
        num_encoder_blocks=(1,) * scales, num_decoder_blocks=(1,) * scales,
    )  # fmt: skip


@pytest.fixture
def tiny_folder(tmp_path):
    make_tiny().save_pretrained(str(tmp_path / "tiny"))
    return tmp_path / "tiny"


def test_the_tiny_decoder_draws_where_gradients_are_wanted_and_the_full_one_what_is_kept(sd, tiny_folder):
    noise, condition = noise_of(sd), sd.encode(["a star", "a ring"])
    with torch.no_grad():
        full = sd.sample(noise, condition)
        latents = sd.sample_latents(noise, condition)
    assert (sd.decoding.with_gradients, sd.decoding.without_gradients) == ("full", "full")
    use_tiny_decoder(sd, tiny_folder)
    assert (sd.decoding.with_gradients, sd.decoding.without_gradients) == ("tiny", "full")
    drawn = sd.sample(noise.clone().requires_grad_(), condition)
    expected = (make_tiny().eval().decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(drawn, expected)
    assert not torch.allclose(drawn, full, atol=1e-2)
    with torch.no_grad():
        assert torch.equal(sd.sample(noise.clone().requires_grad_(), condition), full)
    assert torch.equal(sd.sample(noise, condition), full)  # gradients are on, and none is wanted
    use_tiny_decoder(sd, None)
    # The full decoder's last digits are others where gradients are on.
    torch.testing.assert_close(sd.sample(noise.clone().requires_grad_(), condition).detach(), full)


def test_the_tiny_decoders_gradient_is_its_own_and_reaches_no_parameter(sd):
    tiny = make_tiny()
    use_tiny_decoder(sd, tiny)
    _, slope = decode_with_slope(sd.decoding, sd.vae, latents_of(2, 8))
    leaf = latents_of(2, 8).requires_grad_()
    images = (tiny.decode(leaf).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(slope, torch.autograd.grad((images * slope_of(images)).sum(), leaf)[0])
    assert slope.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in tiny.parameters())


def test_slices_and_tiles_hold_for_the_tiny_decoder_too(sd):
    use_tiny_decoder(sd, make_tiny())
    expected = decode_with_slope(sd.decoding, sd.vae, latents_of(3, 8))
    slice_decoding(sd)
    torch.testing.assert_close(decode_with_slope(sd.decoding, sd.vae, latents_of(3, 8)), expected)
    tile_decoding(sd, 12, overlap=8)
    images, slope = decode_with_slope(sd.decoding, sd.vae, latents_of(3, 8))
    assert (images - expected[0]).abs().max() < 0.2
    assert (slope.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("misfit", [{"channels": 3}, {"scales": 3}])
def test_a_tiny_decoder_of_other_latents_is_refused(sd, misfit):
    with pytest.raises(BadConfig, match="the generator's have 4 channels at 2 pixels a side"):
        use_tiny_decoder(sd, make_tiny(**misfit))
    assert sd.decoding.with_gradients == "full"


def test_folders_without_a_tiny_decoder_are_refused(sd, tmp_path):
    with pytest.raises(BadConfig, match="holds no AutoencoderTiny"):
        use_tiny_decoder(sd, tmp_path)
    make_vae().save_pretrained(str(tmp_path / "vae"))
    with pytest.raises(BadConfig, match="holds a AutoencoderKL"):
        use_tiny_decoder(sd, tmp_path / "vae")


def test_the_tiny_decoder_takes_the_precision_of_the_full_one(tmp_path, tiny_folder):
    save_sdxl(tmp_path / "xl")
    generator = load_generator(str(tmp_path / "xl"), dtype=torch.bfloat16)
    use_tiny_decoder(generator, str(tiny_folder))
    assert generator.decoding.tiny.dtype == torch.bfloat16


def test_a_new_generator_decodes_whole_with_its_own_decoder(tmp_path):
    decoding = load_generator(str(save_stable_diffusion(tmp_path))).decoding
    assert (decoding.slicing, decoding.tile, decoding.tiny) == (False, None, None)
