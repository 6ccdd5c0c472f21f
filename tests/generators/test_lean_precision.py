"""A lean decoder under autocast: no kernel is given a mixture of types, which GPUs refuse though CPUs do not."""

import pytest
import torch
import torch.nn.functional as F
from test_sd3 import save_sd3
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plaudit.generators.denoising import DenoisingInBfloat16, denoising_of
from plaudit.generators.lean_decoder import _FrozenConv2d, _GroupNormSiLU
from plaudit.generators.sd3 import StableDiffusion3
from plaudit.generators.stable_diffusion import StableDiffusion

FORWARD = {"native_group_norm", "convolution"}
BACKWARD = {"native_group_norm_backward", "convolution_backward"}
OF_ONE_TYPE = FORWARD | BACKWARD


class Kernels(TorchDispatchMode):
    """Notes which floating types each call of the kernels above is given."""

    def __init__(self):
        super().__init__()
        self.types = []

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        name = kernel.overloadpacket.__name__
        if name in OF_ONE_TYPE:
            given = [it for it in tree_leaves((args, kwargs)) if isinstance(it, torch.Tensor)]
            self.types.append((name, {it.dtype for it in given if it.is_floating_point()}))
        return kernel(*args, **(kwargs or {}))

    def names(self):
        return {name for name, _ in self.types}


@pytest.fixture
def autocast_of_a_gpu(monkeypatch):
    """A CPU's autocast with bfloat16 as if native, where plain norms are of float32 as in CUDA's."""
    plain = F.group_norm

    def in_float32(x, groups, weight=None, bias=None, eps=1e-5):
        return plain(x.float(), groups, weight, bias, eps)

    monkeypatch.setattr("plaudit.core.devices.has_fast_bfloat16", lambda _: True)
    monkeypatch.setattr(F, "group_norm", in_float32)


@pytest.fixture(scope="module", params=["stable-diffusion", "sd3"])
def denoising(request, sd_folder, tmp_path_factory):
    if request.param == "sd3":
        return denoising_of(StableDiffusion3.from_pretrained(save_sd3(tmp_path_factory.mktemp("sd3")), steps=4))
    return denoising_of(StableDiffusion.from_pretrained(sd_folder, steps=4))


def decoded(denoising):
    """The picture, and the gradient of its product with fixed numbers. The backward pass is not under autocast."""
    z = torch.randn(2, *denoising.noise_shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    image = denoising.decode(z)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    (slope,) = torch.autograd.grad((image * weights).sum(), z)
    return image.detach(), slope


@pytest.mark.usefixtures("autocast_of_a_gpu")
def test_no_kernel_is_given_a_mixture_of_types(denoising):
    with Kernels() as kernels:
        decoded(DenoisingInBfloat16(denoising))
    assert kernels.names() == OF_ONE_TYPE
    assert [it for it in kernels.types if len(it[1]) > 1] == []
    convolved = {dtype for name, types in kernels.types if name.startswith("convolution") for dtype in types}
    assert convolved == {torch.bfloat16}


@pytest.mark.usefixtures("autocast_of_a_gpu")
def test_the_gradient_is_float32s_to_bfloat16s_precision(denoising):
    image, slope = decoded(denoising)
    low_image, low_slope = decoded(DenoisingInBfloat16(denoising))
    assert low_image.dtype == low_slope.dtype == torch.float32
    assert not torch.equal(low_slope, slope), "its products are of another precision"
    torch.testing.assert_close(low_image, image, atol=0.02, rtol=0)
    # No closer: in the other precision some pixels are beyond black and white, where no gradient is.
    assert F.cosine_similarity(low_slope.flatten(), slope.flatten(), dim=0) > 0.99
    torch.testing.assert_close(low_slope.norm(), slope.norm(), rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_one_type_the_numbers_are_the_kernels_own(dtype):
    """Bit for bit: what decides about types costs nothing where there is nothing to decide."""
    rng = torch.Generator().manual_seed(3)
    x, slope = (torch.randn(2, 8, 6, 6, generator=rng).to(dtype) for _ in range(2))
    norm, conv = _GroupNormSiLU(4, 8).to(dtype), _FrozenConv2d(8, 8, 3, padding=1).to(dtype)
    for parameter in (*norm.parameters(), *conv.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=rng).to(dtype)
    leaf = x.clone().requires_grad_()
    found, found_slope = [], []
    for module in (norm, conv):
        found.append(module(leaf))
        found_slope.append(torch.autograd.grad(found[-1], leaf, slope)[0])
    aten = torch.ops.aten
    normal, mean, spread = aten.native_group_norm(x, norm.weight, norm.bias, 2, 8, 36, 4, norm.eps)
    assert torch.equal(found[0], F.silu(normal))
    given = aten.silu_backward(slope, normal)
    expected = aten.native_group_norm_backward(
        given, x, mean, spread, norm.weight, 2, 8, 36, 4, [True, False, False]
    )[0]  # fmt: skip
    assert torch.equal(found_slope[0], expected)
    plain = x.clone().requires_grad_()
    convolved = F.conv2d(plain, conv.weight, conv.bias, padding=1)
    assert torch.equal(found[1], convolved)
    assert torch.equal(found_slope[1], torch.autograd.grad(convolved, plain, slope)[0])
