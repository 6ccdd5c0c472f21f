"""What a word of a plan and a token of its picture add to a loss."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from plaudit.generators.plan_policy import Response
from plaudit.generators.token_rollout import Scored
from plaudit.methods.losses import clipped_policy_loss, k3

Balance = Literal["tokens", "images", "segments"]
"""what counts the same: every word and token, every response, or all words together and all tokens together"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What an optimiser step learns from, on all processes."""

    words: int
    """that were drawn"""
    tokens: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One segment of b responses, of n places: their words, or their pictures' tokens."""

    found: Scored
    start: Tensor
    """(b, n), the starting policy's log-probabilities; those that were found, if there is none"""
    before: Tensor
    """(b, n), before the update"""
    drawn: Tensor
    """(b, n), of the distribution that was drawn from"""
    sampled: Tensor
    """(b, n) bool: what was drawn"""
    share: Tensor
    """(b, 1), what a place counts"""
    mean: float
    """what a place counts in the mean of all"""

    @property
    def learned(self) -> Tensor:
        """(b, n) bool: what was drawn and is possible still.

        Rounding, or a step, may put what was drawn outside the cut that it is scored with. What is not a number stays:
        it is a fault, and must not be passed over.
        """
        return self.sampled & ~self.found.log_probs.isneginf() & ~self.before.isneginf()


@dataclass(frozen=True, kw_only=True)
class SegmentLoss:
    """The loss of a segment, and what it was made of, (b, n) each."""

    loss: Tensor
    """(), the sum over its learned places"""
    divergence: Tensor
    apart: Tensor
    """how much likelier a place was before the update than when it was drawn, nats"""
    outside: Tensor
    """bool: ratios beyond the clip"""


def shares(response: Response, counts: Counts, balance: Balance) -> tuple[Tensor, Tensor]:
    """What a word (b, 1) and a token (b, 1) of each response count in a step's loss; over a step they sum to 1.

    With "segments" all words sum to 1, and all tokens.
    """
    like = response.word_log_probs.new_ones(len(response), 1)
    if balance == "tokens":
        return like / (counts.words + counts.tokens), like / (counts.words + counts.tokens)
    if balance == "segments":
        return like / max(1, counts.words), like / counts.tokens
    lengths = response.sampled.sum(dim=1, keepdim=True) + response.tokens.shape[1]
    return like / (counts.images * lengths), like / (counts.images * lengths)


def segment_loss(
    it: Segment, advantage: Tensor, *, clip: float, importance_cap: float, kl_weight: float, coefficient: float
) -> SegmentLoss:
    """PPO's clipped surrogate of a segment with advantages (b, 1), its divergence and its entropy.

    `importance_cap`: places count by how much likelier they were before the update than when drawn, at most so much;
    0: all the same. `coefficient`: of the segment's mean entropy.
    """
    # Chosen before any arithmetic: what was never drawn may be impossible, and the way back through a difference of
    # infinities gives not-a-numbers even where its result is thrown away.
    learned = it.learned
    log_probs, start, before, drawn = (
        torch.where(learned, values, 0.0) for values in (it.found.log_probs, it.start, it.before, it.drawn)
    )
    # A start that would not have drawn what was drawn stays: the divergence is infinite, its gradient is not.
    moved, apart = log_probs - before, before - drawn
    policy = clipped_policy_loss(moved, advantage, low=1 - clip, high=1 + clip)
    if importance_cap > 0:
        policy = apart.exp().clamp_max(importance_cap) * policy
    divergence = k3(log_probs, start) if kl_weight > 0 else torch.zeros_like(moved)
    loss = it.share * (policy + kl_weight * divergence)
    if coefficient:
        loss = loss + it.mean * coefficient * it.found.entropies
    return SegmentLoss(
        loss=torch.where(learned, loss, 0.0).sum(),
        divergence=divergence,
        apart=apart,
        outside=(moved.detach().exp() - 1).abs() > clip,
    )
