"""The contract of plan policies, run: for authors, for tests over every row, and for `plaudit check`."""

import torch
from torch import Tensor

from plaudit.core.errors import BrokenContract
from plaudit.generators.check import PROMPTS, check_condition, check_decoding
from plaudit.generators.plan_policy import PlanPolicy, Response, Texts
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.token_check import CLOSE, WAYS, check_token_policy
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import uniforms_for

ROWS = (0, 1, 2)


def check_plan_policy(policy: PlanPolicy, prompts: tuple[str, str, str] = PROMPTS) -> None:
    """Run `policy` on three small prompts, with plans and without; raise BrokenContract at the first broken promise.

    With guidance too, if the policy says that it can be guided. Gradients are asked for with the transformer's
    parameters trained, then frozen; afterwards they are as they were.
    """
    name = type(policy).__name__
    condition = policy.encode(prompts)
    check_condition(name, condition)
    for image in WAYS if policy.guidable else WAYS[:1]:
        response = _drawn(policy, condition, ROWS, image)
        _check_words(name, policy, response)
        _check_rows(name, policy, condition, response, image)
        _check_scores(name, policy, condition, response, image)
    _check_plans(name, policy, response)
    _check_images(name, policy, response)
    _check_training(name, policy, condition, response)
    check_token_policy(policy.direct, prompts)


def _drawn(policy: PlanPolicy, condition: Texts, rows: tuple[int, ...], image: Sampling) -> Response:
    uniforms = uniforms_for([("check", row) for row in rows], policy.max_words + policy.num_tokens)
    return draw_responses(policy, condition, uniforms, words=Sampling(), image=image)


def _check_words(name: str, policy: PlanPolicy, response: Response) -> None:
    words, written = response.words, response.written
    if not bool(policy.writable[policy.begin_of_image]):
        raise BrokenContract(f"{name}: begin-of-image must be writable, as no plan would end")
    if not bool(policy.writable[words[written]].all()):
        raise BrokenContract(f"{name}: words that are not writable were written; their logits must be minus infinity")
    for log_probs in (response.word_log_probs, response.token_log_probs):
        if not bool(torch.isfinite(log_probs).all()) or float(log_probs.max()) > CLOSE:
            raise BrokenContract(f"{name}: log-probabilities must be finite and at most 0")
    if bool((response.tokens == response.tokens[:1]).all()):
        raise BrokenContract(f"{name}: three prompts and random streams gave three times the same tokens")


def _check_rows(name: str, policy: PlanPolicy, condition: Texts, response: Response, image: Sampling) -> None:
    for row in ROWS:
        alone = _drawn(policy, condition[[row]], (row,), image)
        same = _close(alone.word_log_probs[0], response.word_log_probs[row])
        if not same or not _close(alone.token_log_probs[0], response.token_log_probs[row]):
            raise BrokenContract(f"{name}: a response must not depend on its batch; alone and together differ")


def _check_scores(name: str, policy: PlanPolicy, condition: Texts, response: Response, image: Sampling) -> None:
    with torch.no_grad():
        scored = score_responses(policy, response, condition, image=image)
        again = score_responses(policy, response, condition, image=image)
    for kind, one, twice, drawn in (
        ("words", scored.words.log_probs, again.words.log_probs, response.word_log_probs),
        ("tokens", scored.tokens.log_probs, again.tokens.log_probs, response.token_log_probs),
    ):
        if not torch.equal(one, twice):
            raise BrokenContract(f"{name}: the same {kind} must be as likely every time; drop nothing at random")
        of = response.sampled if kind == "words" else torch.ones_like(drawn, dtype=torch.bool)
        if not _close(one[of], drawn[of]):
            apart = float((one[of] - drawn[of]).abs().max())
            raise BrokenContract(
                f"{name}: {kind} read at once must be as likely as when drawn one by one; they differ by {apart:.2g} "
                "nats"
            )


def _check_plans(name: str, policy: PlanPolicy, response: Response) -> None:
    plans = policy.read_words(response.words, response.written)
    words, written = policy.words_of(plans, cut=True)
    if policy.read_words(words, written) != plans:
        raise BrokenContract(f"{name}: a plan in words must read as the text that it was; got other texts back")
    empty, some = policy.words_of([""])
    if some.sum() != 1 or empty[some].item() != policy.begin_of_image:
        raise BrokenContract(f"{name}: an empty plan must be begin-of-image alone")


def _check_images(name: str, policy: PlanPolicy, response: Response) -> None:
    with torch.no_grad():
        images = policy.decode(response.tokens)
    check_decoding(name, images)
    tokens = policy.encode_images(images)
    if tokens.shape != response.tokens.shape or not 0 <= int(tokens.min()) <= int(tokens.max()) < policy.vocabulary:
        raise BrokenContract(
            f"{name}: encode_images must give (B, {policy.num_tokens}) tokens from 0 to {policy.vocabulary - 1}"
        )


def _check_training(name: str, policy: PlanPolicy, condition: Texts, response: Response) -> None:
    parameters = list(policy.transformer.parameters())
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for trained in (True, False):
            for parameter in parameters:
                parameter.requires_grad_(trained)
            with torch.enable_grad():
                found = score_responses(policy, response, condition)
            if {found.words.log_probs.requires_grad, found.tokens.log_probs.requires_grad} != {trained}:
                raise BrokenContract(f"{name}: gradients must reach the transformer if it is trained, and only then")
    finally:
        for parameter, trained in zip(parameters, before, strict=True):
            parameter.requires_grad_(trained)


def _close(one: Tensor, other: Tensor) -> bool:
    return not one.numel() or bool((one.float() - other.float()).abs().max() <= CLOSE)
