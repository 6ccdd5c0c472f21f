"""How tokens are drawn and learned from elsewhere, for benchmarks/ar_rollout.py: on the same modules, in other loops.

`grown`: the plain loop of libraries for text, whose cache is put together anew for every token. `released` is written
from the description of LOO-FID's released code (Baran et al. 2026): one call for each image of a group, which draws one
image of every class; a cache of full length made for each call, of which every token looks at all places through a
mask; unfused attention. It learns call by call, twice: once by the rewards of pictures, once by that of their
distribution, with all calls' graphs kept until one backward pass each, and with the logits of all places at once.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from plaudit.generators.token_policy import Sampling, pick, token_log_probs
from plaudit.methods.losses import clipped_policy_loss


class GrownCache:
    """Keys and values that are copied whenever there is one more."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(self, layer: int, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self._kept:
            keys, values = self._kept[layer]
            key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        self._kept[layer] = key, value
        return key, value


class FullCache:
    """Keys and values of all places, of which the later ones are still nothing."""

    def __init__(self, like: Tensor, transformer: Any, room: int) -> None:
        heads, width = transformer.num_heads, like.shape[-1] // transformer.num_heads
        self._kept = like.new_zeros((transformer.num_layers, 2, len(like), heads, room, width))

    def keep(self, layer: int, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._kept[layer]
        keys[:, :, start : start + key.shape[2]] = key
        values[:, :, start : start + key.shape[2]] = value
        return keys, values


def grown_rollout(policy: Any, condition: Any, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Tokens (B, T) of a condition of B rows, all at once, on a cache that grows."""
    return _rollout(policy, condition, uniforms, sampling, full=False)


def released_rollout(policy: Any, condition: Any, uniforms: Tensor, sampling: Sampling, *, group: int) -> Tensor:
    """Tokens (B, T), in as many calls as a prompt has images; rows are in groups of a prompt's."""
    tokens = torch.empty(uniforms.shape, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH):
        for rows in calls(len(uniforms), group):
            tokens[rows] = _rollout(policy, condition[rows], uniforms[rows], sampling, full=True)
    return tokens


def calls(images: int, group: int) -> Sequence[Tensor]:
    """The rows of each call: one image of every prompt."""
    return torch.arange(images).view(-1, group).T.unbind()


def _rollout(policy: Any, condition: Any, uniforms: Tensor, sampling: Sampling, *, full: bool) -> Tensor:
    tokens = []
    with torch.no_grad():
        told = policy.beside_none(condition) if sampling.guided else condition
        rows, network = policy.transformer.prefix(told.labels), policy.transformer
        room = policy.num_tokens + 1
        cache = FullCache(rows, network, room) if full else GrownCache()
        for place in range(policy.num_tokens):
            # The class has the first of the places, so that token number `place` is read at the one after.
            seen = (torch.arange(room) <= place).view(1, 1, 1, room) if full else None
            logits = policy.logits(_read(network, rows, place, seen, cache)[:, -1])
            pair = logits.unflatten(0, (2, -1)) if sampling.guided else logits
            tokens.append(pick(token_log_probs(pair, sampling), uniforms[:, place]))
            rows = network.embed((tokens[-1].repeat(2) if sampling.guided else tokens[-1])[:, None], place)
    return torch.stack(tokens, dim=1)


def _read(network: Any, rows: Tensor, start: int, seen: Tensor | None, cache: Any) -> Tensor:
    turns = network._turns_on(rows.device)[start : start + rows.shape[1]]
    for number, layer in enumerate(network.layers):
        rows = layer(rows, turns, seen, (cache, number, start))
    return network.norm(rows)


def released_log_probs(policy: Any, condition: Any, tokens: Tensor) -> Tensor:
    """(B,), the mean log-probability of each image's tokens, of the logits of all places."""
    found = policy.logits(policy.hidden(tokens, condition)).log_softmax(dim=-1)
    return found.gather(-1, tokens[..., None]).squeeze(-1).mean(dim=1)


def released_update(
    policy: Any, drawn: Sequence[tuple[Any, Tensor, Tensor]], advantages: Sequence[Tensor], learner: Any, passes: int
) -> None:
    """What the released code does after judging.

    `drawn`: of each call, the condition, the tokens (b, T) and the rows (b,) among all images. `advantages`: by
    pictures (B,), and by their distribution (B,).
    """
    with sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            old = [released_log_probs(policy, condition, tokens) for condition, tokens, _ in drawn]
        for _ in range(passes):
            learner.clear()
            for advantage in advantages:
                losses = []
                for (condition, tokens, rows), before in zip(drawn, old, strict=True):
                    moved = released_log_probs(policy, condition, tokens) - before
                    losses.append(clipped_policy_loss(moved, advantage[rows], low=0.8, high=1.2).sum())
                (torch.stack(losses).sum() / len(advantage)).backward()
            learner.step()
