"""RLCM the published way: how its released code draws images and learns from them, for benchmarks/rlcm.py.

Written from the description of that code (Oertell et al. 2024): prompts are encoded again for every batch of 8 images
that is drawn; the network takes a batch, but the sampler's step goes image by image, and asks the device for each
image's time; an update learns from 2 images and one step of each at a time, the last step included, whose action no
image shows. With the objective "rebel" it keeps the graphs of all steps of a pair until its one backward pass.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from plaudit.generators.lcm import LatentConsistency, guidance_embedding
from plaudit.methods.losses import clipped_policy_loss

SAMPLE_BATCH, TRAIN_BATCH, CLIP = 8, 2, 1e-4
"""of the released settings for the aesthetic task"""


class Rolls(NamedTuple):
    """What the published way keeps of B images."""

    states: Tensor
    """(B, H + 1, ...)"""
    log_probs: Tensor
    """(B, H), means over an action's numbers"""
    text: Tensor
    """(B, L, D)"""
    images: Tensor


class PublishedSampler:
    """A policy's steps, as the released sampler takes them: the network on a batch, the rest image by image."""

    def __init__(self, policy: Any, scheduler: Any) -> None:
        # Float64, or the first step from pure noise loses half of its digits in 1 - spread^2.
        self.policy, self.alpha_bars = policy, scheduler.alphas_cumprod.double().to(policy.device)
        self.kind = scheduler.config.prediction_type
        self.consistency = policy if isinstance(policy, LatentConsistency) else None
        if self.consistency is not None:
            times = list(policy.times)
            self.scaling, self.final = scheduler.config.timestep_scaling, self.alpha_bars.new_ones(())
            following = [*times[1:], -1]
        else:
            scheduler.set_timesteps(policy.num_steps)
            times = scheduler.timesteps.tolist()
            self.final = scheduler.final_alpha_cumprod.double().to(policy.device)
            stride = scheduler.config.num_train_timesteps // policy.num_steps
            following = [time - stride for time in times]
        self.times = torch.tensor(times, device=policy.device)
        self.following = torch.tensor(following, device=policy.device)

    def rollout(self, prompts: list[str], draw: Callable[[tuple[int, ...]], Tensor]) -> Rolls:
        """Images of the prompts, whose text is encoded now; `draw` gives standard normal noise of a shape."""
        policy, shape = self.policy, (len(prompts), *self.policy.noise_shape)
        states, log_probs = [draw(shape).to(policy.device)], []
        with torch.no_grad():
            text = policy.encode(prompts).states
            clean = states[0]
            for step in range(policy.num_steps):
                index = torch.full((len(prompts),), step, device=policy.device)
                means, spreads, clean = self.step(states[-1], index, text)
                noise = draw(shape).to(policy.device)
                states.append(torch.stack([m + s * n for m, s, n in zip(means, spreads, noise, strict=True)]))
                log_probs.append(log_densities(means, spreads, states[-1]))
            return Rolls(torch.stack(states, 1), torch.stack(log_probs, 1), text, policy.decode(clean))

    def step(self, latents: Tensor, index: Tensor, text: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Means and spreads, one of each per image, and the clean latents or where the last step goes, (B, ...)."""
        prediction = self.predict(latents, self.times[index], text)
        means, spreads, ends = [], [], []
        for row in range(len(latents)):
            step = int(index[row].item())
            mean, spread = self.step_of_one(prediction[row], latents[row], step)
            ends.append(mean)
            if step == self.policy.num_steps - 1:
                # The noise of the step before, once more.
                spread = self.spread_of(step - 1)
                mean = (1 - spread**2).sqrt() * mean
            means.append(mean)
            spreads.append(spread)
        return means, spreads, torch.stack(ends)

    def step_of_one(self, prediction: Tensor, latents: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean and spread of one image's step."""
        now, then = self.alpha_bars[int(self.times[step].item())], self.then(step)
        signal, noise = now.sqrt(), (1 - now).sqrt()
        if self.kind == "epsilon":
            clean = (latents - noise * prediction) / signal
        elif self.kind == "v_prediction":
            clean = signal * latents - noise * prediction
        else:
            clean = prediction
        if self.consistency is not None:
            scaled = self.times[step].item() * self.scaling
            clean = scaled / math.sqrt(scaled**2 + 0.25) * clean + 0.25 / (scaled**2 + 0.25) * latents
            return then.sqrt() * clean, (1 - then).sqrt()
        spread = self.spread_of(step)
        rest = (latents - signal * clean) / noise
        return then.sqrt() * clean + (1 - then - spread**2).clamp_min(0).sqrt() * rest, spread

    def spread_of(self, step: int) -> Tensor:
        then = self.then(step)
        if self.consistency is not None:
            return (1 - then).sqrt()
        now = self.alpha_bars[int(self.times[step].item())]
        return ((1 - then) / (1 - now) * (1 - now / then)).clamp_min(0).sqrt()

    def then(self, step: int) -> Tensor:
        following = int(self.following[step].item())
        return self.alpha_bars[following] if following >= 0 else self.final

    def predict(self, latents: Tensor, times: Tensor, text: Tensor) -> Tensor:
        policy = self.policy
        if self.consistency is not None:
            size = policy.denoiser.config.time_cond_proj_dim
            embedding = None
            if size is not None:
                embedding = guidance_embedding(policy.guidance, size).to(latents).expand(len(latents), -1)
            found = policy.denoiser(latents, times, encoder_hidden_states=text, timestep_cond=embedding)
            return found.sample
        if policy.guidance == 1:
            return policy.denoiser(latents, times, encoder_hidden_states=text).sample
        empty = policy.encode([""] * len(latents)).states
        found = policy.denoiser(
            torch.cat([latents, latents]), torch.cat([times, times]), encoder_hidden_states=torch.cat([empty, text])
        )
        without, given = found.sample.chunk(2)
        return without + policy.guidance * (given - without)


def log_densities(means: list[Tensor], spreads: list[Tensor], actions: Tensor) -> Tensor:
    """(B,): of each image's action, the mean over its numbers."""
    found = [
        (-((action - mean) ** 2) / (2 * spread**2) - spread.log() - 0.5 * math.log(2 * math.pi)).mean()
        for mean, spread, action in zip(means, spreads, actions, strict=True)
    ]
    return torch.stack(found)


def published_gradient(
    sampler: PublishedSampler, rolls: Rolls, advantages: Tensor, objective: str, batch: int, *, rng: torch.Generator
) -> None:
    """Add the gradient of an update to the parameters': `batch` images, one step of each, at a time."""
    count, steps = rolls.log_probs.shape
    orders = torch.stack([torch.randperm(steps, generator=rng) for _ in range(count)])
    if objective == "rebel":
        for pairs in torch.randperm(count // 2, generator=rng).split(max(1, batch // 2)):
            rows = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
            moved = sum(moved_at(sampler, rolls, rows, orders[rows, place]) for place in range(steps))
            one, other = moved.view(-1, 2).unbind(1)
            target, against = advantages[rows].view(-1, 2).unbind(1)
            loss = ((one - other) - (target - against)).square()
            # All steps' graphs are held until here.
            (loss.sum() / (count // 2)).backward()
        return
    for rows in torch.randperm(count, generator=rng).split(batch):
        for place in range(steps):
            moved = moved_at(sampler, rolls, rows, orders[rows, place])
            loss = clipped_policy_loss(moved, advantages[rows], low=1 - CLIP, high=1 + CLIP)
            (loss.sum() / (count * steps)).backward()


def moved_at(sampler: PublishedSampler, rolls: Rolls, rows: Tensor, step: Tensor) -> Tensor:
    """How much the log-densities (B,) of the actions have changed since they were taken."""
    rows, step = rows.to(rolls.states.device), step.to(rolls.states.device)
    means, spreads, _ = sampler.step(rolls.states[rows, step], step, rolls.text[rows])
    return log_densities(means, spreads, rolls.states[rows, step + 1]) - rolls.log_probs[rows, step]
