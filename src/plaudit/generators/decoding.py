"""How latents become pixels where memory is short: an image at a time, in tiles, or by a tiny decoder for gradients.

A decoder works at the image's full size, and holds most of a latent generator's activations. Every way here keeps
gradients: what is decoded in pieces is decoded again, piece by piece, in the backward pass, so that one piece's
activations exist at a time. diffusers' own slicing and tiling keep all pieces' activations for the backward pass.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.recomputing import recomputed


class Decoding:
    """Turns a generator's latents into images as its settings say; whole and in one piece unless told.

    Which decoder is used: `tiny`, if there is one, where gradients reach the latents (gradients are on and the latents
    require them); else, so for every image drawn under no_grad, the full autoencoder.
    """

    def __init__(self) -> None:
        self.slicing = False
        self.tile: int | None = None
        """a tile's side in pixels; None: the image is decoded whole"""
        self.overlap = 0
        """of neighbouring tiles, at least, in pixels"""
        self.tiny: Any = None
        """an AutoencoderTiny, or None"""

    @property
    def with_gradients(self) -> str:
        """Which decoder draws images whose gradient is wanted: full or tiny."""
        return "full" if self.tiny is None else "tiny"

    @property
    def without_gradients(self) -> str:
        """Which decoder draws images under no_grad, so those that are kept: always full."""
        return "full"

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of latents (B, C, h, w) as the denoiser knows them (scaled)."""
        wanted = torch.is_grad_enabled() and latents.requires_grad
        decoder = self.tiny if wanted and self.tiny is not None else vae
        given = latents / decoder.config.scaling_factor + (decoder.config.get("shift_factor") or 0.0)
        given = given.to(next(decoder.parameters()).dtype)
        if self.slicing and len(given) > 1:
            decoded = torch.cat([self._draw(decoder, row, apart=True) for row in given.split(1)])
        else:
            decoded = self._draw(decoder, given, apart=False)
        return (decoded.float() / 2 + 0.5).clamp(0, 1)

    def _draw(self, decoder: Any, given: Tensor, *, apart: bool) -> Tensor:
        """The decoder's pictures (B, 3, H, W) of unscaled latents; `apart`: they are one of several pieces."""

        def draw(piece: Tensor) -> Tensor:
            found: Tensor = decoder.decode(piece).sample
            return found

        scale = pixels_per_latent(decoder)
        side = max(given.shape[-2:]) if self.tile is None else self.tile // scale
        if max(given.shape[-2:]) > side:
            return _draw_tiles(draw, given, side, self.overlap // scale, scale)
        return recomputed(draw, given) if apart else draw(given)


@runtime_checkable
class LatentGenerator(Protocol):
    """A generator whose networks are a denoiser over latents, an autoencoder, and encoders of the prompt."""

    device: torch.device

    @property
    def denoiser(self) -> nn.Module: ...

    @property
    def vae(self) -> Any: ...

    @property
    def text_encoders(self) -> Sequence[nn.Module]: ...

    @property
    def decoding(self) -> Decoding: ...

    def use_checkpointing(self, enabled: bool = True) -> None: ...


def slice_decoding(generator: LatentGenerator, enabled: bool = True) -> None:
    """Decode image by image inside a batch: one image's activations exist at a time, also in the backward pass.

    Images and gradients are the same, up to the last digits of kernels that depend on the batch. With gradients every
    image is decoded twice.
    """
    generator.decoding.slicing = enabled


def tile_decoding(generator: LatentGenerator, tile: int | None = 512, *, overlap: int | None = None) -> None:
    """Decode in tiles of `tile` pixels a side that overlap by at least `overlap` and are blended linearly.

    With gradients every tile is decoded twice, and one tile's activations exist at a time. Images of at most one tile
    are decoded whole. Larger ones differ, and their gradients are those of what is drawn: a tile's group norms
    and its middle attention see the tile in place of the image, and beside its edges convolutions see padding; so
    overlap cannot make it exact. `overlap` is a quarter of a tile unless given; None for `tile` decodes whole again.
    Raises BadConfig unless both are whole numbers of latents, and the overlap is smaller than the tile.
    """
    decoding = generator.decoding
    if tile is None:
        decoding.tile, decoding.overlap = None, 0
        return
    scale = pixels_per_latent(generator.vae)
    if tile < scale or tile % scale:
        raise BadConfig(f"a tile's side must be a multiple of {scale} pixels, one latent, got {tile}")
    overlap = tile // scale // 4 * scale if overlap is None else overlap
    if not 0 <= overlap < tile or overlap % scale:
        raise BadConfig(f"tiles of {tile} pixels overlap by a multiple of {scale} below {tile}, got {overlap}")
    decoding.tile, decoding.overlap = tile, overlap


def use_tiny_decoder(generator: LatentGenerator, tiny: Any) -> None:
    """Decode with an AutoencoderTiny (TAESD's format) where gradients reach the latents, else with the full one.

    `tiny` is a folder or the model; None: always the full decoder. A tiny decoder is an approximation that was trained
    for one autoencoder: rewards and gradients are then those of its images. Rewards of images that the two decoders
    drew should not be compared. Raises BadConfig if it does not fit the generator's autoencoder.
    """
    if tiny is None:
        generator.decoding.tiny = None
        return
    vae = generator.vae
    if isinstance(tiny, str | Path):
        tiny = _load_tiny(Path(tiny), next(vae.parameters()).dtype)
    sizes = [(int(model.config["latent_channels"]), pixels_per_latent(model)) for model in (tiny, vae)]
    if sizes[0] != sizes[1]:
        words = [f"{channels} channels at {scale} pixels a side" for channels, scale in sizes]
        raise BadConfig(f"the tiny decoder reads latents of {words[0]}, and the generator's have {words[1]}")
    generator.decoding.tiny = tiny.to(generator.device).eval().requires_grad_(False)


def pixels_per_latent(vae: Any) -> int:
    """How many pixels wide and high a latent of a diffusers autoencoder is."""
    config = vae.config
    return int(2 ** (len(config.get("decoder_block_out_channels") or config["block_out_channels"]) - 1))


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where the fewest tiles begin that cover 0 to `size`, evenly, each overlapping the next by `overlap` or more."""
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(number * (size - tile) / (count - 1)) for number in range(count)]


def tile_weights(starts: Sequence[int], tile: int, size: int) -> Tensor:
    """Each tile's share of every place, (tiles, size), float32: linear where two overlap; all shares sum to 1."""
    places = torch.arange(size) + 0.5
    rows = []
    for number, start in enumerate(starts):
        # How far inside the tile a place lies, but from the image's own edges, where nothing else is.
        left = places - start if number > 0 else torch.full((size,), float(size))
        right = start + tile - places if number < len(starts) - 1 else torch.full((size,), float(size))
        rows.append(torch.minimum(left, right).clamp_min(0))
    weights = torch.stack(rows)
    return weights / weights.sum(dim=0)


def _draw_tiles(draw: Any, given: Tensor, side: int, overlap: int, scale: int) -> Tensor:
    """The blended picture (B, 3, H, W), float32; sides in latents."""
    height, width = given.shape[-2:]
    spans = []
    for size in (height, width):
        tile = min(side, size)
        starts = tile_starts(size, tile, overlap)
        weights = tile_weights([start * scale for start in starts], tile * scale, size * scale).to(given.device)
        spans.append([(start, start + tile, row) for start, row in zip(starts, weights, strict=True)])
    picture = torch.zeros((), device=given.device)
    for (top, bottom, down), (left, right, across) in itertools.product(*spans):
        piece = recomputed(draw, given[..., top:bottom, left:right]).float()
        rows, columns = slice(top * scale, bottom * scale), slice(left * scale, right * scale)
        share = down[rows, None] * across[columns]
        around = (left, width - right, top, height - bottom)
        picture = picture + F.pad(piece * share, [scale * margin for margin in around])
    return picture


def _load_tiny(folder: Path, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderTiny

    try:
        kind = AutoencoderTiny.load_config(str(folder), local_files_only=True).get("_class_name")
        if kind != "AutoencoderTiny":
            raise BadConfig(f"{folder} holds a {kind}, and a tiny decoder is an AutoencoderTiny")
        return AutoencoderTiny.from_pretrained(
            str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except OSError as error:
        raise BadConfig(f"{folder} holds no AutoencoderTiny: {str(error).splitlines()[0]}") from error
