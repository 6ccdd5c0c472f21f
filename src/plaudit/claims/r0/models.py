"""What a training of the experiment needs: the model at its start, and the method over it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.claims.r0.plan import MODEL, Plan, Times, Training
from plaudit.claims.r0.variants import followed
from plaudit.claims.scored_pictures import judged_by, trained_on
from plaudit.core.errors import BadConfig
from plaudit.generators.denoising import Denoising, DenoisingInBfloat16, denoising_of
from plaudit.generators.table import load_generator
from plaudit.methods.anchor import Anchor, Start, begin
from plaudit.methods.r0 import R0, R0Config
from plaudit.methods.rg_lcm import Pictures, RgLcm, RgLcmConfig
from plaudit.pocket.prompts import parse
from plaudit.pocket.render import render
from plaudit.presets.task import Task
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_table import USUAL_NET, load_feature_net
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.reward import Reward
from plaudit.rewards.table import load_reward, load_rewards, read_spec
from plaudit.suites.reference_sets import scene_for

RENDERS = 2
"""real pictures of each prompt that distillation learns from"""
_STREAM = 553_003
"""keeps these scenes apart from those of the fidelity suite"""
BATCH = 64
"""pictures encoded at once"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trainings share."""

    plan: Plan
    task: Task
    """of R0+; ablations change it"""
    base_steps: int
    """of the pretrained model's own sampler"""
    base_guidance: float
    sources: Mapping[str, Any]
    """names, revisions and checksums of the model, the rewards and the feature net"""
    device: torch.device
    net: str = USUAL_NET
    load_model: Callable[..., Any] = load_generator
    load_one: Callable[..., Reward] = load_reward
    load_many: Callable[..., WeightedSum] = load_rewards
    load_net: Callable[..., FeatureNet] = load_feature_net

    @property
    def times(self) -> Times:
        """Where R0+'s steps lie, in training and in drawing."""
        config: R0Config = self.task.config
        return Times(shift=config.shift, start=config.start)

    @property
    def trained(self) -> list[str]:
        """The names of the rewards that R0+ is trained on."""
        return trained_on(self.task)

    @property
    def judged_by(self) -> list[str]:
        """The names of all rewards that pictures are scored by; the last one is trained on by nothing."""
        return judged_by(self.task)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A model in training, or ready to be drawn from."""

    trainer: R0 | RgLcm
    denoising: Denoising = field(repr=False)
    """for drawing, in float32"""
    anchor: Anchor


def specs_of(it: Training, bench: Bench) -> tuple[str, ...]:
    """The rewards of the training, as NAME:WEIGHT."""
    return followed(bench.task.rewards, it.follows)


def config_of(it: Training, bench: Bench) -> R0Config | RgLcmConfig:
    """The training's whole config: the preset's, the plan's updates, the variant's changes. Raises BadConfig."""
    usual: R0Config = bench.task.config
    updates = usual.updates if bench.plan.updates is None else bench.plan.updates
    if it.method == "r0":
        told = {"updates": updates, "seed": it.seed, **it.changes}
        return replace(usual, **told)
    weight = sum(abs(read_spec(spec)[1]) for spec in specs_of(it, bench))
    # With gradients of length 1, all rewards together pull about as much as distillation does.
    own = {"guidance": bench.base_guidance, "reward_scale": 1 / weight, **it.changes}
    kept = ("images_per_update", "lr", "grad_clip", "batch_size")
    return RgLcmConfig(updates=updates, seed=it.seed, **{name: getattr(usual, name) for name in kept}, **own)


def content_of(it: Training, bench: Bench) -> dict[str, Any]:
    """All that decides what the training learns, but the weights that it starts from."""
    task = bench.task
    if it.method == "none":
        return {"method": it.method, "seed": it.seed}
    return {
        "method": it.method,
        "config": asdict(config_of(it, bench)),
        "rewards": specs_of(it, bench),
        "rank": [_rank(it, task), task.alpha],
        "prompts": task.prompts,
        "precision": bench.plan.precision,
        "renders": RENDERS if it.method == "rg-lcm" else 0,
    }


def set_up(it: Training, bench: Bench) -> Work:
    """The model with the method over it, at its start. Raises BadConfig."""
    task, config = bench.task, config_of(it, bench)
    generator = bench.load_model(MODEL, device=bench.device)
    denoising = denoising_of(generator)
    start = begin(generator, denoising, rank=_rank(it, task), alpha=task.alpha, seed=it.seed)
    reward = bench.load_many(specs_of(it, bench), device=bench.device)
    drawn, trained = denoising, _precisely(denoising, bench.plan)
    frozen = _precisely(start.frozen, bench.plan)
    trainer: R0 | RgLcm
    if isinstance(config, R0Config):
        trainer = R0(trained, reward, task.prompts, config, start=Start(frozen=frozen, anchor=start.anchor))
    else:
        copied = copy.deepcopy(denoising.denoiser).requires_grad_(False)
        target = _precisely(denoising_of(generator, denoiser=copied), bench.plan)
        data = real_pictures(generator, task.prompts)
        trainer = RgLcm(trained, reward, data, config, teacher=frozen, target=target)
    return Work(trainer=trainer, denoising=drawn, anchor=start.anchor)


def real_pictures(generator: Any, prompts: tuple[str, ...]) -> Pictures:
    """Latents of rendered scenes, RENDERS of each prompt, all different. Raises BadConfig for a prompt about no scene.

    At the size that the generator draws.
    """
    texts = tuple(prompt for prompt in prompts for _ in range(RENDERS))
    scenes = []
    for place, prompt in enumerate(texts):
        request = parse(prompt)
        if request is None:
            raise BadConfig(f"distillation needs real pictures of its prompts, and {prompt!r} is about no scene")
        scenes.append(scene_for(request, np.random.default_rng((_STREAM, place))))
    with torch.no_grad():
        nothing = torch.zeros(1, *generator.noise_shape, device=generator.device)
        size = tuple(generator.decode(nothing).shape[-2:])
        parts = [_encoded(generator, render(scenes[at : at + BATCH]), size) for at in range(0, len(scenes), BATCH)]
    return Pictures(latents=torch.cat(parts), prompts=texts)


def _encoded(generator: Any, images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Scaled latents (B, *noise_shape) of images (B, 3, H, W) in [0, 1]."""
    images = images.to(generator.device)
    if tuple(images.shape[-2:]) != size:
        images = F.interpolate(images, size=size, mode="area")
    latents: Tensor = generator.vae.encode(images * 2 - 1).latent_dist.mean
    return latents.float() * float(generator.vae.config.scaling_factor)


def _precisely(denoising: Denoising, plan: Plan) -> Denoising:
    return DenoisingInBfloat16(denoising) if plan.precision == "bfloat16" else denoising


def _rank(it: Training, task: Task) -> int:
    """Distillation keeps an average of all weights, so it trains them all."""
    return 0 if it.method == "rg-lcm" else task.rank
