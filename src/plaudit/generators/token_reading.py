"""How a decoder reads a picture's tokens: all at once, or one by one on a cache that never moves.

Both after a prefix, which stands for what the picture shall be. A prefix may begin with padding, which nothing reads.
"""

from typing import Protocol

import torch
from torch import Tensor


class Cache:
    """Keys and values of every layer, for B rows and all places of a picture, allocated once."""

    def __init__(self, like: Tensor, *, layers: int, heads: int, room: int) -> None:
        """`like`: rows (B, n, D), whose device and precision it has. `room`: places in all."""
        rows, _, width = like.shape
        kind, lowered = like.device.type, torch.is_autocast_enabled(like.device.type)
        # Where products are of a lower precision, keys and values come in it: kept in it, nothing is ever cast again.
        dtype = torch.get_autocast_dtype(kind) if lowered else like.dtype
        self._kept = like.new_zeros((2, layers, rows, heads, room, width // heads), dtype=dtype)

    def keep(self, layer: int, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Note the keys and values (B, heads, n, d) of the places from `start` on; those of all places so far."""
        end = start + key.shape[2]
        keys, values = self._kept[0, layer], self._kept[1, layer]
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        return keys[:, :, :end], values[:, :, :end]


class Decoder(Protocol):
    """A causal transformer over a prefix and image tokens."""

    num_layers: int
    num_heads: int
    num_tokens: int

    def embed(self, tokens: Tensor, first: int) -> Tensor:
        """(B, n, D) of tokens (B, n), of which the first is a picture's token number `first`."""
        ...

    def read(self, rows: Tensor, start: int, seen: Tensor | None, cache: Cache | None) -> Tensor:
        """The states (B, n, D) of rows (B, n, D) at the places from `start` on, which know the places before.

        `seen` (B, places so far and more), bool: which places may be looked at; None: all. A place always sees itself.
        """
        ...


class CachedReading:
    """A batch of pictures on their way. Keeps the Reading contract of token policies."""

    def __init__(self, decoder: Decoder, prefix: Tensor, mask: Tensor | None) -> None:
        """`prefix` (B, P, D) is read at once; `mask` (B, P): 1 a place to read, 0 padding; None: no padding."""
        before = prefix.shape[1]
        room = before + decoder.num_tokens
        self._decoder, self._before, self._read = decoder, before, 0
        self._seen = None if mask is None else seen_places(mask, decoder.num_tokens)
        self._cache = Cache(prefix, layers=decoder.num_layers, heads=decoder.num_heads, room=room)
        self.hidden: Tensor = decoder.read(prefix, 0, self._seen, self._cache)[:, -1]

    def read(self, tokens: Tensor) -> None:
        """Take in the next token (B,) of every row."""
        embedded = self._decoder.embed(tokens[:, None], self._read)
        self.hidden = self._decoder.read(embedded, self._before + self._read, self._seen, self._cache)[:, 0]
        self._read += 1


def read_all(decoder: Decoder, prefix: Tensor, mask: Tensor | None, tokens: Tensor) -> Tensor:
    """The states (B, T, D) from which each of the tokens (B, T) is foretold, after a prefix as in CachedReading."""
    rows = torch.cat([prefix, decoder.embed(tokens[:, :-1], 0)], dim=1)
    seen = None if mask is None else seen_places(mask, decoder.num_tokens)
    return decoder.read(rows, 0, seen, None)[:, prefix.shape[1] - 1 :]


def seen_places(mask: Tensor, num_tokens: int) -> Tensor:
    """(B, P + T), bool: a prefix's places that are not padding, by its mask (B, P), and all tokens'."""
    return torch.cat([mask.bool(), mask.new_ones((len(mask), num_tokens), dtype=torch.bool)], dim=1)


def looks(start: int, count: int, seen: Tensor) -> Tensor:
    """Who looks at whom, (B, 1, n, start + n) bool: `count` places from `start` on, at themselves and what is seen."""
    end = start + count
    places = torch.arange(end, device=seen.device)
    own = places[start:, None]
    return ((own > places) & seen[:, None, None, :end]) | (own == places)
