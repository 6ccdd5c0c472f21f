"""Drawing whole batches of plans and pictures on one cache, and saying afterwards how likely words and tokens were.

A plan's keys and values stay for the picture: nothing is read twice, but with guidance the rows that ask for nothing,
which read their padding once, when the plan is known. Rows whose plan ends early wait, and cost nothing meanwhile; the
others' words are a gap in theirs. Each head speaks at its own places only: words' logits are never made for a picture's
places, nor tokens' for a plan's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from plaudit.core.float64 import float64_device
from plaudit.generators.plan_policy import (
    PlanPolicy,
    PlanReading,
    Response,
    ScoredResponse,
    Texts,
    check_words_sampling,
    followed_by,
)
from plaudit.generators.token_policy import Sampling, pick, token_log_probs
from plaudit.generators.token_rollout import Scored, casts_kept, score_states

ALIKE = 16
"""responses that are read at once when they are scored, of about the same length, so that little of it is padding"""
Written = tuple[Tensor, Tensor, Tensor, Tensor]
"""words, written, sampled and log-probabilities of a Response"""


def draw_responses(
    policy: PlanPolicy,
    condition: Texts,
    uniforms: Tensor,
    *,
    words: Sampling,
    image: Sampling,
    plans: tuple[Tensor, Tensor] | None = None,
) -> Response:
    """One plan and picture per row of the condition; uniform numbers (B, W + T) in [0, 1) decide. No gradient.

    The first W are the words', whether they are needed or not: so a row does not depend on the others. `plans`: words
    and which are written, both (B, W), as `policy.words_of` gives them, instead of the policy's own. Begin-of-image is
    forced at the last place. Raises BadConfig for guidance of words.
    """
    check_words_sampling(words)
    uniforms = uniforms.to(float64_device(policy.device))
    with torch.no_grad(), casts_kept():
        reading, found = _planned(policy, condition, uniforms, plans, words=words, guided=image.guided)
        reading.begin_picture()
        tokens, log_probs = _draw(policy, reading, uniforms[:, policy.max_words :], image)
    wrote, written, sampled, word_log_probs = found
    return Response(
        words=wrote,
        written=written,
        sampled=sampled,
        word_log_probs=word_log_probs,
        tokens=tokens,
        token_log_probs=log_probs,
    )


def write_plans(policy: PlanPolicy, condition: Texts, uniforms: Tensor, *, words: Sampling) -> tuple[Tensor, Tensor]:
    """Words (B, W) and which are written (B, W), bool: the plans that `draw_responses` writes by the same numbers."""
    check_words_sampling(words)
    uniforms = uniforms.to(float64_device(policy.device))
    with torch.no_grad(), casts_kept():
        wrote, written, _, _ = _write(policy, policy.begin(condition, guided=False), uniforms, words)
    return wrote, written


def score_responses(
    policy: PlanPolicy,
    response: Response,
    condition: Texts,
    *,
    words: Sampling | None = None,
    image: Sampling | None = None,
    drop: Tensor | None = None,
) -> ScoredResponse:
    """The log-probabilities and entropies of given responses to a condition of as many rows, all read at once.

    Under the policy's own distributions, or under those that `words` and `image` make of them; what is cut there, such
    as a begin-of-image that only the limit forced, has minus infinity. `drop` (B,), bool: rows whose picture is
    foretold without prompt and plan, as guidance's other half is; of their words nothing is said, and all are 0. Logits
    are made in chunks of places, and with a gradient again on the way back. Raises BadConfig for guidance of words.
    """
    words, image = words or Sampling(), image or Sampling()
    check_words_sampling(words)
    texts = followed_by(condition, response.words, response.written)
    if drop is not None:
        texts = policy.asking_nothing(texts, drop)
    order = texts.mask.sum(dim=1).argsort(descending=True, stable=True)
    parts = [
        _score_alike(
            policy, response[rows], _shortened(texts[rows]), (words, image), None if drop is None else drop[rows]
        )
        for rows in order.split(ALIKE)
    ]
    back = order.argsort()
    return ScoredResponse(
        words=_joined_scores([part.words for part in parts], back),
        tokens=_joined_scores([part.tokens for part in parts], back),
    )


def word_places(written: Tensor, length: int) -> Tensor:
    """(B, W) int64: which state of a text of that length, begin-of-image its last, foretells each word (B, W)."""
    places = torch.arange(written.shape[1], device=written.device)
    return length - written.sum(dim=1, keepdim=True) + places - 1


def _planned(
    policy: PlanPolicy,
    condition: Texts,
    uniforms: Tensor,
    plans: tuple[Tensor, Tensor] | None,
    *,
    words: Sampling,
    guided: bool,
) -> tuple[PlanReading, Written]:
    """A reading of prompts and plans, but for begin-of-image; and what was written."""
    if plans is None:
        reading = policy.begin(condition, guided=guided)
        return reading, _write(policy, reading, uniforms, words)
    wrote, written = plans
    plain = written & (wrote != policy.begin_of_image)
    reading = policy.begin(followed_by(condition, wrote, plain), guided=guided, writes=False)
    return reading, (wrote, written, torch.zeros_like(written), torch.zeros(wrote.shape, device=wrote.device))


def _write(policy: PlanPolicy, reading: PlanReading, uniforms: Tensor, sampling: Sampling) -> Written:
    """Plans, and all of them read but begin-of-image."""
    shape, device = (len(uniforms), policy.max_words), policy.device
    words = torch.full(shape, policy.begin_of_image, device=device)
    written = torch.zeros(shape, dtype=torch.bool, device=device)
    log_probs = torch.zeros(shape, device=device)
    going = torch.ones(shape[0], dtype=torch.bool, device=device)
    last = policy.max_words - 1
    for place in range(policy.max_words):
        written[:, place] = going
        if place == last:
            # What is left gets the begin-of-image that the words are filled with.
            break
        rows = going.nonzero().flatten()
        found = token_log_probs(policy.word_logits(reading.hidden[rows]), sampling)
        chosen = pick(found, uniforms[rows.to(uniforms.device), place])
        words[rows, place] = chosen
        log_probs[rows, place] = found.gather(1, chosen[:, None]).squeeze(1)
        going = going.index_copy(0, rows, chosen != policy.begin_of_image)
        if not bool(going.any()):
            break
        reading.read_words(words[:, place], going)
    sampled = written.clone()
    sampled[:, last] = False
    return words, written, sampled, log_probs


def _draw(policy: PlanPolicy, reading: PlanReading, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probabilities, (B, T)."""
    tokens, log_probs = [], []
    for place in range(policy.num_tokens):
        logits = policy.logits(reading.hidden)
        found = token_log_probs(logits.unflatten(0, (2, -1)) if sampling.guided else logits, sampling)
        tokens.append(pick(found, uniforms[:, place]))
        log_probs.append(found.gather(1, tokens[-1][:, None]).squeeze(1))
        if place + 1 < policy.num_tokens:
            reading.read(tokens[-1].repeat(2) if sampling.guided else tokens[-1])
    return torch.stack(tokens, dim=1), torch.stack(log_probs, dim=1)


