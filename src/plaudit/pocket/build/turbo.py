"""pocket-turbo: pocket-base in one step.

First the student learns where the teacher's deterministic sampler takes a few thousand noises (regression, which
alone gives blurred pictures); then its distribution is matched with the teacher's (matching.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.base import Batches, new_scheduler, new_unet, with_plain_attention
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.matching import clean_of, follow, matched
from plaudit.pocket.build.text import tokenise

PAIRS = 8192
PAIR_STEPS = 8
GUIDANCE = 3.0
REGRESS_PLAN = Plan(steps=500, batch=64, lr=6e-4, warmup=50, ema=0.99)
MATCH_PLAN = Plan(steps=1900, batch=64, lr=1.5e-4, warmup=50, ema=0.99, betas=(0.5, 0.99), decay=0.4)
FOLLOW_FASTER = 2.5
"""the follower's learning rate, in the student's"""
LAST = 999
"""the time of pure noise, at which the student is called"""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Noises, where the teacher takes them, and the prompts with their token numbers."""

    noise: Tensor
    latents: Tensor
    prompts: Sequence[str]
    ids: Tensor


class Teacher:
    """The frozen multi-step model: guided predictions of the clean latents."""

    def __init__(self, unet: UNet2DConditionModel, batches: Batches) -> None:
        self.unet, self.device = with_plain_attention(unet.to(batches.device)), batches.device
        self.unet.eval().requires_grad_(False)
        self.alphas = new_scheduler().alphas_cumprod.to(batches.device)
        self.nothing = batches.read([""])

    def clean(self, noisy: Tensor, times: Tensor, states: Tensor, *, guidance: float | Tensor) -> Tensor:
        """The predicted clean latents of noisy ones at times (B,); guidance is one, or (B, 1, 1, 1)."""
        both = torch.cat([states, self.nothing.expand_as(states)])
        with torch.no_grad():
            v = predict(self.unet, torch.cat([noisy, noisy]), torch.cat([times, times]), both)
        asked, free = v.float().chunk(2)
        return clean_of(noisy, free + guidance * (asked - free), self.alphas, times)

    def sample(self, noise: Tensor, states: Tensor, *, steps: int, guidance: float) -> Tensor:
        """The deterministic DDIM sampler."""
        scheduler = new_scheduler()
        scheduler.set_timesteps(steps)
        times = [*scheduler.timesteps.tolist(), None]
        x = noise
        for now, after in pairwise(times):
            at = torch.full((len(x),), now, device=self.device)
            clean = self.clean(x, at, states, guidance=guidance)
            if after is None:
                return clean
            signal, spread = self._levels(now)
            eps = (x - signal * clean) / spread
            signal, spread = self._levels(after)
            x = signal * clean + spread * eps
        return x

    def _levels(self, time: int) -> tuple[Tensor, Tensor]:
        return self.alphas[time].sqrt(), (1 - self.alphas[time]).sqrt()


def one_step(unet: UNet2DConditionModel, noise: Tensor, states: Tensor) -> Tensor:
    """The student's latents. At the last time all is noise, so that the clean latents are -v."""
    times = torch.full((len(noise),), LAST, device=noise.device)
    return -predict(unet, noise, times, states).float()


def predict(unet: UNet2DConditionModel, noisy: Tensor, times: Tensor, states: Tensor) -> Tensor:
    """The network's v-prediction of noisy latents at times (B,)."""
    with fast_autocast(noisy.device):
        v: Tensor = unet(noisy, times, encoder_hidden_states=states).sample
    return v


def make_pairs(teacher: Teacher, batches: Batches, file: Path, *, count: int = PAIRS) -> Iterator[int | Pairs]:
    """Yields how many pairs are done, then the pairs; kept in `file`."""
    draws = draws_for("pocket-turbo-pairs", 0)
    rows = draws.numpy.integers(len(batches.pool.scenes), size=count)
    prompts = batches.prompts(rows, draws, 0.0)
    ids = tokenise(batches.tokenizer, prompts)
    noise = draws.normal(count, *batches.pool.latents.shape[1:])
    if not file.exists():
        done = []
        for part in torch.arange(count).split(128):
            with torch.no_grad():
                states = batches.encoder(ids[part].to(teacher.device)).last_hidden_state
            start = noise[part].to(teacher.device)
            done.append(teacher.sample(start, states, steps=PAIR_STEPS, guidance=GUIDANCE).cpu())
            yield int(part[-1]) + 1
        np.save(file, torch.cat(done).numpy())
    yield Pairs(noise=noise, latents=torch.from_numpy(np.load(file)), prompts=prompts, ids=ids)


def regress(student: UNet2DConditionModel, pairs: Pairs, batches: Batches, state: Path) -> Iterator[Progress]:
    """Teach the student where the teacher takes each noise."""
    device = batches.device
    trainee = Trainee({"unet": with_plain_attention(student.to(device).train())}, REGRESS_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.from_numpy(draws.numpy.integers(len(pairs.noise), size=REGRESS_PLAN.batch))
        with torch.no_grad():
            states = batches.encoder(pairs.ids[rows].to(device)).last_hidden_state
        made = one_step(student, pairs.noise[rows].to(device), states)
        return (made - pairs.latents[rows].to(device)).square().mean(), {}

    yield from train("pocket-turbo-regress", trainee, loss_of, state)
    trainee.use_average()


def match(
    student: UNet2DConditionModel, teacher: Teacher, pairs: Pairs, batches: Batches, state: Path
) -> Iterator[Progress]:
    """Move the student's distribution onto the teacher's; afterwards its weights are the average."""
    device = batches.device
    follower = with_plain_attention(new_unet().to(device).train())
    follower.load_state_dict(teacher.unet.state_dict())
    modules = {"student": with_plain_attention(student.to(device).train().requires_grad_(True)), "follower": follower}
    trainee = Trainee(modules, MATCH_PLAN, faster={"follower": FOLLOW_FASTER})

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        states = batches.draw(draws, MATCH_PLAN.batch)[1]
        made = one_step(student, draws.normal(MATCH_PLAN.batch, *pairs.noise.shape[1:]).to(device), states)
        moved, distance = matched(
            made,
            lambda noisy, times: teacher.clean(noisy, times, states, guidance=GUIDANCE),
            lambda noisy, times: predict(follower, noisy, times, states),
            teacher.alphas,
            draws,
        )
        following = follow(
            made.detach(), lambda noisy, times: predict(follower, noisy, times, states), teacher.alphas, draws
        )
        return moved + following, {"follow": following, "distance": distance}

    yield from train("pocket-turbo-match", trainee, loss_of, state)
    trainee.use_average()
    student.eval().requires_grad_(False)
