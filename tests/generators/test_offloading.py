from dataclasses import replace

import pytest
import torch
from conftest import save_stable_diffusion
from tiny_families import FAMILIES, PROMPTS, Ledger, load_tiny, noise_of, sample_with_gradient, slope_of

from plaudit.core.errors import BadConfig
from plaudit.generators import offloading
from plaudit.generators.check import check_generator
from plaudit.generators.decoding import slice_decoding
from plaudit.generators.offloading import (
    is_offloaded,
    move_generator,
    offload_blocks,
    offload_text_encoders,
    offloaded_blocks,
    stop_offloading,
)
from plaudit.generators.table import load_generator


@pytest.fixture
def ledger(monkeypatch):
    """Counts the bytes of all visiting copies of weights that anything still refers to."""
    found, copy = Ledger(), offloading.copied

    def counted(tensor, device):
        copied = copy(tensor, device)
        found.enter(copied)
        return copied

    monkeypatch.setattr(offloading, "copied", counted)
    return found


@pytest.fixture
def sd(tmp_path):
    return load_generator(str(save_stable_diffusion(tmp_path)))


def size_of(module):
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@pytest.mark.parametrize("family", FAMILIES)
def test_images_and_gradients_are_the_same_and_one_block_is_there_at_a_time(tmp_path, family, ledger):
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    expected = sample_with_gradient(generator)
    assert expected[1].abs().max() > 0.1
    offload_blocks(generator)
    blocks = offloaded_blocks(generator)
    found = sample_with_gradient(generator)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    largest, whole = max(map(size_of, blocks)), sum(map(size_of, blocks))
    assert ledger.most == largest
    assert ledger.now == 0
    assert whole > 2 * largest
    # What visits is most of the networks.
    assert whole > 0.6 * size_of(generator.denoiser) + 0.6 * size_of(generator.vae)


def test_of_weights_that_are_kept_for_the_backward_pass_the_ledger_would_know(sd, ledger):
    """The measure itself: without recomputing, a forward pass leaves its weights behind."""
    offload_blocks(sd)
    blocks = offloaded_blocks(sd)
    for block in blocks:
        visiting = block.forward
        block.forward = visiting._run
    images = sd.sample(noise_of(sd).requires_grad_(), sd.encode(PROMPTS))
    assert ledger.now > 3 * max(map(size_of, blocks))
    del images
    assert ledger.now == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_text_encoders_visit_block_by_block_and_only_to_encode(tmp_path, family, ledger):
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    expected = generator.encode(PROMPTS)
    offload_text_encoders(generator)
    found = generator.encode(PROMPTS)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value)
    assert 0 < ledger.most < max(map(size_of, generator.text_encoders))
    assert ledger.now == 0
    most = ledger.most
    sample = generator.sample(noise_of(generator), found)
    assert sample.shape[0] == 2
    assert ledger.most == most
    assert not any(is_offloaded(module) for module in generator.denoiser.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_a_sample_needs_is_on_the_device(tmp_path, family):
    """On the "meta" device, which computes nothing but refuses to mix with another: as a GPU would."""
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    condition = generator.encode(PROMPTS)
    offload_text_encoders(generator)
    offload_blocks(generator)
    move_generator(generator, "meta")
    assert generator.device.type == "meta"
    home = {id(t) for block in offloaded_blocks(generator) for t in block.parameters()}
    for network in (generator.denoiser, generator.vae, *generator.text_encoders):
        assert all(t.is_meta != (id(t) in home) for t in network.parameters())
    noise = noise_of(generator).to("meta").requires_grad_()
    if family == "pixart":
        # transformers looks into the padding mask, where there is nothing to see.
        parts = {name: value.to("meta") for name, value in vars(condition).items()}
        condition = replace(condition, **parts)
    else:
        condition = generator.encode(PROMPTS)
    images = generator.sample(noise, condition)
    assert images.is_meta
    (slope,) = torch.autograd.grad(images.sum(), noise)
    assert slope.shape == noise.shape


def test_the_contract_holds_with_everything_offloaded(sd):
    offload_text_encoders(sd)
    offload_blocks(sd)
    check_generator(sd)


def test_it_goes_with_slicing_and_with_the_families_own_checkpointing(sd, ledger):
    expected = sample_with_gradient(sd)
    offload_blocks(sd)
    slice_decoding(sd)
    sd.use_checkpointing()
    torch.testing.assert_close(sample_with_gradient(sd), expected, atol=1e-5, rtol=1e-5)
    assert ledger.now == 0


def test_trained_weights_get_their_gradients_at_home(sd):
    sd.denoiser.requires_grad_(True)
    weights = dict(sd.denoiser.named_parameters())

    def slopes():
        images = sd.sample(noise_of(sd), sd.encode(PROMPTS))
        return torch.autograd.grad((images * slope_of(images)).sum(), list(weights.values()))

    expected = slopes()
    offload_blocks(sd)
    assert {id(t) for t in weights.values()} == {id(t) for t in sd.denoiser.parameters()}
    assert max(float(slope.abs().max()) for slope in expected) > 0.1
    torch.testing.assert_close(slopes(), expected, atol=1e-5, rtol=1e-5)


def test_weights_keep_their_names_and_a_second_time_changes_nothing(sd):
    names = [list(network.state_dict()) for network in (sd.denoiser, sd.vae, sd.text_encoder)]
    offload_text_encoders(sd)
    offload_blocks(sd)
    blocks = offloaded_blocks(sd)
    standing_in = [block.forward for block in blocks]
    offload_text_encoders(sd)
    offload_blocks(sd)
    assert [list(network.state_dict()) for network in (sd.denoiser, sd.vae, sd.text_encoder)] == names
    assert [block.forward for block in offloaded_blocks(sd)] == standing_in


def test_it_can_be_switched_off(sd, ledger):
    expected = sample_with_gradient(sd)
    offload_text_encoders(sd)
    offload_blocks(sd)
    stop_offloading(sd)
    assert offloaded_blocks(sd) == []
    torch.testing.assert_close(sample_with_gradient(sd), expected, atol=0, rtol=0)
    assert ledger.most == 0


def test_a_generator_without_weights_cannot_be_offloaded(sd):
    move_generator(sd, "meta")
    with pytest.raises(BadConfig, match="meta device"):
        offload_blocks(sd)
    with pytest.raises(BadConfig, match="meta device"):
        offload_text_encoders(sd)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_weights_wait_pinned_and_images_are_the_same(tmp_path, family):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    FAMILIES[family](tmp_path)
    generator = load_tiny(tmp_path, family)
    move_generator(generator, "cuda")
    noise = noise_of(generator).cuda()

    def sample():
        leaf = noise.clone().requires_grad_()
        images = generator.sample(leaf, generator.encode(PROMPTS))
        return images.detach(), torch.autograd.grad(images.sum(), leaf)[0]

    expected = sample()
    offload_text_encoders(generator)
    offload_blocks(generator)
    assert all(t.is_pinned() for block in offloaded_blocks(generator) for t in block.parameters())
    torch.testing.assert_close(sample(), expected, atol=1e-4, rtol=1e-4)
