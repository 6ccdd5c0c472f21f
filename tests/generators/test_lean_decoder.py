import copy

import pytest
import torch
from diffusers import AutoencoderKL

from plaudit.generators.lean_decoder import make_lean


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, layers_per_block=1,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms whose weights are not all one
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def lean(vae):
    model = copy.deepcopy(vae)
    make_lean(model.decoder)
    return model


def latents(*, contiguous=True):
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return z if contiguous else z.to(memory_format=torch.channels_last)


def decode_with_slope(vae, z):
    """The picture, the gradient of its product with fixed numbers, and the bytes that autograd kept."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    z = z.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        image = vae.decode(z).sample
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    (slope,) = torch.autograd.grad((image * weights).sum(), z)
    parameters = {p.untyped_storage().data_ptr() for p in vae.parameters()}
    return image.detach(), slope, sum(size for place, size in kept.items() if place not in parameters)


@pytest.mark.parametrize("contiguous", [True, False])
def test_picture_and_gradient_are_the_plain_decoders(vae, lean, contiguous):
    z = latents(contiguous=contiguous)
    image, slope, _ = decode_with_slope(vae, z)
    lean_image, lean_slope, _ = decode_with_slope(lean, z)
    torch.testing.assert_close(lean_image, image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lean_slope, slope, atol=1e-4, rtol=1e-4)
    assert slope.abs().max() > 0.1


def test_less_than_half_of_the_activations_are_kept(vae, lean):
    assert decode_with_slope(lean, latents())[2] < 0.5 * decode_with_slope(vae, latents())[2]


def test_without_gradient_the_picture_is_the_same(vae, lean):
    with torch.no_grad():
        torch.testing.assert_close(lean.decode(latents()).sample, vae.decode(latents()).sample)


def test_weights_keep_their_names_and_a_second_time_changes_nothing(vae, lean):
    assert lean.state_dict().keys() == vae.state_dict().keys()
    before = [type(module) for module in lean.modules()]
    make_lean(lean.decoder)
    assert [type(module) for module in lean.modules()] == before


def test_it_works_with_checkpointing(lean, vae):
    both = copy.deepcopy(lean)
    both.enable_gradient_checkpointing()
    _, slope, _ = decode_with_slope(both, latents())
    torch.testing.assert_close(slope, decode_with_slope(vae, latents())[1], atol=1e-4, rtol=1e-4)


def test_in_half_precision_too(vae, lean):
    z = latents().bfloat16()
    _, slope, _ = decode_with_slope(copy.deepcopy(lean).bfloat16(), z)
    _, expected, _ = decode_with_slope(copy.deepcopy(vae).bfloat16(), z)
    assert torch.nn.functional.cosine_similarity(slope.float().flatten(), expected.float().flatten(), dim=0) > 0.99
