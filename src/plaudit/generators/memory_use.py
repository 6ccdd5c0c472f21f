"""What one step of drawing or of noise optimisation uses, beside the weights: counted by running it.

Without weights (`sizes_only`) that takes no memory and says what a real run will use; with weights it measures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.generators.allocations import Kept, Ledger, fused_attention
from plaudit.generators.decoding import LatentGenerator
from plaudit.rewards.reward import Reward

PROMPT = "a red fox"


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes on the generator's device, without any weights."""

    kept: Mapping[str, int]
    """what autograd keeps for the gradient, by who made it: denoiser, decoder, rest"""
    peak: int
    """the most at once, from reading the prompts to the gradient in the noise"""
    image_size: int
    """of the images drawn, in pixels"""


def memory_use(
    generator: Any,
    *,
    batch_size: int,
    rewards: Sequence[tuple[Reward, Sequence[nn.Module]]] = (),
    gradient: bool = True,
) -> MemoryUse:
    """One step for `batch_size` images: draw them, judge them by one reward after the other, go back to the noise.

    `rewards` with their networks, on the generator's device. Without `gradient`: drawing and judging alone.
    """
    weights = list(weights_of(generator, [network for _, networks in rewards for network in networks]))
    kept = Kept({"denoiser": generator.denoiser, "decoder": generator.vae.decoder}, weights=weights)
    ledger = Ledger(generator.device)
    ledger.leave_out(weights)
    prompts = [PROMPT] * batch_size
    with fused_attention(), ledger, torch.set_grad_enabled(gradient):
        condition = generator.encode(prompts)
        noise = torch.zeros(batch_size, *generator.noise_shape, device=generator.device, requires_grad=gradient)
        with kept.counting():
            images = generator.sample(noise, condition)
        found = kept.bytes()
        slope = torch.zeros_like(images, requires_grad=False)
        for reward, _ in rewards:
            slope = slope + _judge(reward, images.detach(), prompts, gradient)
        if gradient:
            torch.autograd.grad(images, noise, slope)
    return MemoryUse(kept=found, peak=ledger.peak, image_size=int(images.shape[-1]))


def weights_of(generator: LatentGenerator, others: Sequence[nn.Module] = ()) -> Iterator[Tensor]:
    """All weights and buffers of a generator's networks, and of others."""
    for network in (generator.denoiser, generator.vae, *generator.text_encoders, *others):
        yield from network.parameters()
        yield from network.buffers()


def _judge(reward: Reward, images: Tensor, prompts: Sequence[str], gradient: bool) -> Tensor:
    """The reward's gradient in the images, zero without; its own graph is gone when this returns."""
    if not (gradient and reward.differentiable):
        with torch.no_grad():
            reward(images, prompts)
        return torch.zeros_like(images)
    leaf = images.requires_grad_()
    return torch.autograd.grad(reward(leaf, prompts).sum(), leaf)[0]
