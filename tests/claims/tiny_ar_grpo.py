"""The experiment of AR-GRPO with LOO-FID in miniature: five classes, pictures of 4 x 4 pixels, nets that take means."""

import dataclasses

import torch
from toys import Colour, Texture
from trained_claims import Means, loads_of

from plaudit.claims.ar_grpo.models import Bench
from plaudit.claims.ar_grpo.plan import Plan
from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.llamagen_files import load_llamagen, save_llamagen
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.presets.ar_grpo import ArTask
from plaudit.rewards.loo_fid import LooFidSettings

CLASSES = ("a red circle", "a blue star", "a green ring", "an orange heart", "a pink cross")
NETS = ("one", "other")
PLAN = Plan(
    seeds=(0,), ablation_seeds=(0,), ablations=("instance-only", "guided"), updates=3, guidances=(1.0, 2.0, 4.0),
    images=4, look_every=2, look_images=2, renders=4, training_renders=4, start_images=12, timings=2, quick=True,
)  # fmt: skip
TASK = ArTask(
    rewards=("hps:1", "clip:2"), held_out="imagereward", prompts=CLASSES, rank=0, alpha=0.0, origin="the test",
    model="pocket-llamagen", net="trained", reference="renders", start_images=20,
    memory=LooFidSettings(form="second-order", decay=0.5),
    config=ArGrpoConfig(
        updates=5, prompts_per_update=3, images_per_prompt=3, lr=2e-2, kl_weight=0.01, batch_size=9, entropy_target=0.7
    ),
)  # fmt: skip
REWARDS = {"hps": Colour(), "clip": Texture(), "imagereward": Colour(2)}


def save_policy(folder):
    """A LlamaGen of five classes whose classes and guidance make a difference."""
    sizes = LlamaSizes(dim=16, layers=1, heads=2, hidden=24, vocabulary=12, grid=2, classes=len(CLASSES))
    first = TokenizerSizes(
        channels=8, multipliers=(1, 2), res_blocks=1, norm_groups=4, z_channels=4, codebook_size=12, codebook_dim=3
    )
    policy = LlamaGen(LlamaTransformer(sizes), VQTokenizer(first), class_names=CLASSES)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in (*policy.transformer.parameters(), *policy.image_tokenizer.parameters()):
            weight.add_(0.3 * torch.randn(weight.shape, generator=rng))
    save_llamagen(policy, folder)
    return folder


def bench(folder, plan=PLAN, task=TASK):
    """The bench over a saved policy."""
    return Bench(
        plan=plan,
        task=task,
        sources={"model": "a toy"},
        device=torch.device("cpu"),
        nets=NETS,
        load_policy=lambda _, **__: load_llamagen(folder),
        load_net=lambda name, **_: Means(name),
        **loads_of(REWARDS),
    )


def with_config(**changes):
    """The task with another config."""
    return dataclasses.replace(TASK, config=dataclasses.replace(TASK.config, **changes))
