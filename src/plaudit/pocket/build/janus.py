"""pocket-janus: one language model that answers questions about pictures, plans pictures in words, and draws them.

Its image tokens are pocket-llamagen's: a smaller tokenizer of the published build learns to tell a picture's tokens and
to paint them. The language model learns three things in turns: to draw a prompt at once, to plan and then draw, and to
answer questions about pictures, which it sees through a tower of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from plaudit.core.devices import fast_autocast, has_fast_bfloat16
from plaudit.generators.janus import PLAIN_LOOK, Janus
from plaudit.generators.janus_reading import positions_of
from plaudit.generators.plan_policy import PlanPolicy, given
from plaudit.generators.plan_rollout import score_responses
from plaudit.generators.plan_training import PlansInBfloat16
from plaudit.generators.plan_words import PlanSettings, PlanWords
from plaudit.generators.token_reading import looks
from plaudit.generators.vq_tokenizer import VQTokenizer
from plaudit.pocket.build.clip import PatchReader, patch_answers
from plaudit.pocket.build.llamagen import CODES, GRID, NO_CONDITION
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.pictures import spoilt
from plaudit.pocket.build.vae import missed_pixels
from plaudit.pocket.build.vqa import BackgroundReader, varied_scene
from plaudit.pocket.plans import longest_plan, plan_words, words_in, write_plan
from plaudit.pocket.prompts import describe
from plaudit.pocket.questions import ANSWERS, Question, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, draw_scene

PAINT_PLAN = Plan(steps=2500, batch=32, lr=1e-3, warmup=100, ema=0.998, decay=0.5)
PLAN = Plan(steps=8000, batch=64, lr=3e-3, warmup=200, ema=0.999, decay=0.5, muon=True)
SIGNS = {
    "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "boi_token": "<begin_of_image>",
    "eoi_token": "<end_of_image>", "image_token": "<image_placeholder>", "unk_token": "<unk>",
}  # fmt: skip
PLAIN_SIGNS = ("pad_token", "bos_token", "eos_token", "unk_token")
"""those that every tokenizer knows"""
LONGEST_PROMPT = 32
WIDTH, LAYERS, HEADS, HIDDEN = 160, 6, 5, 448
"""of the language model"""
SEEING = 128
"""width of the tower that it sees through, which heads of the other towers' kind teach to look"""
QUESTIONS = 4
"""about a picture"""
SHARES = {"draw": 0.5, "plan": 0.25, "answer": 0.25}
"""of the steps"""
WORD_WEIGHT, LOOKING = 0.5, 0.3


def new_words_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: those of prompts, plans, questions and answers, and every mark by itself."""
    rng = draws_for("pocket-janus-words", 0).numpy
    scenes = [draw_scene(rng) for _ in range(20_000)]
    said = {word for scene in scenes for word in words_in(describe(scene, rng)[0])}
    said |= {word for scene in scenes[:4000] for word in words_in(draw_question(scene, rng).text)}
    return tokenizer_of({*said, *plan_words(), *ANSWERS, *"?.,:;-'"})


def tokenizer_of(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of these whole words, in lower case, after Janus's signs."""
    vocabulary = {word: number for number, word in enumerate([*SIGNS.values(), *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SIGNS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="left", model_max_length=256,
        **{name: sign for name, sign in SIGNS.items() if name in PLAIN_SIGNS},
        extra_special_tokens={name: sign for name, sign in SIGNS.items() if name not in PLAIN_SIGNS},
    )  # fmt: skip


def plan_settings() -> PlanSettings:
    """How pocket-janus is spoken to."""
    return PlanSettings(
        planning="{prompt} plan:", direct="{prompt}", plan=" {plan}", question="{image} {question}", yes=("yes",),
        no=("no",), max_words=longest_plan() + 1, max_prompt=LONGEST_PROMPT,
    )  # fmt: skip


def new_janus(tokenizer: PreTrainedTokenizerFast) -> JanusForConditionalGeneration:
    """The untrained model."""
    number, signs = numbers_of(tokenizer)
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=256, rope_theta=1000.0, **signs,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=SEEING, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2.0, image_size=64, patch_size=8,
        projection_dim=WIDTH, depth=2, num_image_tokens=GRID * GRID,
    )  # fmt: skip
    pictures = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=CODES, latent_channels=32, base_channels=32, channel_multiplier=[1, 1, 2, 2],
        num_res_blocks=1, num_patches=GRID, projection_dim=WIDTH, image_token_embed_dim=WIDTH,
    )  # fmt: skip
    network = network_of(text, vision, pictures, tokenizer)
    told: Any = network.generation_config
    told.pad_token_id, told.bos_token_id, told.eos_token_id = (number[f"{it}_token"] for it in ("pad", "bos", "eos"))
    told.generation_kwargs = {"boi_token_id": number["boi_token"]}
    return network


