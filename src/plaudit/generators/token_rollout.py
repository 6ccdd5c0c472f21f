"""Drawing whole batches of token images on one cache, and saying afterwards how likely their tokens were.

A group of images of a prompt, and with guidance each image's second reading, are rows of one batch. The cache has room
for a whole image from the start, so that nothing is copied while tokens come, and no prefix is read twice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from plaudit.core.float64 import float64_device
from plaudit.core.random_streams import stream
from plaudit.generators.generator import Condition
from plaudit.generators.token_policy import Sampling, TokenPolicy, pick, token_log_probs

CHUNK_NUMBERS = 2**22
"""logits at once when images are scored: 16 MiB in float32"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """B images as tokens."""

    tokens: Tensor
    """(B, T) int64"""
    log_probs: Tensor
    """(B, T) float32, under the distribution that each token was drawn from: guided, cooled and cut"""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a policy says of B images' tokens."""

    log_probs: Tensor
    """(B, T) float32"""
    entropies: Tensor
    """(B, T) float32, nats, of the whole distribution that each token came from"""


def uniforms_for(keys: list[tuple[int | str, ...]], count: int) -> Tensor:
    """(B, count) float64 in [0, 1) on the CPU, each row from its own key's stream."""
    return torch.stack([torch.rand(count, generator=stream(*key), dtype=torch.float64) for key in keys])


@contextmanager
def casts_kept() -> Iterator[None]:
    """While entered, weights that one autocast region casts stay cast for the next: none may change meanwhile.

    Autocast forgets its casts where the outermost region ends. Else, of a policy whose every reading is a region of its
    own, all trained weights would be cast anew for each token. Nothing is cast that is not without it, nor otherwise.
    """
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def draw_tokens(policy: TokenPolicy, condition: Condition, uniforms: Tensor, sampling: Sampling) -> Drawn:
    """One image per row of the condition; the uniform numbers (B, T) in [0, 1) decide its tokens. No gradient."""
    uniforms = uniforms.to(float64_device(policy.device))
    tokens, log_probs = [], []
    with torch.no_grad(), casts_kept():
        reading = policy.begin(policy.beside_none(condition) if sampling.guided else condition)
        for place in range(policy.num_tokens):
            found = token_log_probs(_paired(policy.logits(reading.hidden), sampling), sampling)
            tokens.append(pick(found, uniforms[:, place]))
            log_probs.append(found.gather(1, tokens[-1][:, None]).squeeze(1))
            if place + 1 < policy.num_tokens:
                reading.read(tokens[-1].repeat(2) if sampling.guided else tokens[-1])
    return Drawn(tokens=torch.stack(tokens, dim=1), log_probs=torch.stack(log_probs, dim=1))


def draw_pictures(
    policy: TokenPolicy,
    condition: Condition,
    keys: Sequence[tuple[int | str, ...]],
    sampling: Sampling,
    *,
    batch_size: int,
    decoded: int | None = None,
) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] of a condition of B rows, each from its own key's stream, so many at once.

    decoded: so many at once become pixels, which takes more memory than tokens; None: all that were drawn at once.
    """
    images = []
    for start in range(0, len(keys), batch_size):
        part = slice(start, start + batch_size)
        uniforms = uniforms_for(list(keys[part]), policy.num_tokens)
        with torch.no_grad():
            tokens = draw_tokens(policy, condition[part], uniforms, sampling).tokens
            images.append(in_parts(policy.decode, tokens, at_once=decoded or batch_size))
    return torch.cat(images)


def in_parts(decode: Callable[[Tensor], Tensor], tokens: Tensor, *, at_once: int) -> Tensor:
    """Images (B, 3, H, W) of tokens (B, T), so many at once: a picture takes more memory than its tokens."""
    return torch.cat([decode(some) for some in tokens.split(at_once)])


def score_tokens(
    policy: TokenPolicy, tokens: Tensor, condition: Condition, *, sampling: Sampling | None = None
) -> Scored:
    """The log-probabilities and entropies of given tokens (B, T), all read at once.

    Under the policy's own distribution, or under the one that `sampling` makes of it; a token that is cut there has
    minus infinity. Never are all (B, T, V) logits in memory: they are made and used in chunks of places, and with a
    gradient made again on the way back.
    """
    sampling = sampling or Sampling()
    rows = policy.beside_none(condition) if sampling.guided else condition
    hidden = policy.hidden(tokens.repeat(2, 1) if sampling.guided else tokens, rows)
    return score_states(policy.logits, hidden, tokens, vocabulary=policy.vocabulary, sampling=sampling)


def score_states(
    head: Callable[[Tensor], Tensor], hidden: Tensor, tokens: Tensor, *, vocabulary: int, sampling: Sampling
) -> Scored:
    """The log-probabilities and entropies of tokens (B, n) that the head's logits of states (B, n, D) foretell.

    With guidance, of states (2 B, n, D): the prompts', then those of none. In chunks of places, as `score_tokens` says.
    """
    parts = [
        _score(head, hidden[:, at], tokens[:, at], sampling)
        for at in _chunks(tokens.shape[1], max(1, CHUNK_NUMBERS // (len(hidden) * vocabulary)))
    ]
    log_probs, entropies = (torch.cat(column, dim=1) for column in zip(*parts, strict=True))
    return Scored(log_probs=log_probs, entropies=entropies)


def _score(
    head: Callable[[Tensor], Tensor], hidden: Tensor, tokens: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (B, n) of n places."""

    def of(states: Tensor) -> tuple[Tensor, Tensor]:
        found = token_log_probs(_paired(head(states), sampling), sampling)
        # Cut tokens are never drawn: nothing times minus infinity is nothing here.
        entropies = -(found.exp() * found.clamp_min(torch.finfo(found.dtype).min)).sum(dim=-1)
        return found.gather(-1, tokens[..., None]).squeeze(-1), entropies

    if torch.is_grad_enabled() and hidden.requires_grad:
        found: tuple[Tensor, Tensor] = checkpoint(of, hidden, use_reentrant=False)
        return found
    return of(hidden)


def _paired(logits: Tensor, sampling: Sampling) -> Tensor:
    """With guidance (2 B, ...) as (2, B, ...), else as they are."""
    return logits.unflatten(0, (2, -1)) if sampling.guided else logits


def _chunks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
