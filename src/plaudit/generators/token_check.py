"""The contract of token policies, run: for authors, for tests over every row, and for `plaudit check`."""

from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BrokenContract, UnknownName
from plaudit.generators.check import PROMPTS, check_condition, check_decoding
from plaudit.generators.generator import Condition
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import Drawn, draw_tokens, score_tokens, uniforms_for

CLOSE = 1e-4
"""nats that a token's log-probability may differ by between two ways of asking, in float32"""
WAYS = (Sampling(), Sampling(guidance=2.0))
FIRST_CLASSES = ("0", "1", "2")


def prompts_for(policy: TokenPolicy) -> tuple[str, str, str]:
    """Three different prompts that the policy understands: captions, or numbers of classes."""
    try:
        policy.encode(PROMPTS)
    except UnknownName:
        return FIRST_CLASSES
    return PROMPTS


def check_token_policy(policy: TokenPolicy, prompts: tuple[str, str, str]) -> None:
    """Run `policy` on three small prompts and raise BrokenContract at the first broken promise.

    With guidance too, if the policy says that it can be guided. Gradients are asked for with the transformer's
    parameters trained, then frozen; afterwards they are as they were.
    """
    name = type(policy).__name__
    condition = policy.encode(prompts)
    check_condition(name, condition)
    for sampling in WAYS if policy.guidable else WAYS[:1]:
        drawn = _drawn(policy, condition, (0, 1, 2), sampling)
        _check_tokens(name, drawn)
        _check_rows(name, policy, condition, drawn, sampling)
        _check_scores(name, policy, condition, drawn, sampling)
    with torch.no_grad():
        check_decoding(name, policy.decode(drawn.tokens))
    if policy.guidable:
        _check_none(name, policy, condition)
    _check_training(name, policy, condition, drawn.tokens)


def _drawn(policy: TokenPolicy, condition: Condition, rows: tuple[int, ...], sampling: Sampling) -> Drawn:
    return draw_tokens(policy, condition, uniforms_for([("check", row) for row in rows], policy.num_tokens), sampling)


def _check_tokens(name: str, drawn: Drawn) -> None:
    if not bool(torch.isfinite(drawn.log_probs).all()) or float(drawn.log_probs.max()) > CLOSE:
        raise BrokenContract(f"{name}: log-probabilities must be finite and at most 0")
    if bool((drawn.tokens == drawn.tokens[:1]).all()):
        raise BrokenContract(f"{name}: three prompts and random streams gave three times the same tokens")


def _check_rows(name: str, policy: TokenPolicy, condition: Condition, drawn: Drawn, sampling: Sampling) -> None:
    for row in range(3):
        alone = _drawn(policy, condition[[row]], (row,), sampling)
        if not _close(alone.log_probs[0], drawn.log_probs[row]):
            raise BrokenContract(f"{name}: a picture must not depend on its batch; alone and together differ")


def _check_scores(name: str, policy: TokenPolicy, condition: Condition, drawn: Drawn, sampling: Sampling) -> None:
    with torch.no_grad():
        scored = score_tokens(policy, drawn.tokens, condition, sampling=sampling)
        again = score_tokens(policy, drawn.tokens, condition, sampling=sampling)
    if not torch.equal(scored.log_probs, again.log_probs):
        raise BrokenContract(f"{name}: the same tokens must be as likely every time; drop nothing at random")
    if not _close(scored.log_probs, drawn.log_probs):
        apart = float((scored.log_probs - drawn.log_probs).abs().max())
        raise BrokenContract(
            f"{name}: tokens read at once must be as likely as when drawn one by one; they differ by {apart:.2g} nats"
        )


def _check_none(name: str, policy: TokenPolicy, condition: Condition) -> None:
    pairs = policy.beside_none(condition)
    if len(pairs) != 6:
        raise BrokenContract(f"{name}: beside_none must give two rows for each; 3 gave {len(pairs)}")
    first = [policy.begin(pairs[[row]]).hidden for row in (0, 3, 4)]
    if not _close(policy.begin(condition[[0]]).hidden, first[0]):
        raise BrokenContract(f"{name}: beside_none must begin with the condition's own rows")
    if _close(first[0], first[1]):
        raise BrokenContract(f"{name}: the second half of beside_none must ask for nothing, not for the prompt")


def _check_training(name: str, policy: TokenPolicy, condition: Condition, tokens: Tensor) -> None:
    parameters = list(policy.transformer.parameters())
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for trained in (True, False):
            for parameter in parameters:
                parameter.requires_grad_(trained)
            with torch.enable_grad():
                found: Any = score_tokens(policy, tokens, condition).log_probs
            if found.requires_grad != trained:
                raise BrokenContract(f"{name}: gradients must reach the transformer if it is trained, and only then")
    finally:
        for parameter, trained in zip(parameters, before, strict=True):
            parameter.requires_grad_(trained)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one.float() - other.float()).abs().max() <= CLOSE)
