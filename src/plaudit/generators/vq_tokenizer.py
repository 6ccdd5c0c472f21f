"""LlamaGen's image tokenizer (Sun et al. 2024): pictures to tokens of a codebook on the unit sphere, and back.

An autoencoder of VQGAN's blocks with attention in its deepest level, by the published names of its weights. A
diffusers AutoencoderKL of the same sizes is the same stack with less attention, so that one can start from the other.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.codebook import Codebook, Quantised
from plaudit.generators.memory_layout import laid_out
from plaudit.generators.taming_blocks import AttnBlock, Downsample, Level, ResnetBlock, Upsample, norm


@dataclass(frozen=True, kw_only=True)
class TokenizerSizes:
    """What a tokenizer's shape is made of; as published, for 16 pixels a token, unless told otherwise."""

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """of `channels`, level by level; each level but the last halves height and width"""
    res_blocks: int = 2
    """of each level of the encoder; the decoder has one more"""
    norm_groups: int = 32
    z_channels: int = 256
    codebook_size: int = 16384
    codebook_dim: int = 8

    def __post_init__(self) -> None:
        if not self.multipliers or min(self.multipliers) < 1 or self.res_blocks < 1:
            raise BadConfig(f"a tokenizer needs levels and blocks, got {self.multipliers} and {self.res_blocks}")
        for width in {self.channels * multiplier for multiplier in (1, *self.multipliers)}:
            if width % self.norm_groups:
                raise BadConfig(f"{self.norm_groups} norm groups do not divide a level of {width} channels")

    @property
    def shrink(self) -> int:
        """Pixels of a token's side."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [self.channels * multiplier for multiplier in self.multipliers]

    def check_divides(self, images: Tensor) -> None:
        """Raise BadConfig unless the images (B, 3, H, W) are whole numbers of tokens high and wide."""
        if images.shape[-1] % self.shrink or images.shape[-2] % self.shrink:
            raise BadConfig(
                f"a token is {self.shrink} x {self.shrink} pixels, which do not fill {tuple(images.shape[-2:])}"
            )


DS16 = TokenizerSizes()
"""vq_ds16_c2i and vq_ds16_t2i"""
DS8 = TokenizerSizes(multipliers=(1, 2, 2, 4))
"""vq_ds8_c2i"""
BLOCKS = "res"
"""the published name of a level's residual blocks"""


