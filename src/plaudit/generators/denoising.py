"""A denoiser at any noise level, whatever its network predicts: what it takes the clean latents to be.

For methods that own the sampling loop: a few-step generator is a denoiser walked down a grid of levels. Latents at a
level are x = signal * clean + noise * eps, with eps standard normal. Diffusion models (Ho et al. 2020) keep signal^2 +
noise^2 = 1, flows (Liu et al. 2022; Esser et al. 2024) signal + noise = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from plaudit.core.devices import check_fast_bfloat16, fast_autocast
from plaudit.core.errors import BadConfig
from plaudit.generators.generator import Condition
from plaudit.generators.step_policy import check_prediction, predict_clean, rows_of

Rule = Literal["interpolate", "ddim"]
"""how a step that draws noise mixes it with the noise that is predicted"""


@dataclass(frozen=True, kw_only=True)
class Level:
    """How noisy each of B latents is."""

    time: Tensor
    """(B,), as the network is told it"""
    signal: Tensor
    """(B,), float32"""
    noise: Tensor
    """(B,), float32"""

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: Any) -> "Level":
        return Level(time=self.time[rows], signal=self.signal[rows], noise=self.noise[rows])

    def noised(self, clean: Tensor, eps: Tensor) -> Tensor:
        """Clean latents (B, ...) at these levels, with standard normal `eps` of the same shape."""
        return rows_of(self.signal, clean) * clean + rows_of(self.noise, clean) * eps

    def noise_in(self, latents: Tensor, clean: Tensor) -> Tensor:
        """The eps (B, ...) that `clean` leaves of the latents at these levels, none of which may be free of noise."""
        return (latents - rows_of(self.signal, clean) * clean) / rows_of(self.noise, clean)


@runtime_checkable
class Denoising(Protocol):
    """A generator's denoiser at any noise level. Rows of a batch are independent, and may be at different levels."""

    noise_shape: tuple[int, ...]
    device: torch.device
    variance_preserving: bool
    """whether signal^2 + noise^2 = 1, which DDIM's rule needs"""

    @property
    def denoiser(self) -> nn.Module:
        """The network, which may be one in training."""
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The prompts' conditions, made once per run; that of "" is the unconditional one."""
        ...

    def grid(self, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Level:
        """Where the steps of a sampler start, (num_steps,), from pure noise down; after the last all is clean.

        Equal strides; a `shift` above 1 crowds them towards the noise, as `shifted` does. A `start` below 1 is the
        place in the schedule of the first: pure noise is then taken for latents that hold a little of a picture.
        """
        ...

    def level_at(self, place: Tensor) -> Level:
        """The levels at these places (B,) of the schedule, between 0 (clean) and 1 (pure noise)."""
        ...

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        """The clean latents (B, *noise_shape), float32, that the network sees in these. Never decides about
        gradients."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] of clean latents."""
        ...


class DiffusionDenoising:
    """A Stable Diffusion's U-Net at any of its training times. A Denoising.

    The grid counts times from the top in equal strides ("trailing", Lin et al. 2024), so that it starts from pure
    noise for any number of steps; diffusers' DDIMScheduler with that spacing walks the same one.
    """

    variance_preserving = True

    def __init__(self, generator: Any, *, denoiser: nn.Module | None = None) -> None:
        """`denoiser` takes the place of the generator's own. Raises BadConfig for a schedule without a start."""
        self.denoiser: nn.Module = generator.unet if denoiser is None else denoiser
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self.encode, self.decode = generator.encode, generator.decode
        config = generator.scheduler.config
        self._kind: str = config.prediction_type
        # Not every scheduler keeps a zero signal-to-noise ratio: Euler's replaces it by a small one. DDIM's is exact.
        alpha_bars = trailing_scheduler(config).alphas_cumprod.double()
        check_prediction(self._kind, float(alpha_bars[-1]))
        self._signal, self._noise = (
            numbers.float().to(self.device) for numbers in (alpha_bars.sqrt(), (1 - alpha_bars).sqrt())
        )
        self._alpha_bars = alpha_bars.float().to(self.device)

    def grid(self, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Level:
        """The trailing times of so many steps. Raises BadConfig for more steps than there are times."""
        check_start(start)
        count = len(self._signal)
        if not 1 <= num_steps <= count:
            raise BadConfig(f"this model takes 1 to {count} steps, got {num_steps}")
        times = trailing_times(count, num_steps, shift, start)
        if len(times.unique()) < num_steps or int(times[-1]) < 0:
            raise BadConfig(f"{num_steps} steps at a shift of {shift:g} would take a time twice; take fewer of either")
        return self._level(times)

    def level_at(self, place: Tensor) -> Level:
        """Levels (B,) at places between 0 and 1, at the nearest training time."""
        return self._level((place * (len(self._signal) - 1)).round().long())

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        """The clean latents (B, *noise_shape), float32, that the U-Net sees in these."""
        states = condition.states
        latents = latents.float()
        prediction = self.denoiser(latents.to(states.dtype), level.time, encoder_hidden_states=states).sample.float()
        return predict_clean(self._kind, prediction, latents, self._alpha_bars[level.time])

    def _level(self, times: Tensor) -> Level:
        times = times.to(self.device)
        return Level(time=times, signal=self._signal[times], noise=self._noise[times])


class FlowDenoising:
    """A Stable Diffusion 3's transformer at any place of its flow. A Denoising.

    Both grid and places go through the scheduler's shift towards noise (Esser et al. 2024, section 5.3.2).
    """

    variance_preserving = False

    def __init__(self, generator: Any, *, denoiser: nn.Module | None = None) -> None:
        """`denoiser` takes the place of the generator's own."""
        self.denoiser: nn.Module = generator.transformer if denoiser is None else denoiser
        self.noise_shape, self.device = generator.noise_shape, generator.device
        self.encode, self.decode = generator.encode, generator.decode
        config = generator.scheduler.config
        self._shift, self._count = float(config.shift), int(config.num_train_timesteps)

    def grid(self, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Level:
        """Equal strides from pure noise; `shift` is on top of the scheduler's own. Raises BadConfig below one step."""
        check_start(start)
        if num_steps < 1:
            raise BadConfig(f"this model takes at least 1 step, got {num_steps}")
        return self.level_at(start * shifted(1 - torch.arange(num_steps) / num_steps, shift))

    def level_at(self, place: Tensor) -> Level:
        """Levels (B,) at places between 0 and 1, before the shift."""
        place = place.to(self.device).float()
        sigma = shifted(place, self._shift)
        return Level(time=sigma * self._count, signal=1 - sigma, noise=sigma)

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        """The clean latents (B, *noise_shape), float32, that the transformer sees in these."""
        latents = latents.float()
        velocity = self.denoiser(
            hidden_states=latents.to(condition.states.dtype),
            timestep=level.time,
            encoder_hidden_states=condition.states,
            pooled_projections=condition.pooled,
        ).sample.float()
        return latents - rows_of(level.noise, latents) * velocity


class Frozen:
    """A denoiser under a LoRA, as it was before there was one. A Denoising."""

    def __init__(self, denoising: Denoising) -> None:
        self.denoising, self.denoiser = denoising, denoising.denoiser
        self.noise_shape, self.device = denoising.noise_shape, denoising.device
        self.variance_preserving = denoising.variance_preserving
        self.encode, self.decode = denoising.encode, denoising.decode
        self.grid, self.level_at = denoising.grid, denoising.level_at

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        """The clean latents (B, *noise_shape), float32, that the pretrained network sees in these."""
        from plaudit.generators.trained_part import without_lora

        with without_lora(self.denoiser):
            return self.denoising.clean(latents, level, condition)


class DenoisingInBfloat16:
    """A denoiser and a decoder that multiply in bfloat16, while everything around them stays float32. A Denoising."""

    def __init__(self, denoising: Denoising) -> None:
        """Raises BadConfig where bfloat16 is not native: there it is slower than float32, on CPUs by hundreds."""
        check_fast_bfloat16(denoising.device)
        self.denoising, self.denoiser = denoising, denoising.denoiser
        self.noise_shape, self.device = denoising.noise_shape, denoising.device
        self.variance_preserving = denoising.variance_preserving
        self.encode, self.grid, self.level_at = denoising.encode, denoising.grid, denoising.level_at

    def clean(self, latents: Tensor, level: Level, condition: Any) -> Tensor:
        """As the denoiser does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return self.denoising.clean(latents, level, condition)

    def decode(self, latents: Tensor) -> Tensor:
        """As the denoiser does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return self.denoising.decode(latents)


def denoising_of(generator: Any, *, denoiser: nn.Module | None = None) -> Denoising:
    """A generator's denoiser at any level; `denoiser` takes the place of its own network.

    Raises BadConfig for a generator whose network is none, or is made for one or few levels only.
    """
    from plaudit.generators.few_steps import FewSteps
    from plaudit.generators.sd3 import StableDiffusion3
    from plaudit.generators.stable_diffusion import StableDiffusion

    if isinstance(generator, FewSteps):
        generator = generator.generator
    if isinstance(generator, StableDiffusion):
        return DiffusionDenoising(generator, denoiser=denoiser)
    if isinstance(generator, StableDiffusion3):
        return FlowDenoising(generator, denoiser=denoiser)
    raise BadConfig(
        f"{type(generator).__name__} is not a denoiser at every noise level; a Stable Diffusion 1, 2 or 3 is"
    )


def trailing_scheduler(config: Any) -> Any:
    """The DDIMScheduler of this config that starts from pure noise in any number of steps and clips nothing."""
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(
        config, timestep_spacing="trailing", clip_sample=False, thresholding=False, set_alpha_to_one=True
    )


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """The noise that a step draws for B latents."""

    noise: Tensor
    """(B, ...), standard normal"""
    eta: Tensor
    """(B,), its share, in [0, 1]"""
    rule: Rule = "interpolate"


def step_down(latents: Tensor, clean: Tensor, now: Level, then: Level, fresh: Fresh) -> Tensor:
    """Latents (B, ...) at the levels `then`, of those at `now` in which `clean` is seen.

    interpolate: the noise is sqrt(1 - eta^2) of the predicted and eta of the fresh, at any level; eta 0 follows the
    ODE, eta 1 forgets the predicted noise, as consistency models do. ddim: Song et al. 2021, equations 12 and 16, for
    models that preserve variance; eta 1 is about as random as DDPM.
    """
    predicted = now.noise_in(latents, clean)
    if fresh.rule == "interpolate":
        spread = then.noise * fresh.eta
    else:
        ratio = (now.signal / then.signal.clamp_min(1e-12)).square()
        spread = fresh.eta * (then.noise / now.noise) * (1 - ratio).clamp_min(0).sqrt()
    kept = (then.noise.square() - spread.square()).clamp_min(0).sqrt()
    mixed = rows_of(kept, clean) * predicted + rows_of(spread, clean) * fresh.noise
    return rows_of(then.signal, clean) * clean + mixed


def follow_ode(denoising: Denoising, noise: Tensor, condition: Any, grid: Level) -> Tensor:
    """The clean latents (B, ...) at the end of the grid, from noise (B, ...), with nothing drawn on the way."""
    latents, now = noise.float(), _all_at(grid, 0, noise)
    still = Fresh(noise=torch.zeros_like(latents), eta=torch.zeros(len(noise), device=noise.device))
    for step in range(1, len(grid)):
        then = _all_at(grid, step, noise)
        latents = step_down(latents, denoising.clean(latents, now, condition), now, then, still)
        now = then
    return denoising.clean(latents, now, condition)


def _all_at(grid: Level, step: int, like: Tensor) -> Level:
    return grid[torch.full((len(like),), step, device=like.device)]


def shifted(place: Tensor, shift: float) -> Tensor:
    """Places between 0 and 1 moved towards 1, both ends staying: s p / (1 + (s - 1) p) (Esser et al. 2024, eq. 23).

    Raises BadConfig for a shift that is not positive.
    """
    if not 0 < shift < float("inf"):
        raise BadConfig(f"a grid's shift must be a positive number (1: none), got {shift:g}")
    return shift * place / (1 + (shift - 1) * place)


def trailing_times(count: int, num_steps: int, shift: float = 1.0, start: float = 1.0) -> Tensor:
    """The times (num_steps,) of `count` at which steps start, falling from the last: equal strides, shifted."""
    # Summed up as diffusers does, so that halves are rounded to the same side.
    even = torch.from_numpy(np.arange(count, 0, -count / num_steps)[:num_steps])
    return (even if shift == start == 1 else start * shifted(even / count, shift) * count).round().long() - 1


def check_start(start: float) -> None:
    """Raises BadConfig for a place that no grid can start from."""
    if not 0 < start <= 1:
        raise BadConfig(f"a grid starts at a place of the schedule above 0 and up to 1 (pure noise), got {start:g}")


def check_rule(rule: str, denoising: Denoising) -> None:
    """Raises BadConfig for a rule that is not known, or does not fit the denoiser's levels."""
    if rule not in get_args(Rule):
        raise BadConfig(f"a step mixes its noise by {' or '.join(get_args(Rule))}, got {rule!r}")
    if rule == "ddim" and not denoising.variance_preserving:
        raise BadConfig("DDIM's rule is for models that preserve variance, and a flow does not; use interpolate")
