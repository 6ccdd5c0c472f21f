"""pocket-vqa: BLIP for questions (Li et al. 2022) in its published format, taught on questions about scenes.

An image tower, a text encoder that reads the question while it looks at the picture, and a decoder that says the
answer in words. Every picture is looked at once and asked several questions, so that most of the work teaches reading.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.clip import PatchReader, Pictures, patch_answers, place_patches
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.negatives import near_scene
from plaudit.pocket.build.pictures import MEAN, STD, normalised, spoilt
from plaudit.pocket.build.text import WIDTH
from plaudit.pocket.prompts import describe
from plaudit.pocket.questions import ANSWERS, Question, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, draw_scene, scene_is_held_out

PLAN = Plan(steps=9000, batch=32, lr=1e-3, warmup=200, ema=0.998, decay=0.48)
QUESTIONS = 8
"""asked of every picture"""
IMAGE_LAYERS = 3
TEXT_LAYERS = 2
"""of the encoder, and of the decoder"""
TEXT_HIDDEN = 64
"""narrow, since what is asked and where it lies is found by attention"""
LOOKING = 0.5
"""the weight of telling from each patch what lies there, and behind it"""
PADDING = 0
POOLED = 0.4
"""of the pictures, how many come out of the decoder"""


def new_question_tokenizer() -> BertTokenizer:
    """A WordPiece tokenizer that knows the words of all questions and answers; others are spelt letter by letter."""
    rng = draws_for("pocket-questions", 0).numpy
    scenes = [varied_scene(rng) for _ in range(3000)]
    said = " ".join(draw_question(scene, rng).text for scene in scenes for _ in range(4))
    letters = [chr(code) for code in range(97, 123)] + list("0123456789?,.-'")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
    pieces += sorted({*said.replace("?", " ").split(), *ANSWERS})
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=32)


def new_vqa(tokenizer: BertTokenizer) -> BlipForQuestionAnswering:
    """The untrained model, 128 wide. As published, two tokens follow the tokenizer's: [DEC] and [ENC]."""
    words = len(tokenizer)
    config = BlipConfig(
        text_config={
            "vocab_size": words + 2, "hidden_size": WIDTH, "encoder_hidden_size": WIDTH,
            "intermediate_size": TEXT_HIDDEN, "num_hidden_layers": TEXT_LAYERS, "num_attention_heads": 4,
            "max_position_embeddings": 32, "pad_token_id": PADDING, "bos_token_id": words, "sep_token_id": 3,
            "eos_token_id": 3, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": IMAGE_LAYERS,
            "num_attention_heads": 4, "image_size": 64, "patch_size": 8, "initializer_range": 0.02,
        },
        image_text_hidden_size=WIDTH,
    )  # fmt: skip
    model = BlipForQuestionAnswering(config)
    place_patches(model.vision_model.embeddings.position_embedding[0])
    return model


def start_seeing(model: BlipForQuestionAnswering, tower: Mapping[str, Tensor]) -> None:
    """Start the image tower from the first layers of another BLIP's of the same width: pocket-imagereward's."""
    own = model.vision_model.state_dict()
    model.vision_model.load_state_dict({name: tower[name] for name in own})


def varied_scene(rng: np.random.Generator) -> Scene:
    """A training scene, one with something changed, or several different things: what generators draw is no neater."""
    while True:
        scene, how = draw_scene(rng), rng.random()
        if how > 0.8:
            scene = _mixed_scene(rng)
        elif how > 0.6:
            scene = near_scene(scene, describe(scene, rng)[1], rng)
        if not scene_is_held_out(scene):
            return scene


def _mixed_scene(rng: np.random.Generator) -> Scene:
    """Two to four things in the quarters of the picture, of a few kinds."""
    base = draw_scene(rng)
    quarters = [(16, 16), (48, 16), (16, 48), (48, 48)]
    kinds = [(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))) for _ in range(int(rng.integers(2, 5)))]
    things = []
    for index in rng.permutation(4)[: int(rng.integers(2, 5))]:
        shape, colour = kinds[int(rng.integers(len(kinds)))]
        x, y = (at + float(rng.uniform(-3, 3)) for at in quarters[index])
        things.append(Thing(shape=shape, colour=colour, x=x, y=y, radius=float(rng.uniform(8.5, 12.5))))
    return Scene(background=base.background, things=tuple(things))


def draw_asked(pictures: Pictures, draws: Draws, count: int) -> tuple[list[Scene], Tensor, list[list[Question]]]:
    """Scenes, their pictures (B, 3, 64, 64) in [0, 1], and QUESTIONS questions about each."""
    pooled = int(count * POOLED)
    scenes, images = pictures.draw(draws, pooled, from_pool=1.0)
    fresh = [varied_scene(draws.numpy) for _ in range(count - pooled)]
    images = torch.cat([images, spoilt(render(fresh), draws).to(images.device)])
    scenes += fresh
    return scenes, images, [[draw_question(scene, draws.numpy) for _ in range(QUESTIONS)] for scene in scenes]