def numbers_of(tokenizer: PreTrainedTokenizerFast) -> tuple[dict[str, int], dict[str, int]]:
    """The signs' numbers by their names; and those that every config of a Janus is told, by its names for them."""
    number = {name: int(tokenizer.convert_tokens_to_ids(sign)) for name, sign in SIGNS.items()}
    return number, {f"{name}_token_id": number[f"{name}_token"] for name in ("pad", "bos", "eos")}


def network_of(
    text: LlamaConfig, vision: JanusVisionConfig, pictures: JanusVQVAEConfig, tokenizer: PreTrainedTokenizerFast
) -> JanusForConditionalGeneration:
    """A Janus with random weights of these parts."""
    number, signs = numbers_of(tokenizer)
    config = JanusConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), vq_config=pictures.to_dict(),
        image_token_id=number["image_token"], tie_word_embeddings=False, **signs,
    )  # fmt: skip
    return JanusForConditionalGeneration(config)


def new_policy(network: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> Janus:
    """The model as a policy, frozen."""
    words = PlanWords(tokenizer, plan_settings(), said={}, count=len(tokenizer))
    return Janus(network, words, look=PLAIN_LOOK)


def train_to_paint(policy: Janus, teacher: VQTokenizer, state: Path) -> Iterator[Progress]:
    """Teach the policy's image tokenizer the teacher's tokens, and to paint them; afterwards it is its average."""
    device, coder = policy.device, policy.image_tokenizer
    coder.requires_grad_(True)
    codes = F.normalize(teacher.quantize.embedding.weight.float(), dim=-1)
    with torch.no_grad():
        coder.quantize.embedding.weight.copy_(codes)
    coder.quantize.requires_grad_(False)
    sharpness = nn.Parameter(torch.tensor(3.0, device=device))
    trainee = Trainee({"coder": coder, "sharpness": nn.ParameterDict({"log": sharpness})}, PAINT_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        images = render([draw_scene(draws.numpy) for _ in range(PAINT_PLAN.batch)]).to(device)
        with torch.no_grad(), fast_autocast(device):
            latents = teacher.latents(images)
        tokens = teacher.quantize.nearest(latents.float().movedim(1, -1).flatten(0, 2))
        wanted = 2 * images - 1
        with fast_autocast(device):
            found = coder.quant_conv(coder.encoder(wanted))
            given_codes = codes[tokens].view(len(images), GRID, GRID, -1).movedim(-1, 1)
            painted = coder.decoder(coder.post_quant_conv(given_codes))
        rows = F.normalize(found.float().movedim(1, -1).flatten(0, 2), dim=-1)
        told = F.cross_entropy(sharpness.exp() * rows @ codes.T, tokens)
        error = painted.float() - wanted
        right = ((rows @ codes.T).argmax(dim=1) == tokens).float().mean()
        return missed_pixels(error, wanted) + 0.1 * told, {"mse": error.square().mean(), "told": told, "right": right}

    yield from train("pocket-janus-paint", trainee, loss_of, state)
    trainee.use_average()
    coder.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Scenes and their pictures as tokens."""

    scenes: Sequence[Scene]
    tokens: Tensor
    """(N, 64) int16"""


def train_janus(policy: Janus, pool: Pool, state: Path) -> Iterator[Progress]:
    """Train all but the image tokenizer; afterwards the weights are the average."""
    device, network = policy.device, policy.network
    seeing = nn.ModuleDict(
        {"tower": network.model.vision_model, "aligner": network.model.aligner, "patches": PatchReader(SEEING),
         "behind": BackgroundReader()}
    ).to(device)  # fmt: skip
    policy.transformer.requires_grad_(True)
    seeing.requires_grad_(True)
    trainee = Trainee({"transformer": policy.transformer, "seeing": seeing}, PLAN)
    fast: PlanPolicy = PlansInBfloat16(policy) if has_fast_bfloat16(device) else policy

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        kind = str(draws.numpy.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "answer":
            return _answer_loss(policy, seeing, draws)
        return _draw_loss(fast, pool, draws, plan=kind == "plan")

    yield from train("pocket-janus", trainee, loss_of, state)
    trainee.use_average()
    network.eval().requires_grad_(False)


def _draw_loss(policy: PlanPolicy, pool: Pool, draws: Draws, *, plan: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of pictures after prompts, or of plans after prompts and pictures after both."""
    rows = draws.numpy.integers(len(pool.scenes), size=PLAN.batch).tolist()
    scenes = [pool.scenes[row] for row in rows]
    prompts = [describe(scene, draws.numpy)[0] for scene in scenes]
    plans = [write_plan(scene, draws.numpy) if plan else "" for scene in scenes]
    drop = torch.from_numpy(draws.numpy.random(PLAN.batch) < NO_CONDITION).to(policy.device)
    encoder: Any = policy if plan else policy.direct
    words, written = policy.words_of(plans)
    lesson = given(words, written, pool.tokens[rows].long().to(policy.device))
    found = score_responses(policy, lesson, encoder.encode(prompts), drop=drop)
    drawn = -found.tokens.log_probs.mean()
    if not plan:
        return drawn, {"draw": drawn}
    learned = written & ~drop[:, None]
    said = -found.words.log_probs[learned].mean()
    return drawn + WORD_WEIGHT * said, {"draw_planned": drawn, "plan": said}


def _answer_loss(policy: Janus, seeing: Any, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of answers to questions about pictures, and of telling from each patch what lies there."""
    count = PLAN.batch // QUESTIONS
    scenes = [varied_scene(draws.numpy) for _ in range(count)]
    images = spoilt(render(scenes), draws).to(policy.device)
    asked = [draw_question(scene, draws.numpy) for scene in scenes for _ in range(QUESTIONS)]
    mean, spread = (torch.tensor(it, device=policy.device)[:, None, None] for it in policy.normal)
    with fast_autocast(policy.device):
        seen = seeing["tower"]((images - mean) / spread).last_hidden_state
        looked = seeing["patches"](seen, patch_answers(scenes).to(policy.device)) + seeing["behind"](seen, scenes)
        shown = seeing["aligner"](seen).repeat_interleave(QUESTIONS, dim=0)
        states, wanted = _read_questions(policy, shown, asked)
    logits = policy.transformer.word_logits(states.float())
    answered = F.cross_entropy(logits[:, 0], wanted[:, 0]) + 0.1 * F.cross_entropy(logits[:, 1], wanted[:, 1])
    right = (logits[:, 0].argmax(dim=-1) == wanted[:, 0]).float().mean()
    return answered + LOOKING * looked, {"answers": answered, "right": right, "looked": looked}


def _read_questions(policy: Janus, shown: Tensor, asked: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """States (B, 2, D) that foretell each question's answer and its end, and both (B, 2), after pictures (B, n, D)."""
    words = policy.words
    assert words.image is not None
    assert words.end_of_image is not None
    signs = [words.begin, words.begin_of_image, *[words.image] * shown.shape[1], words.end_of_image]
    rows = [[*signs, *words.ids(question.text), *words.ids(question.answer)] for question in asked]
    texts = words.padded(rows).to(policy.device)
    embedded = policy.transformer.embed_words(texts.ids)
    embedded = embedded.masked_scatter((texts.ids == words.image)[..., None], shown.to(embedded.dtype))
    states = policy.transformer.read(embedded, positions_of(texts.mask), looks(0, texts.mask.shape[1], texts.mask))
    ends = torch.full_like(texts.ids[:, -1], words.end)
    return states[:, -2:], torch.stack([texts.ids[:, -1], ends], dim=1)
