"""The presets of ReasonGen-R1: what they ask for, and that those of Janus-Pro fit the GPU that they name, counted.

Counted, not measured: networks of Janus-Pro's sizes without weights, and one learning step run on them.
"""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

from plaudit.generators.allocations import Ledger, fused_attention
from plaudit.generators.janus import JanusTransformer
from plaudit.generators.llama_reading import read_rows
from plaudit.generators.memory_plan import ALLOWANCE, GB, USABLE
from plaudit.generators.memory_simulation import bytes_of
from plaudit.generators.plan_words import PlanSettings
from plaudit.generators.table import GENERATORS
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import score_states
from plaudit.generators.trained_part import add_lora
from plaudit.methods.drawn_at_once import drawn_at_once
from plaudit.presets.reasongen import LESSONS, RANK, TASKS, LessonsTask
from plaudit.rewards.table import REWARDS, read_spec
from plaudit.shells.plan_drawing import LANGUAGE_MODEL

ALL = TASKS | LESSONS
JANUS_PRO = [name for name in ALL if name.startswith("janus-pro")]
META = torch.device("meta")
DOCS = Path(__file__).parents[2] / "docs"
SIZES = {"janus-pro-1b": (2048, 5632, 24, 16), "janus-pro-7b": (4096, 11008, 30, 32)}
"""width, width of the feed-forward part, layers and heads of the language model"""
WORDS, CODES, TOKENS, SIDE = 102400, 16384, 576, 384


@pytest.mark.parametrize("name", ALL)
def test_every_preset_can_be_made_and_knows_its_model_and_rewards(name):
    task = ALL[name]()
    assert GENERATORS.find(task.model).facts["plan"] is name.startswith("pocket")
    known = [read_spec(spec)[0] for spec in (*task.rewards, task.held_out)]
    assert all(it in REWARDS for it in known)
    assert len(set(known)) == len(known)
    assert len(set(task.prompts)) == len(task.prompts)


@pytest.mark.parametrize("name", ALL)
def test_one_gpu_trains_janus_pro_by_a_lora_with_activations_made_again(name):
    task = ALL[name]()
    wanted = (RANK, RANK, True) if name in JANUS_PRO else (0, 0, False)
    assert (task.rank, task.alpha, task.recompute) == wanted
    assert ("LoRA" in ALL[name].__doc__) is (name in JANUS_PRO)


def test_the_prompts_of_janus_pro_are_english():
    (prompts,) = {ALL[name]().prompts for name in JANUS_PRO}
    assert "two teapots in a row" in prompts
    assert any(prompt.endswith("cactuses in a row") for prompt in prompts)
    assert not [prompt for prompt in prompts if "ss in a row" in prompt or re.search(r"\ba [aeiou]", prompt)]


# --- memory


def network_of(model):
    """Of the model's sizes, without weights; their number is the row's to one in a hundred."""
    width, wide, layers, heads = SIZES[model]
    text = LlamaConfig(
        vocab_size=WORDS, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=16384,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=SIDE, patch_size=16, mlp_ratio=4.0,
        projection_dim=width, num_image_tokens=TOKENS,
    )  # fmt: skip
    pictures = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=CODES, latent_channels=256, base_channels=128, channel_multiplier=[1, 1, 2, 2, 4],
        num_res_blocks=2, projection_dim=width, image_token_embed_dim=width,
    )  # fmt: skip
    config = JanusConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), vq_config=pictures.to_dict(),
        tie_word_embeddings=False,
    )  # fmt: skip
    with META:
        network = JanusForConditionalGeneration(config).eval().requires_grad_(False)
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert 2 * millions == pytest.approx(GENERATORS.find(model).size_mb, rel=0.01)
    return network


