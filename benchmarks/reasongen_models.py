"""Random Januses for benchmarks/reasongen.py, prompts, and random numbers that make plans as long as real ones.

Prompts and the lengths of plans are the pocket world's. A number of 0 draws the first word that may be drawn at all,
and that is begin-of-image; other numbers all but never do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import JanusForConditionalGeneration, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig
from transformers import PreTrainedTokenizerFast as FastTokenizer

from plaudit.core.random_streams import stream
from plaudit.generators.janus import Janus
from plaudit.generators.plan_words import PlanSettings, PlanWords
from plaudit.generators.token_rollout import uniforms_for
from plaudit.pocket.build.janus import (
    HEADS,
    HIDDEN,
    LAYERS,
    LONGEST_PROMPT,
    WIDTH,
    network_of,
    numbers_of,
    tokenizer_of,
)
from plaudit.pocket.build.llamagen import CODES, GRID
from plaudit.pocket.plans import longest_plan, plan_words, words_in, write_plan
from plaudit.pocket.prompts import describe
from plaudit.pocket.scenes import draw_scene

UNWRITTEN, SELDOM = -1e4, -12.0
"""what is added to logits of words that are never drawn, and of begin-of-image, which numbers of 0 alone draw"""


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """How large a Janus is, and how much of it is measured."""

    width: int = WIDTH
    layers: int = LAYERS
    heads: int = HEADS
    hidden: int = HIDDEN
    words: int = 0
    """in the vocabulary; 0: as many as prompts and plans need"""
    codes: int = CODES
    grid: int = GRID
    images: int = 8
    """responses to a prompt"""
    prompts: int = 32
    """of an update"""
    learned: int = 8
    """those whose responses are learned from on the clock"""


SIZES = {
    "pocket": ModelSizes(),
    "wide": ModelSizes(words=102400, codes=16384, images=4, prompts=16, learned=4),
    "tiny": ModelSizes(width=16, layers=2, heads=2, hidden=24, codes=12, grid=3, images=3, prompts=2, learned=2),
}
"""pocket: pocket-janus's; wide: the same with the vocabularies of the published models"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Prompts, and for each so many plans' lengths, begin-of-image counted."""

    prompts: tuple[str, ...]
    lengths: tuple[tuple[int, ...], ...]


def wanted(prompts: int, images: int) -> Wanted:
    """Of scenes of the pocket world, all different prompts."""
    rng, asked = np.random.default_rng(0), dict[str, tuple[int, ...]]()
    while len(asked) < prompts:
        scene = draw_scene(rng)
        plans = [write_plan(scene, rng) for _ in range(images)]
        asked.setdefault(describe(scene, rng)[0], tuple(len(words_in(plan)) + 1 for plan in plans))
    return Wanted(prompts=tuple(asked), lengths=tuple(asked.values()))


def numbers_for(policy: Janus, lengths: Sequence[int], seed: str = "benchmark") -> Tensor:
    """(B, W + T) uniform numbers that draw plans of these lengths."""
    uniforms = uniforms_for([(seed, row) for row in range(len(lengths))], policy.max_words + policy.num_tokens)
    # Away from 0, which ends a plan.
    uniforms = 1e-3 + (1 - 1e-3) * uniforms
    for row, length in enumerate(lengths):
        uniforms[row, length - 1] = 0.0
    return uniforms


def random_policy(sizes: ModelSizes, prompts: Sequence[str]) -> Janus:
    """A Janus whose weights are drawn, and whose words are those of these prompts and of all plans."""
    tokenizer = _tokenizer(prompts)
    network = _network(sizes, tokenizer)
    settings = PlanSettings(
        planning="{prompt} plan:", direct="{prompt}", plan=" {plan}", question="{image} {question}", yes=("yes",),
        no=("no",), max_words=longest_plan() + 1, max_prompt=LONGEST_PROMPT,
    )  # fmt: skip
    words = PlanWords(tokenizer, settings, said={}, count=network.config.text_config.vocab_size)
    policy = Janus(network, words)
    # The tokenizer names few of a large vocabulary's words; a benchmark may write them all the same.
    policy.writable[len(tokenizer) :] = True
    with torch.no_grad():
        for name, weight in _drawn(policy):
            scale = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.0
            weight.copy_(torch.randn(weight.shape, generator=stream("benchmark", name)) * scale + (weight.ndim == 1))
        bias = network.lm_head.bias
        bias.zero_()[~policy.writable] = UNWRITTEN
        bias[policy.begin_of_image] = SELDOM
    return policy


def _drawn(policy: Janus) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, weight) for name, weight in policy.transformer.named_parameters() if name != "lm_head.bias")


def _tokenizer(prompts: Sequence[str]) -> FastTokenizer:
    """Whole words, as pocket-janus's."""
    said = {word for prompt in prompts for word in words_in(prompt)}
    return tokenizer_of({*plan_words(), *"?.,:;-'", *said, "yes", "no"})


def _network(sizes: ModelSizes, tokenizer: FastTokenizer) -> JanusForConditionalGeneration:
    _, signs = numbers_of(tokenizer)
    text = LlamaConfig(
        vocab_size=sizes.words or len(tokenizer), hidden_size=sizes.width, intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.heads,
        max_position_embeddings=256, rope_theta=1000.0, **signs,
    )  # fmt: skip
    # The tower's grid is the pictures'.
    vision = JanusVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=4 * sizes.grid, patch_size=4,
        projection_dim=sizes.width, depth=2, num_image_tokens=sizes.grid**2,
    )  # fmt: skip
    pictures = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=sizes.codes, latent_channels=8, base_channels=32, channel_multiplier=[1, 1],
        num_res_blocks=1, projection_dim=sizes.width, image_token_embed_dim=sizes.width,
    )  # fmt: skip
    network = network_of(text, vision, pictures, tokenizer)
    # Its bias says which words are never drawn, to both ways.
    network.lm_head = torch.nn.Linear(sizes.width, text.vocab_size)
    return network
