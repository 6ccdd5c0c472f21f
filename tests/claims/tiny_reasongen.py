"""The experiment of ReasonGen-R1 in miniature: a random Janus that knows the words of plans, and pictures of 6 x 6."""

import dataclasses
import sys
from pathlib import Path

import torch
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from toys import Colour, Texture
from trained_claims import loads_of

from plaudit.claims.reasongen.models import Bench
from plaudit.claims.reasongen.plan import Plan
from plaudit.generators.janus_files import load_janus
from plaudit.generators.plan_words import settings_text
from plaudit.methods.plan_sft import PlanSftConfig
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.pocket.plans import plan_words, words_in
from plaudit.presets.reasongen import LessonsTask, PlanTask
from plaudit.suites.pocket_eval import pocket_eval_prompts

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import PLAIN, SIGNS, make_network, make_tokenizer

PROMPTS = ("a red circle", "a blue star above a green ring", "two orange hearts")
PLAN = Plan(
    seeds=(0,), ablation_seeds=(0,), ablations=("direct", "no-control"), updates=3, lesson_updates=3, lessons=12,
    prompts=12, images=2, look_every=2, look_prompts=8, look_images=2, questions=50, timings=2, quick=True,
)  # fmt: skip
_SHARED = {
    "rewards": ("pocket-vqa-product:1",), "held_out": "imagereward", "prompts": PROMPTS, "rank": 0, "alpha": 0.0,
    "origin": "the test", "model": "pocket-janus",
}  # fmt: skip
CONFIG = ReasonGenConfig(
    updates=5, prompts_per_update=2, images_per_prompt=3, rounds=2, lr=1e-2, steps_per_pass=1, balance="segments",
    entropy_control="pi", word_entropy=1.5, token_entropy=2.0, entropy_rate=0.1, entropy_limit=0.5, weight_decay=0.0,
)  # fmt: skip
TASKS = {
    "lessons": LessonsTask(
        **_SHARED, lessons="scenes", count=20,
        config=PlanSftConfig(updates=5, lessons_per_update=4, lr=1e-2, warmup=0, held_out_share=0.0, ema=0.5),
    ),
    "rewards": PlanTask(**_SHARED, config=CONFIG),
    "rewards-direct": PlanTask(**_SHARED, config=dataclasses.replace(CONFIG, plan=False)),
}  # fmt: skip
REWARDS = {
    "pocket-vqa-product": Colour(), "pocket-vqa": Colour(3), "pocket-vqa-hard": Texture(), "imagereward": Colour(2),
    "pickscore": Texture(),
}  # fmt: skip


def save_model(folder):
    """A Janus of random weights, and the tokenizer of prompts, plans and the answers yes and no."""
    said = {word for prompt in pocket_eval_prompts() for word in words_in(prompt.text)}
    words = sorted({*said, *plan_words(), "yes", "no", "plan", "is", "there", "?"})
    make_network(words=len(SIGNS) + len(words), room=128).save_pretrained(str(folder))
    tokenizer = make_tokenizer(words)
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save_pretrained(str(folder))
    settings = dataclasses.replace(PLAIN, planning="{prompt} plan:", max_words=12, max_prompt=24)
    (folder / "plan.json").write_text(settings_text(settings))
    return folder


def bench(folder, plan=PLAN, tasks=TASKS, **changed):
    """The bench over a saved model."""
    told = {
        "plan": plan, "tasks": tasks, "sources": {"model": "a toy"}, "device": torch.device("cpu"), "guidance": 2.0,
        "load_policy": lambda _, **__: load_janus(folder), **loads_of(REWARDS),
    }  # fmt: skip
    return Bench(**{**told, **changed})


def with_config(way, **changes):
    """The presets, one of them with another config."""
    return {**TASKS, way: dataclasses.replace(TASKS[way], config=dataclasses.replace(TASKS[way].config, **changes))}
