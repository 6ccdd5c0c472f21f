"""Distribution matching distillation (Yin et al. 2024, "DMD"): what every student of pocket-base learns by at last.

The student's samples are moved along the difference of two scores: the teacher's, under classifier-free guidance, and
that of a second network, the follower, which learns the student's own distribution as it changes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from plaudit.pocket.build.loop import Draws

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""what a network says of noisy latents (B, C, H, W) at times (B,): its v-prediction, or the clean latents"""


def noised(made: Tensor, alphas: Tensor, draws: Draws, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
    """The latents at random times from `low` to before `high`, the times, and the noise."""
    times = (low + draws.uniform(len(made)) * (high - low)).long().to(made.device)
    noise = draws.normal(*made.shape).to(made.device)
    return at_times(made, noise, alphas, times), times, noise


def at_times(clean: Tensor, noise: Tensor, alphas: Tensor, times: Tensor) -> Tensor:
    """Clean latents, mixed with as much noise as their times (B,) have."""
    alpha = alphas[times][:, None, None, None]
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def clean_of(noisy: Tensor, v: Tensor, alphas: Tensor, times: Tensor) -> Tensor:
    """The clean latents that a v-prediction stands for (Salimans & Ho 2022, appendix D)."""
    alpha = alphas[times][:, None, None, None]
    return alpha.sqrt() * noisy - (1 - alpha).sqrt() * v


def follow(made: Tensor, follower: Denoiser, alphas: Tensor, draws: Draws) -> Tensor:
    """The follower's own diffusion loss on the student's samples; `follower` predicts v."""
    noisy, times, noise = noised(made, alphas, draws, 0, 1000)
    alpha = alphas[times][:, None, None, None]
    v = follower(noisy, times)
    return (v.float() - (alpha.sqrt() * noise - (1 - alpha).sqrt() * made)).square().mean()


def matched(made: Tensor, real: Denoiser, follower: Denoiser, alphas: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """A loss whose gradient is DMD's (Yin et al. 2024, eq. 7 and 8), and how far apart the two models are.

    `real` predicts the clean latents, `follower` v.
    """
    with torch.no_grad():
        noisy, times, _ = noised(made, alphas, draws, 20, 980)
        wanted = real(noisy, times)
        fake = clean_of(noisy, follower(noisy, times).float(), alphas, times)
        weight = (made - wanted).abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)
        target = made - (fake - wanted) / weight
    return 0.5 * (made - target).square().mean(), (fake - wanted).abs().mean()
