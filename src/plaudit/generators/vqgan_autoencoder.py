"""VQGAN's image tokenizer (Esser et al. 2021): pictures to tokens of a codebook of plain distances, and back.

The same blocks as LlamaGen's tokenizer, attention at some levels, and other names for the stacks.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.generators.codebook import Codebook
from plaudit.generators.memory_layout import laid_out
from plaudit.generators.taming_blocks import AttnBlock, Downsample, Level, ResnetBlock, Upsample, norm
from plaudit.generators.vq_tokenizer import TokenizerSizes, grid_of

BLOCKS = "block"
"""the published name of a level's residual blocks"""


@dataclass(frozen=True, kw_only=True)
class AutoencoderSizes(TokenizerSizes):
    """What a VQGAN's shape is made of; as published for ImageNet, 16 pixels a token, unless told otherwise."""

    codebook_dim: int = 256
    attends: tuple[int, ...] = (4,)
    """the levels with attention, counted from the picture's own size"""


class Middle(nn.Module):
    """The blocks where the picture is smallest."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(width, width, groups=groups)
        self.attn_1 = AttnBlock(width, groups=groups)
        self.block_2 = ResnetBlock(width, width, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] to (B, z_channels, h, w)."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        groups, widths = sizes.norm_groups, sizes.widths
        self.conv_in = nn.Conv2d(3, sizes.channels, 3, padding=1)
        self.down = nn.ModuleList()
        before = sizes.channels
        for number, width in enumerate(widths):
            between = [before, *[width] * sizes.res_blocks]
            level = Level(between, groups=groups, attends=number in sizes.attends, blocks=BLOCKS)
            if number < len(widths) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
            before = width
        self.mid = Middle(before, groups=groups)
        self.norm_out = norm(before, groups)
        self.conv_out = nn.Conv2d(before, sizes.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(laid_out(x))
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """(B, z_channels, h, w) to pixels (B, 3, H, W), about [-1, 1]. Its levels are numbered like the encoder's."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        groups, widths = sizes.norm_groups, sizes.widths
        before = widths[-1]
        self.conv_in = nn.Conv2d(sizes.z_channels, before, 3, padding=1)
        self.mid = Middle(before, groups=groups)
        levels = []
        for number, width in reversed(list(enumerate(widths))):
            between = [before, *[width] * (sizes.res_blocks + 1)]
            level = Level(between, groups=groups, attends=number in sizes.attends, blocks=BLOCKS)
            if number > 0:
                level.upsample = Upsample(width)
            levels.append(level)
            before = width
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = norm(before, groups)
        self.conv_out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(laid_out(x)))
        for level in reversed(list(self.up)):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VQGANAutoencoder(nn.Module):
    """Images in [0, 1] to tokens in raster order, and tokens to images."""

    def __init__(self, sizes: AutoencoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)
        self.quantize = Codebook(sizes.codebook_size, sizes.codebook_dim, on_sphere=False)
        self.quant_conv = nn.Conv2d(sizes.z_channels, sizes.codebook_dim, 1)
        self.post_quant_conv = nn.Conv2d(sizes.codebook_dim, sizes.z_channels, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (B, T) int64 of images (B, 3, H, W) in [0, 1], whose sides the tokens' side divides."""
        self.sizes.check_divides(images)
        latents = self.quant_conv(self.encoder(images.to(self.quant_conv.weight.dtype) * 2 - 1))
        return self.quantize.nearest(latents.movedim(1, -1).flatten(0, 2)).view(len(images), -1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T) of a square."""
        latents = grid_of(self.quantize.look_up(tokens), None)
        return (self.decoder(self.post_quant_conv(latents)).float() / 2 + 0.5).clamp(0, 1).contiguous()
