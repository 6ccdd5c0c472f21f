"""How transformers' Llama reads rows: all at once, or place by place on a cache that is allocated once.

The library's own modules and weights are used, so that whatever is laid over its linear layers, such as a LoRA, counts.
Only what is around them is leaner: the cache never moves, turns are looked up, and a place's mask is made once.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.generators.attending import attend
from plaudit.generators.recomputing import recomputed


class RowCache:
    """Keys and values of every layer, for R rows and all places that there will be."""

    def __init__(self, config: Any, like: Tensor, *, rows: int, room: int) -> None:
        """`config`: of the language model. `like`: embedded rows, whose device and precision it has."""
        kind, lowered = like.device.type, torch.is_autocast_enabled(like.device.type)
        # Where products are of a lower precision, keys and values come in it: kept in it, nothing is ever cast again.
        self.dtype = torch.get_autocast_dtype(kind) if lowered else like.dtype
        width = config.head_dim or config.hidden_size // config.num_attention_heads
        shape = (2, rows, config.num_key_value_heads, room, width)
        self._kept = [like.new_zeros(shape, dtype=self.dtype) for _ in range(config.num_hidden_layers)]

    def keep(self, layer: int, at: "Place", key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Note the keys and values (B, heads, n, d) of the places `at`; those of all places of these rows so far."""
        end = at.start + key.shape[2]
        keys, values = self._kept[layer][0, at.rows], self._kept[layer][1, at.rows]
        keys[:, :, at.start : end] = key
        values[:, :, at.start : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def swap(self, ones: Tensor, others: Tensor, end: int) -> None:
        """Let rows (n,) and as many others change places, as far as they are read: the places before `end`."""
        there, back = torch.cat([ones, others]), torch.cat([others, ones])
        for kept in self._kept:
            kept[:, there, :, :end] = kept[:, back, :, :end]

    def handed_over(self, parts: Sequence["Part"]) -> list["RowCache"]:
        """A cache for each part of the rows, which begins with the places that are named. Nothing is left here.

        One layer after the other, so that no more than one is there twice.
        """
        found = [copy.copy(self) for _ in parts]
        for cache in found:
            cache._kept = []
        while self._kept:
            layer = self._kept.pop(0)
            heads = torch.arange(layer.shape[2], device=layer.device)[:, None]
            for part, cache in zip(parts, found, strict=True):
                count, length = part.places.shape
                kept = layer.new_zeros((2, part.count, layer.shape[2], part.room, layer.shape[4]))
                kept[:, :count, :, :length] = layer[:, part.rows[:, None, None], heads, part.places[:, None]]
                cache._kept.append(kept)
        return found


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of a cache that go on in a cache of their own."""

    rows: Tensor
    """(n,)"""
    places: Tensor
    """(n, m), which of a row's places come with it"""
    count: int
    """rows of the new cache; those after the first n are empty"""
    room: int
    """places of the new cache"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a cache rows are read."""

    cache: RowCache
    start: int
    """the first place"""
    rows: slice
    """which of the cache's rows"""
    allowed: Tensor | None
    """who may look at whom, (B, 1, n, places so far), bool or as numbers that are added; None: all at what came before
    and themselves"""


class Turns:
    """Cosines and sines of a language model's rotary positions, looked up."""

    def __init__(self) -> None:
        self._table: Tensor | None = None

    def at(self, language_model: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines (B, 1, n, d), float32, of positions (B, n)."""
        table = self._table
        if table is None or table.device != positions.device:
            # As many as the model knows: how many are asked for would have to be read from the device.
            count = language_model.config.max_position_embeddings
            table = self._table = self._made(language_model, count, positions.device)
        cosine, sine = table[:, positions]
        return cosine[:, None], sine[:, None]

    @staticmethod
    def _made(language_model: Any, count: int, device: torch.device) -> Tensor:
        """(2, count, d)"""
        places = torch.arange(count, device=device)[None]
        with torch.autocast(device.type, enabled=False):
            cosine, sine = language_model.rotary_emb(torch.zeros(1, device=device), places)
        half = sine.shape[-1] // 2
        # The library turns (x, y) by cosine (x, y) + sine (-y, x): the sign goes with the sine.
        return torch.stack([cosine[0], torch.cat([-sine[0, :, :half], sine[0, :, half:]], dim=-1)])


def read_rows(
    language_model: Any,
    rows: Tensor,
    turns: tuple[Tensor, Tensor],
    *,
    allowed: Tensor | None = None,
    at: Sequence[Place] = (),
    checkpointing: bool = False,
) -> Tensor:
    """The states (B, n, D) of embedded rows (B, n, D), as transformers' LlamaModel gives them.

    `turns`: of their positions. `at`: where they stand in caches, of which each has the next of the rows, and says who
    may look at whom; without, they are all there is, and `allowed` says that: as of a Place, (B, 1, n, n).
    """
    for number, layer in enumerate(language_model.layers):
        if checkpointing and not at:
            rows = recomputed(_read_layer, layer, number, rows, turns, allowed, at)
        else:
            rows = _read_layer(layer, number, rows, turns, allowed, at)
    return _normal(language_model.norm, rows)


def _read_layer(
    layer: Any, number: int, rows: Tensor, turns: tuple[Tensor, Tensor], allowed: Tensor | None, at: Sequence[Place]
) -> Tensor:
    rows = rows + _attend(layer.self_attn, number, _normal(layer.input_layernorm, rows), turns, allowed, at)
    found: Tensor = rows + layer.mlp(_normal(layer.post_attention_layernorm, rows))
    return found


def _attend(
    attention: Any, number: int, rows: Tensor, turns: tuple[Tensor, Tensor], allowed: Tensor | None, at: Sequence[Place]
) -> Tensor:
    split = (-1, attention.head_dim)
    query = attention.q_proj(rows).unflatten(-1, split).transpose(1, 2)
    key = attention.k_proj(rows).unflatten(-1, split).transpose(1, 2)
    value = attention.v_proj(rows).unflatten(-1, split).transpose(1, 2)
    turned = _turned(torch.cat([query, key], dim=1), turns).to(value.dtype)
    query, key = turned[:, : query.shape[1]], turned[:, query.shape[1] :]
    if not at:
        found = _look(query, key, value, allowed, attention.scaling)
    else:
        sizes = [place.rows.stop - place.rows.start for place in at]
        looked = []
        for place, asking, *told in zip(at, *(one.split(sizes) for one in (query, key, value)), strict=True):
            keys, values = place.cache.keep(number, place, told[0], told[1])
            looked.append(_look(asking, keys, values, place.allowed, attention.scaling))
        found = looked[0] if len(looked) == 1 else torch.cat(looked)
    projected: Tensor = attention.o_proj(found.transpose(1, 2).flatten(2))
    return projected


def _look(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float) -> Tensor:
    # Without a mask a single place looks at all that came before, and several from the first on are causal.
    return attend(query, key, value, allowed, causal=allowed is None and query.shape[2] > 1, scale=scaling)


def _turned(heads: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = turns
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, dims=-1), sine)


def _normal(norm: Any, rows: Tensor) -> Tensor:
    return F.rms_norm(rows, norm.weight.shape, norm.weight, norm.variance_epsilon)