def _beside_none(policy: PlanPolicy, texts: Texts, tokens: Tensor) -> tuple[Texts, Tensor]:
    """Texts and tokens, and as many behind them that ask for nothing."""
    nothing = policy.asking_nothing(texts)
    both = Texts(ids=torch.cat([texts.ids, nothing.ids]), mask=torch.cat([texts.mask, nothing.mask]))
    return both, tokens.repeat(2, 1)


def _shortened(texts: Texts) -> Texts:
    """Texts that begin with padding, with no more of it than the longest leaves."""
    longest = int(texts.mask.sum(dim=1).max())
    start = texts.ids.shape[1] - longest
    return Texts(ids=texts.ids[:, start:], mask=texts.mask[:, start:])


def _score_alike(
    policy: PlanPolicy, response: Response, texts: Texts, sampling: tuple[Sampling, Sampling], drop: Tensor | None
) -> ScoredResponse:
    """Of responses after about equally long texts; `sampling` of words and of the image."""
    (words, image), tokens = sampling, response.tokens
    states = policy.states(*_beside_none(policy, texts, tokens) if image.guided else (texts, tokens))
    picture = states[:, texts.ids.shape[1] - 1 :]
    return ScoredResponse(
        words=_score_words(policy, states[: len(tokens)], response, words, drop),
        tokens=score_states(policy.logits, picture, tokens, vocabulary=policy.vocabulary, sampling=image),
    )


def _joined_scores(parts: Sequence[Scored], rows: Tensor) -> Scored:
    """Rows (B,) of all parts one behind the other."""
    return Scored(
        log_probs=torch.cat([part.log_probs for part in parts])[rows],
        entropies=torch.cat([part.entropies for part in parts])[rows],
    )


def _score_words(
    policy: PlanPolicy, states: Tensor, response: Response, sampling: Sampling, drop: Tensor | None
) -> Scored:
    """Of the written words, gathered: the head of words sees no other place."""
    written = response.written if drop is None else response.written & ~drop[:, None]
    length = states.shape[1] + 1 - response.tokens.shape[1]
    rows, columns = written.nonzero(as_tuple=True)
    log_probs, entropies = (torch.zeros(written.shape, device=states.device) for _ in range(2))
    if not len(rows):
        return Scored(log_probs=log_probs, entropies=entropies)
    picked = states[rows, word_places(response.written, length)[rows, columns]]
    found = score_states(
        policy.word_logits, picked[None], response.words[rows, columns][None], vocabulary=policy.words_vocabulary,
        sampling=sampling,
    )  # fmt: skip
    at = (rows, columns)
    return Scored(
        log_probs=log_probs.index_put(at, found.log_probs[0]), entropies=entropies.index_put(at, found.entropies[0])
    )
