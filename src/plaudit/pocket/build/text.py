"""The words of the pocket world: its CLIP tokenizer, and the text encoder that pocket-base and pocket-turbo share.

Stable Diffusion's text encoder comes ready trained from CLIP. The pocket one is made ready by reading: from its last
token it must tell the shapes, colours, count, relation and background that a prompt names. It is frozen afterwards,
and the reward models' text towers start from it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.prompts import Request, describe
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, draw_scene

MAX_TOKENS = 32
WIDTH = 128
PLAN = Plan(steps=400, batch=128, lr=2e-3, warmup=60, ema=0.99)

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_RELATIONS = ("left", "right", "above", "below")


def new_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in whose vocabulary every word of the pocket world is one token; any other word is spelt."""
    rng = np.random.default_rng(0)
    corpus = [describe(draw_scene(rng), rng)[0] for _ in range(20_000)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    merges = _merges(tokenizer)
    symbols = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    vocabulary |= {BOS: len(vocabulary), EOS: len(vocabulary) + 1}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS, pad_token=EOS)


def tokenise(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Token numbers, (B, 32), padded as Stable Diffusion pads."""
    encoded = tokenizer(
        list(prompts), padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    return ids


def text_config(tokenizer: CLIPTokenizer, *, projection: int = WIDTH) -> CLIPTextConfig:
    """The configuration of every pocket text tower: 3 layers, 128 wide."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=MAX_TOKENS, projection_dim=projection,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


class Reader(nn.Module):
    """Linear heads that tell from one vector what a prompt asks for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (
            len(SHAPES) + 1,
            len(COLOURS) + 1,
            len(SHAPES) + 1,
            len(COLOURS) + 1,
            5,
            5,
            len(BACKGROUNDS) + 1,
        )
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def forward(self, vector: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy summed over the heads, and the share of prompts read without a mistake."""
        logits = [head(vector) for head in self.heads]
        losses = [F.cross_entropy(one.float(), answers[:, i]) for i, one in enumerate(logits)]
        right = torch.stack([one.argmax(-1) == answers[:, i] for i, one in enumerate(logits)]).all(0)
        return torch.stack(losses).sum(), right.float().mean()


def answers_of(requests: Sequence[Request]) -> Tensor:
    """What `Reader` must say, (B, 7) class numbers; class 0 means "not said"."""
    rows = []
    for request in requests:
        row = []
        for slot in range(2):
            wanted = request.wanted[slot] if slot < len(request.wanted) else None
            row.append(1 + SHAPES.index(wanted.shape) if wanted else 0)
            row.append(1 + list(COLOURS).index(wanted.colour) if wanted and wanted.colour else 0)
        row.append(request.wanted[0].count)
        row.append(1 + _RELATIONS.index(request.relation) if request.relation else 0)
        row.append(1 + list(BACKGROUNDS).index(request.background) if request.background else 0)
        rows.append(row)
    return torch.tensor(rows)


def train_text(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, state: Path, device: torch.device
) -> Iterator[Progress]:
    """Train the encoder; afterwards its weights are the average."""
    encoder.to(device).train()
    reader = Reader(WIDTH).to(device)
    trainee = Trainee({"encoder": encoder, "reader": reader}, PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        said = [describe(draw_scene(draws.numpy), draws.numpy) for _ in range(PLAN.batch)]
        ids = tokenise(tokenizer, [text for text, _ in said]).to(device)
        with fast_autocast(device):
            pooled = encoder(ids).pooler_output
            loss, right = reader(pooled, answers_of([request for _, request in said]).to(device))
        return loss, {"right": right}

    yield from train("pocket-text", trainee, loss_of, state)
    trainee.use_average()
    encoder.eval().requires_grad_(False)


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    import json

    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(pair[0], pair[1]) for pair in pairs]
