"""pocket-imagereward: ImageReward's format (a text encoder that looks at image tokens), trained from nothing.

It shares neither weights nor picture reader with the CLIP models. First the image tower learns to see, then the
whole ranks: the right prompt above its near misses, the right picture above near misses and badly drawn ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertTokenizer

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.clip import Pictures
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.pictures import normalised
from plaudit.pocket.build.preference import Choices, draw_choices
from plaudit.pocket.build.text import WIDTH
from plaudit.pocket.prompts import describe
from plaudit.pocket.scenes import draw_scene
from plaudit.rewards.image_reward import ImageRewardModel

SEE_PLAN = Plan(steps=2600, batch=64, lr=1.5e-3, warmup=150, ema=0.998)
RANK_PLAN = Plan(steps=1000, batch=48, lr=8e-4, warmup=100, ema=0.997)
MAX_TOKENS = 35
BROKEN = 0.3


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


def train_image_reward(
    model: ImageRewardModel, tokenizer: BertTokenizer, pictures: Pictures, broken: Pictures, state: Path
) -> Iterator[Progress]:
    """Train to rank; afterwards the weights are the average, and scores of right pairs and near misses together
    have mean 0 and spread 1, as the published model's have over its prompts."""
    device = pictures.device
    trainee = Trainee({"model": model.to(device).train()}, RANK_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        choices = draw_choices(pictures, broken, draws, RANK_PLAN.batch, BROKEN)
        with fast_autocast(device):
            right, worse, missed = scores_of(model, tokenizer, choices)
        ranked = -F.logsigmoid(right - worse).mean() - F.logsigmoid(right - missed).mean()
        # Anchors the scale across prompts, which ranking alone leaves open.
        anchored = -(F.logsigmoid(right) + 0.5 * F.logsigmoid(-worse) + 0.5 * F.logsigmoid(-missed)).mean()
        return ranked + anchored, {"right": (right > torch.maximum(worse, missed)).float().mean()}

    yield from train("pocket-imagereward", trainee, loss_of, state)
    trainee.use_average()
    model.eval().requires_grad_(False)
    _normalise(model, tokenizer, pictures, broken)


def scores_of(model: ImageRewardModel, tokenizer: BertTokenizer, choices: Choices) -> tuple[Tensor, Tensor, Tensor]:
    """The better picture with its prompt, the worse with it, the better with a near miss: three of (B,)."""
    texts = choices.prompts + choices.prompts + choices.misses
    read = tokenizer(texts, padding="longest", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    device = choices.better.device
    pixels = normalised(torch.cat([choices.better, choices.worse, choices.better]))
    scores = model(pixels, read.input_ids.to(device), read.attention_mask.to(device))
    right, worse, missed = scores.float().chunk(3)
    return right, worse, missed


def _normalise(model: ImageRewardModel, tokenizer: BertTokenizer, pictures: Pictures, broken: Pictures) -> None:
    draws = draws_for("pocket-imagereward-scale", 0)
    with torch.no_grad():
        choices = draw_choices(pictures, broken, draws, 1024, BROKEN)
        scores = torch.cat(scores_of(model, tokenizer, choices))
    model.mean, model.std = round(float(scores.mean()), 4), round(float(scores.std()), 4)
    model.config |= {"mean": model.mean, "std": model.std}