class Coder(nn.Module):
    """What encoder and decoder have in common: convolution in, levels, middle, convolution out."""

    def __init__(self, sizes: TokenizerSizes, *, encodes: bool) -> None:
        super().__init__()
        groups, widths = sizes.norm_groups, sizes.widths
        deepest, outermost = widths[-1], sizes.channels if encodes else widths[0]
        before, after = (3, sizes.z_channels) if encodes else (sizes.z_channels, 3)
        self.encodes = encodes
        self.conv_in = nn.Conv2d(before, outermost if encodes else deepest, 3, padding=1)
        self.conv_blocks = nn.ModuleList(_levels(sizes, encodes=encodes))
        self.mid = nn.ModuleList(
            [
                ResnetBlock(deepest, deepest, groups=groups),
                AttnBlock(deepest, groups=groups),
                ResnetBlock(deepest, deepest, groups=groups),
            ]
        )
        last = deepest if encodes else outermost
        self.norm_out = norm(last, groups)
        self.conv_out = nn.Conv2d(last, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(laid_out(x))
        # The middle is where the picture is smallest: after an encoder's levels, before a decoder's.
        stages = [*self.conv_blocks, *self.mid] if self.encodes else [*self.mid, *self.conv_blocks]
        for stage in stages:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VQTokenizer(nn.Module):
    """Images in [0, 1] to tokens in raster order, and tokens to images. Trainable as built."""

    def __init__(self, sizes: TokenizerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = Coder(sizes, encodes=True)
        self.decoder = Coder(sizes, encodes=False)
        self.quantize = Codebook(sizes.codebook_size, sizes.codebook_dim, on_sphere=True)
        self.quant_conv = nn.Conv2d(sizes.z_channels, sizes.codebook_dim, 1)
        self.post_quant_conv = nn.Conv2d(sizes.codebook_dim, sizes.z_channels, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (B, T) int64 of images (B, 3, H, W) in [0, 1], whose sides the tokens' side divides."""
        latents = self.latents(images)
        return self.quantize.nearest(latents.movedim(1, -1).flatten(0, 2)).view(len(images), -1)

    def decode(self, tokens: Tensor, *, height: int | None = None) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T) of a square, or of so many rows of tokens."""
        return self.paint(grid_of(self.quantize.look_up(tokens), height)).float().clamp(0, 1).contiguous()

    def quantise(self, images: Tensor) -> Quantised:
        """Images (B, 3, H, W) in [0, 1] as tokens, with the terms that a training of the tokenizer weighs."""
        return self.quantize.quantise(self.latents(images))

    def latents(self, images: Tensor) -> Tensor:
        """(B, D, h, w), before the nearest code is looked up, of images (B, 3, H, W) in [0, 1]."""
        self.sizes.check_divides(images)
        pixels = images.to(self.quant_conv.weight.dtype) * 2 - 1
        return self.quant_conv(self.encoder(pixels))

    def paint(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W), about [0, 1] but not cut to it, of latents (B, D, h, w)."""
        return self.decoder(self.post_quant_conv(latents)) / 2 + 0.5


def grid_of(vectors: Tensor, height: int | None) -> Tensor:
    """Vectors (B, T, D) in raster order as (B, D, h, w). Raises BadConfig if they fill no such grid."""
    count = vectors.shape[1]
    rows = height or math.isqrt(count)
    if count == 0 or count % rows or (height is None and rows * rows != count):
        raise BadConfig(f"{count} tokens do not fill {f'{height} rows' if height else 'a square'} of a picture")
    return vectors.unflatten(1, (rows, -1)).movedim(-1, 1)


def from_autoencoder_kl(
    vae: Any, *, codebook_size: int = 16384, codebook_dim: int = 8, rng: torch.Generator
) -> VQTokenizer:
    """The tokenizer that encodes and decodes as a diffusers AutoencoderKL does, until tokens stand between.

    The attention that the autoencoder lacks is there and adds nothing yet. Latents are the autoencoder's means,
    unscaled, then numbers that the decoder does not read yet; the codes are directions drawn with `rng`. Raises
    BadConfig for an autoencoder of another build, or with more channels of latents than a code has numbers.
    """
    config = vae.config
    widths = list(config.block_out_channels)
    if any(width % widths[0] for width in widths) or set(config.down_block_types) != {"DownEncoderBlock2D"}:
        raise BadConfig(f"a tokenizer cannot start from an autoencoder of {config.down_block_types} and {widths}")
    if config.latent_channels > codebook_dim:
        raise BadConfig(f"a code of {codebook_dim} numbers cannot hold latents of {config.latent_channels} channels")
    made = VQTokenizer(
        TokenizerSizes(
            channels=widths[0],
            multipliers=tuple(width // widths[0] for width in widths),
            res_blocks=config.layers_per_block,
            norm_groups=config.norm_num_groups,
            z_channels=config.latent_channels,
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
        )
    ).to(vae.dtype)
    with torch.no_grad():
        _take_coder(made.encoder, vae.encoder, vae.encoder.down_blocks)
        _take_coder(made.decoder, vae.decoder, vae.decoder.up_blocks)
        _join_ends(made, vae, rng)
        drawn = torch.randn(codebook_size, codebook_dim, generator=rng)
        made.quantize.embedding.weight.copy_(F.normalize(drawn, dim=-1))
    return made.to(vae.device)


def _levels(sizes: TokenizerSizes, *, encodes: bool) -> list[Level]:
    widths, count = sizes.widths, len(sizes.widths)
    found, before = [], sizes.channels if encodes else widths[-1]
    for level in range(count) if encodes else reversed(range(count)):
        width = widths[level]
        num_blocks = sizes.res_blocks + (0 if encodes else 1)
        between = [before, *[width] * num_blocks]
        made = Level(between, groups=sizes.norm_groups, attends=level == count - 1, blocks=BLOCKS)
        if encodes and level < count - 1:
            made.downsample = Downsample(width)
        elif not encodes and level > 0:
            made.upsample = Upsample(width)
        found.append(made)
        before = width
    return found


def _take_coder(made: Any, given: Any, blocks: Any) -> None:
    """Copy the weights of a diffusers encoder or decoder; attention beyond its own adds nothing."""
    made.conv_in.load_state_dict(given.conv_in.state_dict())
    made.norm_out.load_state_dict(given.conv_norm_out.state_dict())
    for level, block in zip(made.conv_blocks, blocks, strict=True):
        for one, other in zip(level.res, block.resnets, strict=True):
            _take_resnet(one, other)
        for attention in level.attn:
            _silence(attention)
        for change, theirs in ((level.downsample, "downsamplers"), (level.upsample, "upsamplers")):
            if change is not None:
                change.load_state_dict(getattr(block, theirs)[0].state_dict())
    for place, resnet in ((0, 0), (2, 1)):
        _take_resnet(made.mid[place], given.mid_block.resnets[resnet])
    _take_attention(made.mid[1], given.mid_block.attentions[0])


def _take_resnet(made: Any, given: Any) -> None:
    renamed = {name.replace("conv_shortcut", "nin_shortcut"): weight for name, weight in given.state_dict().items()}
    made.load_state_dict(renamed)


def _take_attention(made: Any, given: Any) -> None:
    if given is None:
        _silence(made)
        return
    made.norm.load_state_dict(given.group_norm.state_dict())
    for name, theirs in (("q", given.to_q), ("k", given.to_k), ("v", given.to_v), ("proj_out", given.to_out[0])):
        part = getattr(made, name)
        part.weight.copy_(theirs.weight[..., None, None])
        part.bias.copy_(theirs.bias)


def _silence(attention: Any) -> None:
    _empty(attention.proj_out)


def _empty(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _join_ends(made: VQTokenizer, vae: Any, rng: torch.Generator) -> None:
    """The ends that meet at the latents. The autoencoder's encoder also tells a spread, which no token has."""
    count = vae.config.latent_channels
    out = vae.encoder.conv_out
    weight, bias = out.weight, out.bias
    if vae.quant_conv is not None:
        # Two linear maps in a row are one; of its results only the means are kept.
        mixing = vae.quant_conv.weight[:, :, 0, 0]
        weight = torch.einsum("om,mchw->ochw", mixing, weight)
        bias = mixing @ bias + vae.quant_conv.bias
    made.encoder.conv_out.load_state_dict({"weight": weight[:count], "bias": bias[:count]})
    # Beyond the latents' channels a code holds mixtures of them, which the decoder does not read yet.
    spare = torch.randn(made.sizes.codebook_dim - count, count, generator=rng) / count**0.5
    _empty(made.quant_conv)
    made.quant_conv.weight.copy_(torch.cat([torch.eye(count), spare])[:, :, None, None])
    back: Any = made.post_quant_conv
    _empty(back)
    if vae.post_quant_conv is None:
        back.weight[:, :count, 0, 0] = torch.eye(count)
    else:
        back.weight[:, :count].copy_(vae.post_quant_conv.weight)
        back.bias.copy_(vae.post_quant_conv.bias)
    made.decoder.conv_out.load_state_dict(vae.decoder.conv_out.state_dict())
