"""LlamaGen's decoder (Sun et al. 2024): Llama's layers with rotary positions in two dimensions, after a prefix.

The prefix is a class's one vector, or a caption's projected T5 states. By the published names of its weights. As
published, the rotation of a prefix's places is by zero in both parts: their queries and keys are zero vectors, so that
all places look at the prefix alike, and the prefix looks evenly at itself. Differs from the published training in that
nothing drops out; a condition is dropped by whoever asks for that.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.attending import attend
from plaudit.generators.recomputing import recomputed
from plaudit.generators.token_reading import Cache, looks

ROTARY_BASE = 10000.0
NORM_EPS = 1e-5
SPREAD = 0.02
"""of weights at the start of a training"""


@dataclass(frozen=True, kw_only=True)
class LlamaSizes:
    """What a decoder's shape is made of. One of `classes` and `caption_dim` says what it is told."""

    dim: int
    layers: int
    heads: int
    hidden: int
    """inside of the layers' feed-forward parts; published: `feed_forward_width` of `dim`"""
    vocabulary: int = 16384
    grid: int = 16
    """tokens of a picture's side"""
    classes: int = 0
    """that it can be asked for by number; 0: it reads captions"""
    caption_dim: int = 0
    """numbers of a caption token's state"""
    prefix: int = 1
    """places before the picture: 1 for a class, or the longest caption"""

    def __post_init__(self) -> None:
        if bool(self.classes) == bool(self.caption_dim):
            raise BadConfig(
                f"a LlamaGen is told a class or a caption; got classes {self.classes}, caption_dim {self.caption_dim}"
            )
        if self.classes and self.prefix != 1:
            raise BadConfig(f"a class takes one place before the picture, got prefix {self.prefix}")
        if min(self.layers, self.heads, self.hidden, self.vocabulary, self.grid, self.prefix) < 1:
            raise BadConfig("a LlamaGen's sizes are at least 1")
        if self.dim % (4 * self.heads):
            raise BadConfig(
                f"{self.heads} heads of {self.dim} numbers cannot turn in two dimensions: 4 must divide each"
            )

    @property
    def num_tokens(self) -> int:
        """Of a picture."""
        return self.grid * self.grid


def feed_forward_width(dim: int, *, multiple: int = 256) -> int:
    """Two thirds of four times `dim`, rounded down, then up to a multiple: the published layers' inside."""
    return multiple * math.ceil(int(2 * 4 * dim / 3) / multiple)


PUBLISHED_HEADS = {768: 12, 1024: 16, 1280: 20, 1536: 24, 3200: 32}
"""by the width of LlamaGen B, L, XL, XXL and 3B"""


class RMSNorm(nn.Module):
    """Rows of length about 1 per number, then a weight each; the length is measured in float32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * (wide.square().mean(dim=-1, keepdim=True) + NORM_EPS).rsqrt()).to(x.dtype) * self.weight


class LabelEmbedder(nn.Module):
    """A vector per class, and a last one for none."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, dim)

    def forward(self, labels: Tensor) -> Tensor:
        """(B, 1, D) of classes (B,)."""
        return self.embedding_table(labels)[:, None]


