"""pocket-imagereward: ImageReward's format (a text encoder that looks at image tokens), trained from nothing.

It shares neither weights nor picture reader with the CLIP models. First the image tower learns to see, then the
whole ranks: the right prompt above its near misses, the right picture above near misses and badly drawn ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizer

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.clip import Pictures, describable, whole_truth
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.pictures import normalised
from plaudit.pocket.build.preference import Choices, draw_choices
from plaudit.pocket.build.text import WIDTH, Reader, answers_of
from plaudit.pocket.prompts import Request, Wanted, describe
from plaudit.pocket.scenes import Scene, draw_scene
from plaudit.pocket.truth import failures
from plaudit.rewards.image_reward import ImageRewardModel

SEE_PLAN = Plan(steps=2600, batch=64, lr=1.5e-3, warmup=150, ema=0.998)
RANK_PLAN = Plan(steps=1000, batch=48, lr=1e-3, warmup=100, ema=0.997)
MAX_TOKENS = 35
BROKEN = 0.3
MATCHING = 4.0
"""the weight of telling which parts of the prompt hold"""
TELLING = 0.3
"""the weight of telling what the prompt says and what the picture shows: without it, nothing was learnt in 20
thousand pairs, for ranking teaches nothing until both are known"""


def new_bert_tokenizer() -> BertTokenizer:
    """A WordPiece tokenizer that knows the pocket world's words; others are spelt letter by letter."""
    rng = draws_for("pocket-words", 0).numpy
    words = sorted({word for _ in range(20_000) for word in describe(draw_scene(rng), rng)[0].split()})
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=MAX_TOKENS)


def new_image_reward(tokenizer: BertTokenizer) -> ImageRewardModel:
    """The untrained model: 4 image layers and 3 text layers, 128 wide."""
    config: dict[str, Any] = {
        "vision_config": {
            "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 4,
            "num_attention_heads": 4, "image_size": 64, "patch_size": 8,
        },
        "text_config": {
            "vocab_size": len(tokenizer), "hidden_size": WIDTH, "encoder_hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4,
            "max_position_embeddings": 40, "pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        "mlp_sizes": [64, 16],
        "mean": 0.0,
        "std": 1.0,
        "max_text_length": MAX_TOKENS,
    }  # fmt: skip
    return ImageRewardModel.from_config(config)


class Matcher(nn.Module):
    """Linear heads that tell from the text's first token which parts of the prompt hold in the picture.

    BLIP learns to match images and texts before anything else (Li et al. 2022, "ITM"); here the parts are told
    apart, so that finding one shape in the picture, the easiest, can be learnt first.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, len(PARTS))

    def forward(self, first: Tensor, held: Tensor) -> Tensor:
        """Binary cross entropy against what holds, (B, 5); entries below zero count nothing."""
        loss = F.binary_cross_entropy_with_logits(self.head(first).float(), held.clamp(min=0), reduction="none")
        return (loss * (held >= 0)).sum() / (held >= 0).sum()


PARTS = ("first shape", "first", "second shape", "second", "all")


def parts_held(scenes: Sequence[Scene | None], requests: Sequence[Request]) -> Tensor:
    """Which parts of each request its scene meets, (B, 5) of 0 and 1; -1 where there is no such part or scene."""
    rows = []
    for scene, request in zip(scenes, requests, strict=True):
        row = [-1.0] * len(PARTS)
        if scene is not None:
            for slot, wanted in enumerate(request.wanted):
                alone = Request(task="single_object", wanted=(Wanted(shape=wanted.shape),))
                coloured = Request(task="colors", wanted=(Wanted(shape=wanted.shape, colour=wanted.colour),))
                row[2 * slot] = float(not failures(scene, alone))
                row[2 * slot + 1] = float(not failures(scene, coloured))
            row[-1] = float(not failures(scene, request))
        rows.append(row)
    return torch.tensor(rows)


def train_image_reward(
    model: ImageRewardModel, tokenizer: BertTokenizer, pictures: Pictures, broken: Pictures, state: Path
) -> Iterator[Progress]:
    """Train to match and to rank; afterwards the weights are the average, and scores of right pairs and near
    misses together have mean 0 and spread 1, as the published model's have over its prompts."""
    device = pictures.device
    matcher, of_text, of_image = Matcher(WIDTH).to(device), Reader(WIDTH).to(device), Reader(WIDTH).to(device)
    heads = {"matcher": matcher, "of_text": of_text, "of_image": of_image}
    trainee = Trainee({"model": model.to(device).train(), **heads}, RANK_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        choices = draw_choices(pictures, broken, draws, RANK_PLAN.batch, BROKEN)
        asked = choices.asked + choices.asked + choices.asked_instead + _rolled(choices.asked)
        shown = choices.shown + choices.shown_instead + choices.shown + choices.shown
        with fast_autocast(device):
            scores, first = _scored(model, tokenizer, choices, _rolled(choices.prompts))
            matched = matcher(first, parts_held(shown, asked).to(device))
            told, _ = of_text(first, answers_of(asked).to(device))
            known = [i for i, scene in enumerate(shown) if scene is not None and describable(scene)]
            scenes = [scene for scene in shown if scene is not None and describable(scene)]
            seen, _ = of_image(first[known], answers_of([whole_truth(scene) for scene in scenes]).to(device))
        right, worse, missed, _ = scores.chunk(4)
        ranked = -F.logsigmoid(right - worse).mean() - F.logsigmoid(right - missed).mean()
        # Anchors the scale across prompts, which ranking alone leaves open.
        anchored = -(F.logsigmoid(right) + 0.5 * F.logsigmoid(-worse) + 0.5 * F.logsigmoid(-missed)).mean()
        share = (right > torch.maximum(worse, missed)).float().mean()
        loss = ranked + anchored + MATCHING * matched + TELLING * (told + seen)
        return loss, {"right": share, "match": matched, "told": told, "seen": seen}

    yield from train("pocket-imagereward", trainee, loss_of, state)
    trainee.use_average()
    model.eval().requires_grad_(False)
    _normalise(model, tokenizer, pictures, broken)


def _rolled(items: list[Any]) -> list[Any]:
    return items[1:] + items[:1]


def _scored(
    model: ImageRewardModel, tokenizer: BertTokenizer, choices: Choices, others: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Scores (4 B,) and first tokens (4 B, D): the better picture with its prompt, the worse with it, the better with
    a near miss, the better with another's prompt; that last quarter is missing if no others are given."""
    texts = [*choices.prompts, *choices.prompts, *choices.misses, *others]
    read = tokenizer(texts, padding="longest", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    device = choices.better.device
    better, worse = model.see(normalised(torch.cat([choices.better, choices.worse]))).chunk(2)
    seen = torch.cat([better, worse, better, better[: len(others)]])
    first = model.read(seen, read.input_ids.to(device), read.attention_mask.to(device))
    return model.judge(first).float(), first


def _normalise(model: ImageRewardModel, tokenizer: BertTokenizer, pictures: Pictures, broken: Pictures) -> None:
    draws = draws_for("pocket-imagereward-scale", 0)
    with torch.no_grad():
        choices = draw_choices(pictures, broken, draws, 1024, BROKEN)
        scores, _ = _scored(model, tokenizer, choices, [])
    model.mean, model.std = round(float(scores.mean()), 4), round(float(scores.std()), 4)
    model.config |= {"mean": model.mean, "std": model.std}
