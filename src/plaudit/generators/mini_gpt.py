"""VQGAN's transformer (Esser et al. 2021): a plain GPT over one table of tokens, in which classes have places too.

A sequence is the class's number and then the picture's tokens, and every place of it has a learned vector. By the
published names of its weights. Nothing drops out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.attending import attend
from plaudit.generators.recomputing import recomputed
from plaudit.generators.token_reading import Cache, looks


@dataclass(frozen=True, kw_only=True)
class GptSizes:
    """What a GPT's shape is made of; as published for ImageNet unless told otherwise."""

    dim: int = 1536
    layers: int = 48
    heads: int = 24
    vocabulary: int = 16384
    grid: int = 16
    """tokens of a picture's side"""
    classes: int = 1000

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise BadConfig(f"{self.heads} heads cannot share {self.dim} numbers")
        if not 1 <= self.classes <= self.vocabulary:
            raise BadConfig(f"{self.classes} classes have no places in a table of {self.vocabulary} tokens")

    @property
    def num_tokens(self) -> int:
        """Of a picture, and places of a sequence: the last token is never read."""
        return self.grid * self.grid


class CausalSelfAttention(nn.Module):
    """Heads that look back."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(dim, dim)
        self.query = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, allowed: Tensor | None, kept: tuple[Cache, int, int] | None) -> Tensor:
        parts = (self.query(x), self.key(x), self.value(x))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        if kept is not None:
            cache, layer, start = kept
            key, value = cache.keep(layer, start, key, value)
        found = attend(query, key, value, allowed, causal=allowed is None and query.shape[2] > 1)
        return self.proj(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then feed-forward, each added to its normalised input's own."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(sizes.dim)
        self.ln2 = nn.LayerNorm(sizes.dim)
        self.attn = CausalSelfAttention(sizes.dim, sizes.heads)
        self.mlp = nn.Sequential(nn.Linear(sizes.dim, 4 * sizes.dim), nn.GELU(), nn.Linear(4 * sizes.dim, sizes.dim))

    def forward(self, x: Tensor, allowed: Tensor | None, kept: tuple[Cache, int, int] | None) -> Tensor:
        x = x + self.attn(self.ln1(x), allowed, kept)
        return x + self.mlp(self.ln2(x))


class MiniGPT(nn.Module):
    """The network; a Decoder whose prefix is the class's token."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.num_layers, self.num_heads, self.num_tokens = sizes.layers, sizes.heads, sizes.num_tokens
        self.checkpointing = False
        self.tok_emb = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.pos_emb = nn.Parameter(torch.zeros(1, sizes.num_tokens, sizes.dim))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.dim)
        self.head = nn.Linear(sizes.dim, sizes.vocabulary, bias=False)

    def prefix(self, labels: Tensor) -> Tensor:
        """(B, 1, D) of classes (B,), at the sequence's first place."""
        return self.tok_emb(labels)[:, None] + self.pos_emb[:, :1]

    def embed(self, tokens: Tensor, first: int) -> Tensor:
        """(B, n, D) of tokens (B, n), of which the first is a picture's token number `first`, one place later."""
        return self.tok_emb(tokens) + self.pos_emb[:, 1 + first : 1 + first + tokens.shape[1]]

    def read(self, rows: Tensor, start: int, seen: Tensor | None, cache: Cache | None) -> Tensor:
        """The states (B, n, D) of rows (B, n, D) at the places from `start` on; see token_reading.Decoder."""
        allowed = None if seen is None else looks(start, rows.shape[1], seen)
        for number, block in enumerate(self.blocks):
            kept = None if cache is None else (cache, number, start)
            if self.checkpointing and cache is None:
                rows = recomputed(block, rows, allowed, kept)
            else:
                rows = block(rows, allowed, kept)
        return self.ln_f(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        return self.head(hidden).float()