def learning(transformer, *, rows):
    """The most bytes beside the weights of one backward pass, of prompts and plans as long as they may be.

    All is in float32: of what is in bfloat16 on a GPU it is twice as much.
    """
    settings, width = PlanSettings(), transformer.language_model.config.hidden_size
    before, words = settings.max_prompt, settings.max_words
    ledger = Ledger(META)
    ledger.leave_out(transformer.parameters())
    with fused_attention(), ledger, META:
        ids, tokens = (torch.zeros(rows, count, dtype=torch.long) for count in (before + words, TOKENS))
        embedded = torch.cat([transformer.embed_words(ids), transformer.embed_tokens(tokens[:, :-1])], dim=1)
        places = embedded.shape[1]
        head_dim = transformer.language_model.layers[0].self_attn.head_dim
        turns = (torch.zeros(rows, 1, places, head_dim), torch.zeros(rows, 1, places, head_dim))
        allowed = torch.zeros(rows, 1, places, places, dtype=torch.bool)
        states = read_rows(transformer.language_model, embedded, turns, allowed=allowed, checkpointing=True)
        picture, plan = states[:, -TOKENS:], states[:, before - 1 : before + words - 1].reshape(1, -1, width)
        parts = [
            score_states(transformer.token_logits, picture, tokens, vocabulary=CODES, sampling=Sampling()),
            score_states(
                transformer.word_logits, plan, ids[:, before:].reshape(1, -1), vocabulary=WORDS, sampling=Sampling()
            ),
        ]
        # Without entropies, as in lessons: what was made again for them is kept until all is over, and that is more.
        sum(part.log_probs.sum() for part in parts).backward()
    return ledger.peak


def decoding(coder, *, rows):
    """The most bytes beside the weights while so many pictures are decoded."""
    ledger = Ledger(META)
    ledger.leave_out(coder.parameters())
    with fused_attention(), ledger, torch.no_grad():
        coder.decode(torch.zeros(rows, TOKENS, dtype=torch.long, device=META))
    return ledger.peak


@cache
def counted(model, rank, rows, drawn):
    """Bytes of the model, of its LoRA with gradients and Adam, of learning, and of drawing for a guided look.

    `rows` at once are learned from and decoded; so many are `drawn`, counting twice what is guided.
    """
    width, _, layers, _ = SIZES[model]
    network = network_of(model)
    transformer = JanusTransformer(network)
    settings = PlanSettings()
    places = settings.max_prompt + settings.max_words + TOKENS
    whole = bytes_of(network)
    halved = sum(2 * it.numel() for it in transformer.language_model.layers.parameters() if it.ndim == 2)
    cache = drawn * places * layers * 2 * width * 2
    drawing = max(cache, decoding(network.model.vqmodel, rows=rows))
    with META:
        add_lora(transformer, rank=rank, alpha=rank, targets=LANGUAGE_MODEL)
    lora = sum(4 * 4 * it.numel() for it in transformer.parameters() if it.requires_grad)
    return whole - halved, lora, learning(transformer, rows=rows), drawing


def cached(task):
    """Rows of a cache at once: of a guided look, where each picture has two, or of what is learned from."""
    assert task.look_guidance != 1
    return max(2 * drawn_at_once(task.config, guided=True), drawn_at_once(task.config, guided=False))


def row_of(name):
    """The preset's row in docs/memory.md, and the card that it asks for, in GB."""
    task = ALL[name]()
    model, lora, learned, drawn = counted(task.model, task.rank, task.config.batch_size, cached(task))
    judges = sum(1e6 * REWARDS.find(read_spec(it)[0]).facts["memory_mb"] for it in (*task.rewards, task.held_out))
    group = 0 if isinstance(task, LessonsTask) else task.config.images_drawn_per_update * 3 * SIDE**2 * 4
    # While rounds are joined, all of their pictures are there twice.
    work = max(learned + group, drawn + 2 * group * getattr(task.config, "rounds", 0))
    needed = (model + lora + judges + work + ALLOWANCE) / USABLE / GB
    cells = " | ".join(f"{part / GB:.1f}" for part in (model, lora, judges, work))
    return f"| {name} | {cells} | {needed:.1f} |", needed


@pytest.mark.parametrize("name", JANUS_PRO)
def test_the_memory_that_is_stated_is_what_is_counted_and_fits(name):
    row, needed = row_of(name)
    assert row in (DOCS / "memory.md").read_text()
    card = int(re.search(r"one GPU of (\d+) GB", ALL[name].__doc__).group(1))
    assert needed < card


def test_no_gpu_holds_every_weight_of_the_larger_one():
    weights = sum(4 * 4 * it.numel() for it in JanusTransformer(network_of("janus-pro-7b")).parameters())
    assert weights > 100 * GB
    said = (DOCS / "memory.md").read_text()
    assert f"{weights / GB:.0f} GB for weights, gradients and Adam alone" in said
    smaller, larger = (bytes_of(network_of(model)) / GB for model in SIZES)
    assert f"without bfloat16 the models take {smaller:.1f} and {larger:.1f} GB" in said
