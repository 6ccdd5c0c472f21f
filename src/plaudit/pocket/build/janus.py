"""pocket-janus: one language model that answers questions about pictures, plans pictures in words, and draws them.

Its image tokens are pocket-llamagen's: a smaller tokenizer of the published build learns to tell a picture's tokens and
to paint them. The language model learns three things in turns: to draw a prompt at once, to plan and then draw, and to
answer questions about pictures, which it sees through a tower of its own. That tower, by which alone it understood
little, learns what pocket-vqa's sees; and then the three go on, with more answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from plaudit.generators.plan_policy import PlanPolicy, given
from plaudit.generators.plan_rollout import score_responses
from plaudit.generators.plan_training import PlansInBfloat16
from plaudit.generators.plan_words import PlanSettings, PlanWords
from plaudit.generators.vq_tokenizer import VQTokenizer
from plaudit.pocket.build.clip import PatchReader, patch_answers
from plaudit.pocket.build.janus_sight import SAYING, Loss, answer_loss, said_loss, seen_in, shown_scenes
from plaudit.pocket.build.llamagen import CODES, GRID, NO_CONDITION, tokens_of
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.vae import missed_pixels
from plaudit.pocket.build.vqa import BackgroundReader
from plaudit.pocket.plans import longest_plan, plan_words, words_in, write_plan
from plaudit.pocket.prompts import describe
from plaudit.pocket.questions import ANSWERS, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, draw_scene

PAINT_PLAN = Plan(steps=2500, batch=32, lr=1e-3, warmup=100, ema=0.998, decay=0.5)
PLAN = Plan(steps=8000, batch=64, lr=3e-3, warmup=200, ema=0.999, decay=0.5, muon=True)
ANSWER_PLAN = Plan(steps=1500, batch=64, lr=3e-3, warmup=50, ema=0.998, decay=0.6, muon=True)
SETTLE_PLAN = Plan(steps=900, batch=64, lr=2e-3, warmup=20, ema=0.997, decay=0.9, muon=True)
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
PICTURES = 16
"""that questions of a step are about"""
QUESTIONS, MANY_QUESTIONS = 4, 16
"""about each; and once the tower sees"""
SHARES = {"draw": 0.5, "plan": 0.25, "answer": 0.25}
ANSWER_SHARES = {"draw": 0.2, "plan": 0.15, "answer": 0.65}
"""of the steps; and of those that teach to answer, after which the first are needed again: pictures got worse"""
PLAIN_KINDS = {
    "presence": 0.30, "colour": 0.30, "background": 0.08, "how many": 0.04, "which colour": 0.12, "which shape": 0.12,
    "which background": 0.04,
}  # fmt: skip
"""what is there: if all kinds are asked from the first, answers stay guesses for long"""
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
        tokens = tokens_of(teacher, images).flatten()
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


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The three things once more, with a tower that sees."""

    name: str
    plan: Plan
    shares: Mapping[str, float]
    plain_first: float = 0.0
    """the share of the steps, at the beginning, whose questions are about what is there"""


ANSWER = Answers(name="answer", plan=ANSWER_PLAN, shares=ANSWER_SHARES, plain_first=0.4)
SETTLE = Answers(name="settle", plan=SETTLE_PLAN, shares=SHARES)


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

    def answer(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes, images = shown_scenes(policy, draws, count=PICTURES)
        with fast_autocast(device):
            seen = seen_in(policy, images)
            looked = seeing["patches"](seen, patch_answers(scenes).to(device)) + seeing["behind"](seen, scenes)
            answered, told = answer_loss(policy, policy.aligner(seen), scenes, draws, questions=QUESTIONS)
        return answered + LOOKING * looked, {**told, "looked": looked}

    yield from train("pocket-janus", trainee, _in_turns(policy, pool, SHARES, answer), state)
    trainee.use_average()
    network.eval().requires_grad_(False)


def train_to_answer(policy: Janus, pool: Pool, lesson: Answers, state: Path) -> Iterator[Progress]:
    """Train the language model and how it takes in what the tower sees; afterwards the weights are the average."""
    aligner = policy.aligner.requires_grad_(True)
    trainee = Trainee({"transformer": policy.transformer.requires_grad_(True), "aligner": aligner}, lesson.plan)

    def answer(draws: Draws) -> Loss:
        scenes, images = shown_scenes(policy, draws, count=PICTURES)
        with fast_autocast(policy.device):
            with torch.no_grad():
                seen = seen_in(policy, images)
            shown = aligner(seen)
            kinds = PLAIN_KINDS if trainee.step < lesson.plain_first * lesson.plan.steps else None
            answered, told = answer_loss(policy, shown, scenes, draws, questions=MANY_QUESTIONS, kinds=kinds)
        said = said_loss(policy, shown.float(), scenes)
        return answered + SAYING * said, {**told, "said": said}

    yield from train(f"pocket-janus-{lesson.name}", trainee, _in_turns(policy, pool, lesson.shares, answer), state)
    trainee.use_average()
    policy.network.eval().requires_grad_(False)


def _in_turns(
    policy: Janus, pool: Pool, shares: Mapping[str, float], answer: Callable[[Draws], Loss]
) -> Callable[[Draws], Loss]:
    """The loss of a step: each draws which of the three it teaches."""
    fast: PlanPolicy = PlansInBfloat16(policy) if has_fast_bfloat16(policy.device) else policy

    def loss_of(draws: Draws) -> Loss:
        kind = str(draws.numpy.choice(list(shares), p=list(shares.values())))
        return answer(draws) if kind == "answer" else _draw_loss(fast, pool, draws, plan=kind == "plan")

    return loss_of


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
