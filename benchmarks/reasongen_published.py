"""How plans and pictures are drawn and learned from elsewhere, for benchmarks/reasongen.py: same modules, other loops.

Written from the description of ReasonGen-R1's released code (Zhang et al. 2025). A plan is written through the
library's model and its growing cache until the last row of a batch has ended it, and rows that ended write on. The
cache is then thrown away, rows are cut and shifted in loops, and prompt, plan and begin-of-image are read again for the
picture. Learning reads rows padded to the longest prompt and plan that there may be, two at a time: logits of all
places, prompts among them, as wide as the widest vocabulary, and their softmax for the entropy.

What is learned, and what counts how much, is as ours: so the gradients can be compared, and it costs the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from plaudit.generators.plan_policy import Texts
from plaudit.methods.losses import clipped_policy_loss

MICRO_BATCH, PROMPTS_AT_ONCE, STEPS = 2, 16, 2
CLAMP, NEVER = 30.0, -1e9
Pick = Callable[[Tensor, int], Tensor]
"""what is drawn of probabilities (B, V) at a place of the response"""


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """B rows of prompt, plan, begin-of-image and picture, padded on both sides."""

    ids: Tensor
    """(B, L) int64; of a picture's places its tokens"""
    mask: Tensor
    """(B, L) int64: 0 is padding"""
    picture: Tensor
    """(B, L) bool: which places are a picture's"""
    prompt: int
    """places before the plan"""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Any) -> "Sequences":
        return Sequences(ids=self.ids[rows], mask=self.mask[rows], picture=self.picture[rows], prompt=self.prompt)


