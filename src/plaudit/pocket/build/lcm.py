"""pocket-lcm: pocket-base in 1 to 8 steps, as a latent consistency model that is told its guidance.

First it learns to agree with itself along the teacher's guided path (consistency distillation, Luo et al. 2023, LCM,
algorithm 1; the target is the student itself without a gradient, as Song and Dhariwal 2023 found better). That alone
gives blurred pictures in few steps; so its samples, after any step of its own sampler, are then matched with the
teacher's distribution (matching.py; over several steps: Yin et al. 2024b, "DMD2").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import LCMScheduler, UNet2DConditionModel
from torch import Tensor

from plaudit.core.devices import fast_autocast
from plaudit.generators.lcm import guidance_embedding, sampling_times
from plaudit.pocket.build.base import Batches, new_scheduler, new_unet, with_plain_attention
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.build.matching import at_times, clean_of, follow, matched
from plaudit.pocket.build.turbo import Teacher

AGREE_PLAN = Plan(steps=900, batch=64, lr=4e-4, warmup=50, ema=0.99, decay=0.5)
MATCH_PLAN = Plan(steps=1500, batch=64, lr=1.5e-4, warmup=50, ema=0.99, betas=(0.5, 0.99), decay=0.4)
FOLLOW_FASTER = 2.5
"""the follower's learning rate, in the student's"""
EMBEDDING = 64
"""numbers in the guidance embedding"""
GUIDANCE = (1.0, 5.0)
"""the guidances it is taught"""
ORIGINAL_STEPS = 50
"""times it is distilled at: 19, 39, ... 999"""
STRIDE = 1000 // ORIGINAL_STEPS
STEPS = (1, 2, 4, 8)
"""numbers of steps whose pictures are matched"""


def new_lcm_scheduler() -> LCMScheduler:
    """LCM's sampler on pocket-base's schedule."""
    base = new_scheduler().config
    kept = ("num_train_timesteps", "beta_schedule", "prediction_type", "rescale_betas_zero_snr", "set_alpha_to_one")
    return LCMScheduler(
        original_inference_steps=ORIGINAL_STEPS, clip_sample=False, **{name: base[name] for name in kept}
    )


def with_guidance(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of the denoiser that is also told the guidance, and does not heed it yet."""
    told = new_unet(guidance_embedding=EMBEDDING)
    told.load_state_dict(unet.state_dict(), strict=False)
    torch.nn.init.zeros_(told.time_embedding.cond_proj.weight)
    return with_plain_attention(told.to(unet.device))


@dataclass(frozen=True, kw_only=True)
class Told:
    """A denoiser with all it is told but latents and times: the prompts and the guidances."""

    unet: UNet2DConditionModel
    alphas: Tensor
    states: Tensor
    """(B, 32, 128)"""
    guidance: Tensor
    """(B, 1, 1, 1), even over GUIDANCE"""

    def predict(self, noisy: Tensor, times: Tensor) -> Tensor:
        """The v-prediction of noisy latents at times (B,)."""
        told = [guidance_embedding(float(one), EMBEDDING) for one in self.guidance]
        with fast_autocast(noisy.device):
            v: Tensor = self.unet(
                noisy, times, encoder_hidden_states=self.states, timestep_cond=torch.cat(told).to(noisy.device)
            ).sample
        return v

    def clean(self, noisy: Tensor, times: Tensor) -> Tensor:
        """The clean latents it sees. LCM's boundary scalings are left out: from time 19 on they change nothing."""
        return clean_of(noisy, self.predict(noisy, times).float(), self.alphas, times)


def draw_guidance(draws: Draws, count: int) -> Tensor:
    """Guidances (B, 1, 1, 1), even over GUIDANCE."""
    low, high = GUIDANCE
    return (low + (high - low) * draws.uniform(count)).view(-1, 1, 1, 1)


def agree(student: UNet2DConditionModel, teacher: Teacher, batches: Batches, state: Path) -> Iterator[Progress]:
    """Teach the student to see the same picture from every place of the teacher's guided path."""
    device, alphas = batches.device, teacher.alphas
    trainee = Trainee({"unet": student.train()}, AGREE_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        latents, states = batches.draw(draws, AGREE_PLAN.batch)
        told = Told(unet=student, alphas=alphas, states=states, guidance=draw_guidance(draws, len(latents)).to(device))
        steps = torch.from_numpy(draws.numpy.integers(1, ORIGINAL_STEPS + 1, size=len(latents)))
        times = (steps * STRIDE - 1).to(device)
        noisy = at_times(latents, draws.normal(*latents.shape).to(device), alphas, times)
        guided = teacher.clean(noisy, times, states, guidance=told.guidance)
        loss = F.huber_loss(told.clean(noisy, times), seen_nearer(told, noisy, guided, times), delta=0.1)
        return loss / 0.1, {}

    yield from train("pocket-lcm-agree", trainee, loss_of, state)
    trainee.use_average()


@torch.no_grad()
def seen_nearer(told: Told, noisy: Tensor, guided: Tensor, times: Tensor) -> Tensor:
    """What the student sees one DDIM step further along, towards `guided`; behind the last time that is `guided`."""
    alpha = told.alphas[times].view(-1, 1, 1, 1)
    noise = (noisy - alpha.sqrt() * guided) / (1 - alpha).sqrt()
    before = times - STRIDE
    at = before.clamp_min(0)
    seen = told.clean(at_times(guided, noise, told.alphas, at), at)
    return torch.where((before < 0).view(-1, 1, 1, 1), guided, seen)


def match(student: UNet2DConditionModel, teacher: Teacher, batches: Batches, state: Path) -> Iterator[Progress]:
    """Move what the student draws in 1, 2, 4 or 8 steps onto the teacher's distribution; then it is the average."""
    device, alphas = batches.device, teacher.alphas
    follower = with_guidance(teacher.unet)
    modules = {"student": student.train().requires_grad_(True), "follower": follower.train()}
    trainee = Trainee(modules, MATCH_PLAN, faster={"follower": FOLLOW_FASTER})
    times_of = {steps: sampling_times(steps, "stride", new_lcm_scheduler().config) for steps in STEPS}

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        latents, states = batches.draw(draws, MATCH_PLAN.batch)
        guidance = draw_guidance(draws, len(latents)).to(device)
        told = Told(unet=student, alphas=alphas, states=states, guidance=guidance)
        fake = replace(told, unet=follower).predict
        times = times_of[STEPS[draws.numpy.integers(len(STEPS))]]
        last = int(draws.numpy.integers(len(times)))
        made = drawn(told, times[: last + 1], draws, latents.shape)
        real = partial(teacher.clean, states=states, guidance=guidance)
        moved, distance = matched(made, real, fake, alphas, draws)
        following = follow(made.detach(), fake, alphas, draws)
        return moved + following, {"follow": following, "distance": distance}

    yield from train("pocket-lcm-match", trainee, loss_of, state)
    trainee.use_average()
    student.eval().requires_grad_(False)


def drawn(told: Told, times: Sequence[int], draws: Draws, shape: Sequence[int]) -> Tensor:
    """Clean latents at the last of the times, along the student's own sampler; a gradient passes that step only."""
    device = told.states.device
    clean = torch.zeros(*shape, device=device)
    for number, time in enumerate(times):
        at = torch.full((len(clean),), time, device=device)
        noisy = at_times(clean, draws.normal(*shape).to(device), told.alphas, at)
        with torch.set_grad_enabled(number == len(times) - 1):
            clean = told.clean(noisy, at)
    return clean