class CaptionProjection(nn.Module):
    """The two linear layers that a caption's states go through."""

    def __init__(self, before: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(before, dim, bias=False)
        self.fc2 = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class CaptionEmbedder(nn.Module):
    """A caption's states as a prefix; and the states, drawn once and never trained, that ask for nothing."""

    uncond_embedding: Tensor

    def __init__(self, caption_dim: int, dim: int, prefix: int) -> None:
        super().__init__()
        self.cap_proj = CaptionProjection(caption_dim, dim)
        self.register_buffer("uncond_embedding", torch.zeros(prefix, caption_dim))

    def forward(self, states: Tensor) -> Tensor:
        """(B, P, D) of states (B, P, caption_dim)."""
        return self.cap_proj(states.to(self.uncond_embedding.dtype))


class Attention(nn.Module):
    """Heads that look back, queries and keys turned by their places."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(dim, 3 * dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, turns: Tensor, allowed: Tensor | None, kept: tuple[Cache, int, int] | None) -> Tensor:
        split = self.wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = turned(split[0], turns), turned(split[1], turns), split[2]
        if kept is not None:
            cache, layer, start = kept
            key, value = cache.keep(layer, start, key, value)
        # Without a mask a single place looks at all that came before, and several from the first on are causal.
        causal = allowed is None and query.shape[2] > 1
        found = attend(query, key, value, allowed, causal=causal)
        return self.wo(found.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its normalised input's own."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.attention = Attention(sizes.dim, sizes.heads)
        self.feed_forward = FeedForward(sizes.dim, sizes.hidden)
        self.attention_norm = RMSNorm(sizes.dim)
        self.ffn_norm = RMSNorm(sizes.dim)

    def forward(self, x: Tensor, turns: Tensor, allowed: Tensor | None, kept: tuple[Cache, int, int] | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turns, allowed, kept)
        return x + self.feed_forward(self.ffn_norm(x))


class LlamaTransformer(nn.Module):
    """The network of all LlamaGens. `draw_weights` starts one that nothing is loaded into."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.num_layers, self.num_heads, self.num_tokens = sizes.layers, sizes.heads, sizes.num_tokens
        self.checkpointing = False
        told = (sizes.caption_dim, sizes.dim, sizes.prefix)
        self.cls_embedding = CaptionEmbedder(*told) if sizes.caption_dim else LabelEmbedder(sizes.classes, sizes.dim)
        self.tok_embeddings = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.norm = RMSNorm(sizes.dim)
        self.output = nn.Linear(sizes.dim, sizes.vocabulary, bias=False)
        # No buffer: in half precision the turns would be too coarse.
        self._turns: Tensor | None = None

    def none_states(self) -> Tensor:
        """(P, caption_dim), the states that ask for nothing, of a decoder that reads captions."""
        return cast(CaptionEmbedder, self.cls_embedding).uncond_embedding

    def prefix(self, told: Tensor) -> Tensor:
        """(B, P, D) of classes (B,), or of captions' states (B, P, caption_dim)."""
        return self.cls_embedding(told)

    def embed(self, tokens: Tensor, first: int) -> Tensor:
        """(B, n, D) of tokens (B, n), wherever they are."""
        return self.tok_embeddings(tokens)

    def read(self, rows: Tensor, start: int, seen: Tensor | None, cache: Cache | None) -> Tensor:
        """The states (B, n, D) of rows (B, n, D) at the places from `start` on; see token_reading.Decoder."""
        count = rows.shape[1]
        turns = self._turns_on(rows.device)[start : start + count]
        allowed = None if seen is None else looks(start, count, seen)
        for number, layer in enumerate(self.layers):
            kept = None if cache is None else (cache, number, start)
            if self.checkpointing and cache is None:
                rows = recomputed(layer, rows, turns, allowed, kept)
            else:
                rows = layer(rows, turns, allowed, kept)
        return self.norm(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        return self.output(hidden).float()

    def draw_weights(self, rng: torch.Generator) -> None:
        """Weights for the start of a training: normal, norms of ones, an output of zeros, as published."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1:
                    weight.copy_(torch.randn(weight.shape, generator=rng) * SPREAD)
                else:
                    weight.fill_(1.0)
                if name == "output.weight":
                    weight.zero_()
            if isinstance(self.cls_embedding, CaptionEmbedder):
                none = self.cls_embedding.uncond_embedding
                none.copy_(torch.randn(none.shape, generator=rng) / none.shape[1] ** 0.5)

    def _turns_on(self, device: torch.device) -> Tensor:
        if self._turns is None or self._turns.device != device:
            sizes = self.sizes
            self._turns = rotary_turns(sizes.grid, sizes.dim // sizes.heads, prefix=sizes.prefix).to(device)
        return self._turns


def rotary_turns(grid: int, width: int, *, prefix: int) -> Tensor:
    """Cosine and sine of every pair of a head's numbers at every place, (prefix + grid², width / 2, 2), float32.

    The first half of the pairs turns with the token's row, the second with its column, each at falling frequencies (Su
    et al. 2021). In the prefix both are zero, as published.
    """
    pairs = width // 4
    frequencies = ROTARY_BASE ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    rows = angles[:, None].expand(grid, grid, pairs)
    columns = angles[None].expand(grid, grid, pairs)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return torch.cat([both.new_zeros(prefix, 2 * pairs, 2), torch.stack([both.cos(), both.sin()], dim=-1)])


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Heads (B, H, n, d), each neighbouring pair of numbers turned by its place's turns (n, d / 2, 2)."""
    # As products of complex numbers: forward and backward take a fifth of the time of four real ones.
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(turns)).flatten(-2).to(x.dtype)
