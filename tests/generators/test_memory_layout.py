"""Image tokenizers read pictures channels-last on a CPU, which changes no picture and no layout of what they give."""

import pytest
import torch
from torch import nn

from plaudit.generators.memory_layout import laid_out, lay_out_for
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer
from plaudit.generators.vqgan_autoencoder import AutoencoderSizes, VQGANAutoencoder

SIZES = {"channels": 8, "multipliers": (1, 2), "res_blocks": 1, "norm_groups": 4, "z_channels": 4, "codebook_size": 16}


@pytest.fixture(params=["llamagen", "vqgan"])
def tokenizer(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "llamagen":
            return VQTokenizer(TokenizerSizes(**SIZES)).eval()
        return VQGANAutoencoder(AutoencoderSizes(**SIZES, attends=(1,))).eval()


def test_convolutions_get_channels_last_only_without_a_gradient() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert laid_out(image) is image
    with torch.no_grad():
        found = laid_out(image)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, image)


def test_pictures_are_those_of_the_other_layout_and_lie_as_ever(tokenizer: nn.Module) -> None:
    tokens = torch.randint(16, (3, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = tokenizer.decode(tokens)
    usual = tokenizer.decode(tokens)
    assert usual.requires_grad
    torch.testing.assert_close(found, usual.detach(), atol=1e-5, rtol=0)
    assert found.is_contiguous()


def test_another_librarys_network_is_told_once() -> None:
    seen = []

    class Network(nn.Module):
        def forward(self, x: torch.Tensor, scale: int) -> torch.Tensor:
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return x * scale

    network = Network()
    lay_out_for(network)
    lay_out_for(network)
    assert len(network._forward_pre_hooks) == 1
    image = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image, 2), image * 2)
    assert seen == [True]