class BackgroundReader(nn.Module):
    """A linear head that tells the background from any patch's token.

    Without it, answers about backgrounds were still guesses when nine in ten others were right: the image tower that
    the model starts from does not keep in its patches what is the same in all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(BACKGROUNDS)))

    def forward(self, tokens: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Cross entropy of tokens (B, N, D) against their scenes' backgrounds."""
        answers = torch.tensor([list(BACKGROUNDS).index(scene.background) for scene in scenes], device=tokens.device)
        logits = self.head(tokens).float()
        return F.cross_entropy(logits.flatten(0, 1), answers.repeat_interleave(tokens.shape[1]))


def train_vqa(
    model: BlipForQuestionAnswering, tokenizer: BertTokenizer, pictures: Pictures, state: Path, *, plan: Plan = PLAN
) -> Iterator[Progress]:
    """Train to answer; afterwards the weights are the average."""
    device = pictures.device
    patches, behind = PatchReader(WIDTH).to(device), BackgroundReader().to(device)
    trainee = Trainee({"model": model.to(device).train(), "patches": patches, "behind": behind}, plan)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes, images, asked = draw_asked(pictures, draws, plan.batch)
        with fast_autocast(device):
            seen = model.vision_model(pixel_values=normalised(images)).last_hidden_state
            answered, right = answer_loss(model, tokenizer, seen, asked)
            looked = patches(seen[:, 1:], patch_answers(scenes).to(device)) + behind(seen[:, 1:], scenes)
        return answered + LOOKING * looked, {"answers": answered, "right": right, "looked": looked}

    yield from train("pocket-vqa", trainee, loss_of, state)
    trainee.use_average()
    model.eval().requires_grad_(False)


def answer_loss(
    model: BlipForQuestionAnswering, tokenizer: BertTokenizer, seen: Tensor, asked: Sequence[Sequence[Question]]
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the answers to Q questions each about pictures seen (B, N, D), and the share that is right."""
    questions = [question for many in asked for question in many]
    ids = [torch.tensor(question_ids(model, tokenizer, question.text)) for question in questions]
    words = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PADDING).to(seen.device)
    answers = tokenizer([question.answer for question in questions], add_special_tokens=False)["input_ids"]
    target = F.pad(torch.tensor(answers, device=seen.device), (0, 1), value=int(tokenizer.sep_token_id))
    logits = answered(model, words, seen, target[:, :1])
    # The end of an answer is soon known, and would only shrink the mean.
    loss = F.cross_entropy(logits[:, 0], target[:, 0]) + 0.1 * F.cross_entropy(logits[:, 1], target[:, 1])
    return loss, (logits[:, 0].argmax(-1) == target[:, 0]).float().mean()


def question_ids(model: BlipForQuestionAnswering, tokenizer: BertTokenizer, text: str) -> list[int]:
    """A question's tokens; as published, [ENC] begins it."""
    ids: list[int] = tokenizer(text)["input_ids"]
    return [int(model.config.text_config.bos_token_id) + 1, *ids[1:]]


def answered(model: BlipForQuestionAnswering, words: Tensor, seen: Tensor, said: Tensor) -> Tensor:
    """Logits (B Q, S + 1, V) float32 of what follows the S words said (B Q, S) in answer to questions (B Q, L).

    The questions are about pictures seen (B, N, D), Q about each in turn. The model's own layers, read as the model
    library reads them but for two things: a picture's keys and values are made once for all of its questions, and
    nobody looks at padding (transformers 5.23 passes no mask on to its cross-attention).
    """
    read = model.text_encoder.embeddings(input_ids=words)
    real = (words != PADDING)[:, None, None]
    for layer in model.text_encoder.encoder.layer:
        read = _attend(layer.attention, read, read, real)
        looking = _attend(layer.crossattention, read.view(len(seen), -1, read.shape[-1]), seen)
        read = layer.feed_forward_chunk(looking.view(read.shape))
    begin = torch.full_like(words[:, :1], int(model.config.text_config.bos_token_id))
    decoder = model.text_decoder.bert
    state = decoder.embeddings(input_ids=torch.cat([begin, said], dim=1))
    before = torch.ones(state.shape[1], state.shape[1], dtype=torch.bool, device=seen.device).tril()
    for layer in decoder.encoder.layer:
        state = _attend(layer.attention, state, state, before)
        state = layer.feed_forward_chunk(_attend(layer.crossattention, state, read, real))
    logits: Tensor = model.text_decoder.cls(state).float()
    return logits


def _attend(part: Any, states: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
    """A BLIP attention's new states (B, L, D) from looking at others (B, M, D) where the mask is True."""
    heads = int(part.self.num_attention_heads)
    query, key, value = (
        project(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for project, x in ((part.self.query, states), (part.self.key, others), (part.self.value, others))
    )
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    new: Tensor = part.output(found.transpose(1, 2).flatten(2), states)
    return new


def save_vqa(model: BlipForQuestionAnswering, tokenizer: BertTokenizer, folder: Path, *, dtype: torch.dtype) -> None:
    """Write the model, its tokenizer and how pictures are prepared, in the published layout."""
    model.cpu().to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pixels: dict[str, Any] = {
        "image_processor_type": "BlipImageProcessor", "size": {"height": 64, "width": 64}, "resample": 3,
        "do_resize": True, "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels, indent=2) + "\n")
