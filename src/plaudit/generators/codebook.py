"""The vectors that image tokens stand for: which is nearest, and what teaches them.

VQGAN measures plain distances (van den Oord et al. 2017); LlamaGen those on the unit sphere (Yu et al. 2022).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK_NUMBERS = 2**24
"""distances at once: 64 MiB in float32"""
SOFTNESS = 0.01
"""of the assignment whose entropies are measured: LlamaGen's"""


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """B latent pictures as tokens, and what a training of the tokenizer weighs."""

    latents: Tensor
    """(B, D, h, w), the tokens' vectors; gradients pass straight through to what was quantised"""
    tokens: Tensor
    """(B, h w) int64, in raster order"""
    codebook_loss: Tensor
    """scalar: mean square between the vectors and what they stand for; teaches the vectors"""
    commitment_loss: Tensor
    """scalar: the same number; teaches the encoder"""
    place_entropy: Tensor
    """scalar, nats: how undecided a place is between the vectors, on average"""
    usage_entropy: Tensor
    """scalar, nats, up to ln V: of how often the vectors are used, softly counted"""


class Codebook(nn.Module):
    """V vectors of D numbers. Drawn as nn.Embedding draws; a loader or a training says more."""

    def __init__(self, size: int, dim: int, *, on_sphere: bool) -> None:
        """`on_sphere`: only directions count, of the vectors and of what is looked up."""
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        self.on_sphere = on_sphere

    def vectors(self) -> Tensor:
        """(V, D), of length 1 if on the sphere."""
        return self._placed(self.embedding.weight)

    def look_up(self, tokens: Tensor) -> Tensor:
        """The vectors (..., D) of tokens (...)."""
        return self._placed(self.embedding(tokens))

    def nearest(self, rows: Tensor) -> Tensor:
        """The tokens (N,) int64 of rows (N, D); of equally near ones the first. No gradient."""
        with torch.no_grad():
            vectors = self.vectors().float()
            parts = rows.float().split(max(1, CHUNK_NUMBERS // len(vectors)))
            return torch.cat([self._distances(self._placed(part), vectors).argmin(dim=1) for part in parts])

    def quantise(self, latents: Tensor) -> Quantised:
        """The latents (B, D, h, w) as tokens, with all the terms of a training's loss."""
        rows = self._placed(latents.movedim(1, -1))
        tokens = self.nearest(rows.flatten(0, 2))
        found = self.look_up(tokens).view_as(rows)
        places, usage = self._entropies(rows.flatten(0, 2))
        return Quantised(
            latents=(rows + (found - rows).detach()).movedim(-1, 1),
            tokens=tokens.view(len(latents), -1),
            codebook_loss=F.mse_loss(found, rows.detach()),
            commitment_loss=F.mse_loss(rows, found.detach()),
            place_entropy=places,
            usage_entropy=usage,
        )

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.on_sphere else vectors

    def _distances(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Squared, (N, V), less what is the same for all of a row's."""
        return vectors.square().sum(dim=1) - 2 * rows @ vectors.T

    def _entropies(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean entropy of the places' soft assignments, and entropy of their mean."""
        shares = (-self._distances(rows, self.vectors()) / SOFTNESS).log_softmax(dim=1)
        mean = shares.exp().mean(dim=0)
        return -(shares.exp() * shares).sum(dim=1).mean(), -torch.xlogy(mean, mean).sum()