class ReleasedWay:
    """The loops, over the modules of a Janus policy."""

    def __init__(self, policy: Any) -> None:
        inner = policy.network.model
        self.model, self.inner, self.begin_of_image = inner.language_model, inner, policy.begin_of_image
        self.word_head, self.token_head = policy.network.lm_head, inner.generation_head
        self.end, self.padding = policy.words.end, policy.words.padding
        self.max_words, self.num_tokens = policy.max_words, policy.num_tokens

    def draw(self, texts: Texts, pick: Pick) -> Sequences:
        """Prompts padded in front; rows of at most one batch."""
        with torch.no_grad():
            written = self._write(texts.ids, texts.mask.long(), pick)
            ids, mask, moved = self._repaired(written, texts)
            tokens = self._paint(ids, mask, pick)
            return self._shifted(ids, mask, moved, tokens, texts.ids.shape[1])

    def _write(self, ids: Tensor, mask: Tensor, pick: Pick) -> Tensor:
        """Words (B, n), of which those after a row's end mean nothing."""
        cache, ended = DynamicCache(config=self.model.config), torch.zeros(len(ids), dtype=torch.bool)
        words: list[Tensor] = []
        embedded = self.model.embed_tokens(ids)
        while len(words) < self.max_words and not bool(ended.all()):
            hidden = self._read(embedded, mask, cache)
            word = pick(self.word_head(hidden[:, -1]).float().softmax(dim=-1), len(words))
            ended = ended | (word == self.begin_of_image) | (word == self.end)
            words.append(word)
            mask = torch.cat([mask, mask.new_ones(len(ids), 1)], dim=1)
            embedded = self.model.embed_tokens(word[:, None])
        return torch.stack(words, dim=1)

    def _repaired(self, words: Tensor, prompts: Texts) -> tuple[Tensor, Tensor, list[int]]:
        """Rows that end with their first begin-of-image, padding in front; their masks; and how far they moved."""
        rows, masks, moved = [], [], []
        for prompt, seen, plan in zip(prompts.ids, prompts.mask.long(), words, strict=True):
            plan = torch.where(plan == self.end, self.begin_of_image, plan)
            ends = (plan == self.begin_of_image).nonzero()
            plan = plan[: int(ends[0]) + 1].clone() if len(ends) else plan.clone()
            plan[-1] = self.begin_of_image
            moved.append(words.shape[1] - len(plan))
            rows.append(torch.cat([prompt.new_full((moved[-1],), self.padding), prompt, plan]))
            masks.append(torch.cat([seen.new_zeros(moved[-1]), seen, seen.new_ones(len(plan))]))
        return torch.stack(rows), torch.stack(masks), moved

    def _paint(self, ids: Tensor, mask: Tensor, pick: Pick) -> Tensor:
        """Tokens (B, T) after texts that are read once more."""
        cache, tokens, embedded = DynamicCache(config=self.model.config), [], self.model.embed_tokens(ids)
        for place in range(self.num_tokens):
            hidden = self._read(embedded, mask, cache)
            tokens.append(pick(self.token_head(hidden[:, -1]).float().softmax(dim=-1), self.max_words + place))
            mask = torch.cat([mask, mask.new_ones(len(ids), 1)], dim=1)
            embedded = self._embed_tokens(tokens[-1][:, None])
        return torch.stack(tokens, dim=1)

    def _shifted(self, ids: Tensor, mask: Tensor, moved: list[int], tokens: Tensor, prompt: int) -> Sequences:
        """Prompts back at their places, and as much padding behind as the longest response there may be leaves."""
        rows, masks, pictures = [], [], []
        for row, seen, start, picture in zip(ids, mask, moved, tokens, strict=True):
            behind = self.max_words - (len(row) - start - prompt)
            tail, read = row.new_full((behind,), self.padding), seen.new_zeros(behind)
            # An end is written where there is room; nothing is learned from it.
            tail[:1], read[:1] = self.end, 1
            rows.append(torch.cat([row[start:], picture, tail]))
            masks.append(torch.cat([seen[start:], seen.new_ones(len(picture)), read]))
            painted = torch.zeros(len(rows[-1]), dtype=torch.bool)
            painted[len(row) - start : len(row) - start + len(picture)] = True
            pictures.append(painted)
        return Sequences(ids=torch.stack(rows), mask=torch.stack(masks), picture=torch.stack(pictures), prompt=prompt)

    def score(self, it: Sequences) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (B, R) of all R places after the prompts, padding among them."""
        hidden = self._read(self._embedded(it), it.mask, None)
        logits = self.word_head(hidden).float()
        foretells = F.pad(it.picture[:, 1:], (0, 1))
        tokens = self.token_head(hidden[foretells]).float()
        width = max(logits.shape[-1], tokens.shape[-1])
        logits, tokens = (F.pad(one, (0, width - one.shape[-1]), value=NEVER) for one in (logits, tokens))
        logits[foretells] = tokens
        logits = logits.clamp(-CLAMP, CLAMP)[:, it.prompt - 1 : -1]
        log_probs = logits.log_softmax(dim=-1).gather(-1, it.ids[:, it.prompt :, None]).squeeze(-1)
        entropies = logits.logsumexp(dim=-1) - (logits.softmax(dim=-1) * logits).sum(dim=-1)
        return log_probs, entropies

    def before(self, it: Sequences) -> Tensor:
        """Log-probabilities (B, R), some rows at a time, without a gradient."""
        with torch.no_grad():
            return torch.cat([self.score(it[at])[0] for at in torch.arange(len(it)).split(MICRO_BATCH)])

    def learn(self, it: Sequences, lesson: "Lesson", learner: Any) -> None:
        """The optimiser's steps on responses: all that comes after judging."""
        old = self.before(it)
        pictures = it.picture[:, it.prompt :]
        learned = self.learned(it)
        for rows in lesson.steps:
            learner.clear()
            words, tokens = int((learned & ~pictures)[rows].sum()), int(pictures[rows].sum())
            for at in rows.split(MICRO_BATCH):
                log_probs, entropies = self.score(it[at])
                loss = clipped_policy_loss(log_probs - old[at], lesson.advantages[at][:, None], low=0.8, high=1.2)
                loss = torch.where(learned[at], loss, 0.0).sum() / (words + tokens)
                for which, count, coefficient in (
                    (learned[at] & ~pictures[at], words, lesson.coefficients[0]),
                    (pictures[at], tokens, lesson.coefficients[1]),
                ):
                    loss = loss + coefficient * torch.where(which, entropies, 0.0).sum() / max(1, count)
                loss.backward()
            learner.step()

    def learned(self, it: Sequences) -> Tensor:
        """(B, R) bool: what was drawn, as ours has it: not a begin-of-image at the limit, nor the end behind."""
        pictures = it.picture[:, it.prompt :]
        places, starts = torch.arange(pictures.shape[1]), pictures.int().argmax(dim=1, keepdim=True)
        drawn: Tensor = pictures | (places < starts) & (places < self.max_words - 1)
        return drawn

    def _read(self, embedded: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """The library's states (B, n, D) of the last n places of a mask."""
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -embedded.shape[1] :]
        found: Tensor = self.model(
            inputs_embeds=embedded, attention_mask=mask, position_ids=positions, past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # fmt: skip
        return found

    def _embedded(self, it: Sequences) -> Tensor:
        """(B, L, D), each row's words and tokens put where they belong."""
        rows = []
        for ids, picture in zip(it.ids, it.picture, strict=True):
            row = self.model.embed_tokens(ids.masked_fill(picture, self.padding))
            rows.append(row.index_put((picture.nonzero().flatten(),), self._embed_tokens(ids[picture])))
        return torch.stack(rows)

    def _embed_tokens(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.inner.generation_aligner(self.inner.generation_embeddings(tokens))
        return found


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How B responses are learned from."""

    advantages: Tensor
    """(B,)"""
    steps: tuple[Tensor, ...]
    """the rows of each step of the optimiser"""
    coefficients: tuple[float, float]
    """of the mean entropies of words and tokens"""
