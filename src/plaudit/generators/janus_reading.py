"""A batch of Janus's responses on their way: plans word by word, then pictures token by token, on what was read before.

Only what goes on is computed. A row whose plan has ended changes places with one that goes on, so that those that do
are the first of the cache. When all plans are written, rows of about the same length go on beside each other, and what
is padding to all of them is left behind.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.generators.llama_reading import Part, Place, RowCache
from plaudit.generators.plan_policy import Texts
from plaudit.generators.token_reading import looks

ALIKE = 32
"""rows that look back together: fewer waste less on padding, more are faster each"""


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The n texts that rows of about the same length begin their pictures with, and a cache of their own."""

    rows: Tensor
    """(n,), which rows they are"""
    texts: Texts
    """(n, m), padding first, begin-of-image last"""
    cache: RowCache
    """with guidance of 2 n rows: those that ask for nothing come last"""
    hidden: Tensor | None
    """(n or 2 n, 1, 1, room), what is added to looks: minus infinity at padding; None: there is none"""

    def place(self, start: int, rows: slice) -> Place:
        """One place of some of the cache's rows."""
        allowed = None if self.hidden is None else self.hidden[rows, :, :, : start + 1]
        return Place(cache=self.cache, start=start, rows=rows, allowed=allowed)


class JanusReading:
    """Keeps the PlanReading contract. A row that once did not go on writing does not go on before its picture."""

    def __init__(self, policy: Any, prompts: Texts, *, guided: bool, words: int) -> None:
        """`policy`: a Janus. `words`: so many more may come, begin-of-image among them."""
        count, before = prompts.ids.shape
        self._policy, self._network, self._copies = policy, policy.transformer, 2 if guided else 1
        self._ids, self._seen = (F.pad(one, (0, words - 1)) for one in (prompts.ids, prompts.mask))
        self._positions = prompts.mask.sum(dim=1)
        embedded = self._network.embed_words(prompts.ids)
        self._cache = RowCache(self._network.language_model.config, embedded, rows=count, room=before + words - 1)
        # Which row each of the cache's is; the first so many go on.
        self._order, self._going, self._place = torch.arange(count, device=embedded.device), count, before
        self._groups: list[_Group] = []
        self.hidden: Tensor = self._read_texts(self._cache, prompts, slice(0, count))

    def read_words(self, words: Tensor, going: Tensor) -> None:
        """Take in the next word (B,) of the rows that are `going` (B,), bool."""
        self._step_aside(going)
        rows, place = self._order[: self._going], self._place
        self._ids[rows, place], self._seen[rows, place] = words[rows], True
        at = Place(
            cache=self._cache, start=place, rows=slice(0, len(rows)), allowed=self._seen[rows, None, None, : place + 1]
        )
        embedded = self._network.embed_words(words[rows, None])
        states = self._network.read(embedded, self._positions[rows, None], at=[at])[:, 0]
        self.hidden = self.hidden.index_copy(0, rows, states)
        self._positions[rows] += 1
        self._place += 1

    def begin_picture(self) -> None:
        """Take in begin-of-image; and, if guided, all that the rows read which ask for nothing."""
        self._groups = self._grouped()
        rows = torch.cat([group.rows for group in self._groups])
        at = [group.place(group.texts.ids.shape[1] - 1, slice(0, len(group.rows))) for group in self._groups]
        embedded = self._network.embed_words(torch.full_like(rows, self._policy.begin_of_image)[:, None])
        read = self._network.read(embedded, self._positions[rows, None], at=at)[:, 0]
        order, states = [], []
        for group, found in zip(self._groups, read.split([len(group.rows) for group in self._groups]), strict=True):
            order.append(group.rows)
            states.append(found)
            if self._copies == 2:
                count = len(group.rows)
                none = self._policy.asking_nothing(group.texts)
                order.append(group.rows + len(rows))
                states.append(self._read_texts(group.cache, none, slice(count, 2 * count)))
        self._order, self._place = torch.cat(order), 0
        self._back = self._order.argsort()
        self._positions = self._positions.repeat(self._copies)[self._order] + 1
        self.hidden = torch.cat(states)[self._back]

    def read(self, tokens: Tensor) -> None:
        """Take in the next token of every row: (B,), or (2 B,) if guided."""
        at = [
            group.place(group.texts.ids.shape[1] + self._place, slice(0, self._copies * len(group.rows)))
            for group in self._groups
        ]
        embedded = self._network.embed_tokens(tokens[self._order, None])
        self.hidden = self._network.read(embedded, self._positions[:, None], at=at)[:, 0][self._back]
        self._positions = self._positions + 1
        self._place += 1

    def _step_aside(self, going: Tensor) -> None:
        """Rows that are not `going` (B,) change places with those behind them that are."""
        still = going[self._order[: self._going]]
        left = int(still.sum())
        if left == self._going:
            return
        free, behind = (~still[:left]).nonzero().flatten(), still[left:].nonzero().flatten() + left
        self._cache.swap(free, behind, self._place)
        self._order[torch.cat([free, behind])] = self._order[torch.cat([behind, free])]
        self._going = left

    def _grouped(self) -> list[_Group]:
        """Rows of about the same length, each with no more padding than its group needs; the cache is handed over."""
        parts = self._positions.argsort(descending=True, stable=True).split(ALIKE)
        longest = self._positions[torch.stack([part[0] for part in parts])].tolist()
        # A stable sort of (padding, then text) keeps the order of what is read.
        order, at = self._seen.int().argsort(dim=1, stable=True), self._order.argsort()
        places = [order[part, order.shape[1] - length :] for part, length in zip(parts, longest, strict=True)]
        caches = self._cache.handed_over([
            Part(rows=at[part], places=seen, count=self._copies * len(part), room=length + self._policy.num_tokens)
            for part, seen, length in zip(parts, places, longest, strict=True)
        ])  # fmt: skip
        return [self._group(*one) for one in zip(parts, places, caches, strict=True)]

    def _group(self, rows: Tensor, places: Tensor, cache: RowCache) -> _Group:
        """`places` (n, m): of each row's text, in order, its last ones read."""
        ids, mask = self._ids[rows].gather(1, places), self._seen[rows].gather(1, places)
        texts = Texts(ids=F.pad(ids, (0, 1), value=self._policy.begin_of_image), mask=F.pad(mask, (0, 1), value=True))
        if bool(mask.all()):
            return _Group(rows=rows, texts=texts, cache=cache, hidden=None)
        # As numbers, in the cache's precision: made once, and not for every layer of every place.
        hidden = torch.zeros(mask.shape, dtype=cache.dtype, device=mask.device).masked_fill(~mask, -torch.inf)
        room = places.shape[1] + self._policy.num_tokens
        padded = F.pad(hidden, (0, room - places.shape[1])).repeat(self._copies, 1)
        return _Group(rows=rows, texts=texts, cache=cache, hidden=padded[:, None, None])

    def _read_texts(self, cache: RowCache, texts: Texts, rows: slice) -> Tensor:
        """Read texts from the first place on into some of a cache's rows; the last place's states (B, D)."""
        embedded, seen = self._network.embed_words(texts.ids), texts.mask
        at = Place(cache=cache, start=0, rows=rows, allowed=looks(0, seen.shape[1], seen))
        found: Tensor = self._network.read(embedded, positions_of(seen), at=[at])[:, -1]
        return found


def positions_of(seen: Tensor) -> Tensor:
    """(B, n) int64: each place's number among those that are seen (B, n), bool; 0 before the first."""
    return (seen.cumsum(dim=1) - 1).clamp_min(0)
