"""What a Janus understands: its answers to questions about images, by the tower that it does not draw with.

A training that teaches it to draw must not make it forget; asking the same questions before and after tells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.janus import Janus
from plaudit.generators.janus_reading import positions_of
from plaudit.generators.llama_reading import Place, RowCache
from plaudit.generators.plan_policy import Texts
from plaudit.generators.token_reading import looks


def answer(policy: Janus, images: Tensor, questions: Sequence[str], *, max_words: int = 32) -> list[str]:
    """The likeliest answers, word by word, to questions about images (B, 3, H, W) in [0, 1] of any size; B texts.

    Raises BadConfig if there are not as many, or the model's tokenizer has no sign for an image.
    """
    network, words = policy.transformer, policy.words
    allowed = policy.writable.clone()
    allowed[words.begin_of_image], allowed[words.end] = False, True
    with torch.no_grad():
        texts, rows = _asked(policy, images, questions)
        count, before = texts.ids.shape
        cache = RowCache(network.language_model.config, rows, rows=count, room=before + max_words)
        seen = F.pad(texts.mask, (0, max_words), value=True)
        positions, hidden = texts.mask.sum(dim=1), _read(policy, texts, rows, cache)
        said = torch.full((count, max_words), words.end, device=policy.device)
        for step in range(max_words):
            logits = network.word_logits(hidden).masked_fill(~allowed, -torch.inf)
            # What has ended stays so: behind an end there is nothing but ends.
            ended = (said[:, :step] == words.end).any(dim=1)
            said[:, step] = torch.where(ended, words.end, logits.argmax(dim=-1))
            if step + 1 == max_words or bool((said[:, step] == words.end).all()):
                break
            looked = seen[:, None, None, : before + step + 1]
            at = Place(cache=cache, start=before + step, rows=slice(0, count), allowed=looked)
            embedded = network.embed_words(said[:, step : step + 1])
            hidden = network.read(embedded, positions[:, None] + step, at=[at])[:, 0]
    return [words.text([word for word in row if word != words.end]) for row in said.tolist()]


def yes_probability(policy: Janus, images: Tensor, questions: Sequence[str]) -> Tensor:
    """(B,) float32 in [0, 1]: how likely the answer begins with yes, of its beginning with yes or no.

    Raises as `answer`, and if the model has no single word for either.
    """
    settings = policy.words.settings
    with torch.no_grad():
        texts, rows = _asked(policy, images, questions)
        cache = RowCache(policy.transformer.language_model.config, rows, rows=len(texts), room=texts.ids.shape[1])
        found = policy.transformer.word_logits(_read(policy, texts, rows, cache)).log_softmax(dim=-1)
    yes, no = (found[:, _single(policy, said)].logsumexp(dim=1) for said in (settings.yes, settings.no))
    return (yes - no).sigmoid()


def _single(policy: Janus, said: Sequence[str]) -> list[int]:
    """The words that an answer may begin with, each said as one."""
    ways = {tuple(policy.words.ids(text)) for way in said for text in (way, f" {way}")}
    found = sorted({way[0] for way in ways if len(way) == 1 and bool(policy.writable[way[0]])})
    if not found:
        raise BadConfig(f"this model has no single word for {' or '.join(map(repr, said))}; say others in plan.json")
    return found


def _asked(policy: Janus, images: Tensor, questions: Sequence[str]) -> tuple[Texts, Tensor]:
    """Questions about images as texts, and embedded, (B, P, D)."""
    words = policy.words
    if words.image is None or words.end_of_image is None:
        raise BadConfig("this model's tokenizer has no image_token and eoi_token, so it cannot be asked about images")
    if len(images) != len(questions):
        raise BadConfig(f"each image has its question; got {len(images)} images and {len(questions)} questions")
    seen = policy.look(images)
    before, after = words.settings.question.split("{image}")
    signs = [words.begin_of_image, *[words.image] * seen.shape[1], words.end_of_image]
    rows = []
    for question in questions:
        words.check_plain(question, "question")
        rows.append(
            [words.begin, *words.ids(before), *signs, *words.ids(after.replace("{question}", question.strip()))]
        )
    texts = words.padded(rows).to(policy.device)
    embedded = policy.transformer.embed_words(texts.ids)
    return texts, embedded.masked_scatter((texts.ids == words.image)[..., None], seen.to(embedded.dtype))


def _read(policy: Janus, texts: Texts, rows: Tensor, cache: RowCache) -> Tensor:
    """The state (B, D) after embedded texts (B, P, D)."""
    mask = texts.mask
    at = Place(cache=cache, start=0, rows=slice(0, len(texts)), allowed=looks(0, mask.shape[1], mask))
    found = policy.transformer.read(rows, positions_of(mask), at=[at])
    return found[:, -1]
