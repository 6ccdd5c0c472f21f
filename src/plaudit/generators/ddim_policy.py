"""DDIM with noise, as a policy: Stable Diffusion's many steps for policy gradients (DDPO, Black et al. 2023).

Song et al. 2021, equations 12 and 16: eta scales the noise of every step, from 0 (the deterministic sampler) to 1
(about as random as DDPM). Differs from DDPO's code in the last step, which draws nothing and is not trained, and in
never clipping the clean prediction, which would make the mean blind to what lies beyond.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.conditions import guide
from plaudit.generators.generator import Transition
from plaudit.generators.stable_diffusion import StableDiffusion, TextStates
from plaudit.generators.step_policy import check_prediction, predict_clean, rows_of


class DDIMPolicy:
    """The steps of a Stable Diffusion, with its number of steps and its guidance, as Gaussians. A StepPolicy.

    Classifier-free guidance is part of the mean: both of its predictions are made in one batch, and trained.
    """

    def __init__(self, generator: StableDiffusion, *, eta: float = 1.0) -> None:
        """At eta 0 nothing is drawn, and the steps are those of DDIM's ODE.

        Raises BadConfig for an eta outside [0, 1], or a schedule from which the first step would not be finite.
        """
        if not 0 <= eta <= 1:
            raise BadConfig(f"DDIM's eta lies between 0 (draws nothing) and 1 (as DDPM), got {eta}")
        self.generator, self.eta, self.guidance = generator, eta, generator.guidance
        self.denoiser: nn.Module = generator.unet
        self.device, self.noise_shape = generator.device, generator.noise_shape
        self.num_steps = generator.steps
        self._set_schedule()
        self._empty = generator.encode([""]).states if self.guidance != 1.0 else None

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """The text encoder's states; equal prompts are encoded once."""
        return self.generator.encode(prompts)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of clean latents."""
        return self.generator.decode(latents)

    def step(self, latents: Tensor, index: Tensor, condition: Any) -> Transition:
        """From `latents` (B, *noise_shape) at steps `index` (B,): one DDIM step. Rows may be at different steps."""
        latents = latents.float()
        alpha_bar = self._alpha_bars[index]
        prediction = self._predict(latents, self._times[index], condition.states)
        clean = predict_clean(self._kind, prediction, latents, alpha_bar)
        # For any kind of prediction the noise is what the clean latents leave of the latents.
        noise = (latents - rows_of(alpha_bar.sqrt(), latents) * clean) / rows_of((1 - alpha_bar).sqrt(), latents)
        mean = rows_of(self._signal[index], latents) * clean + rows_of(self._direction[index], latents) * noise
        return Transition(mean=mean, spread=self._spread[index])

    def _predict(self, latents: Tensor, times: Tensor, states: Tensor) -> Tensor:
        """The U-Net's prediction (B, *noise_shape), float32, guided away from the empty prompt's."""
        given = latents.to(states.dtype)
        if self._empty is None:
            return self.denoiser(given, times, encoder_hidden_states=states).sample.float()
        both = torch.cat([self._empty.expand(len(states), -1, -1), states])
        prediction = self.denoiser(torch.cat([given, given]), times.repeat(2), encoder_hidden_states=both).sample
        return guide(prediction.float(), self.guidance)

    def _set_schedule(self) -> None:
        """Each step's numbers, (H,) on the device, so that rows at different steps are looked up together."""
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(self.generator.scheduler.config)
        scheduler.set_timesteps(self.num_steps)
        times = scheduler.timesteps.long()
        self._kind: str = scheduler.config.prediction_type
        alpha_bars = scheduler.alphas_cumprod.double()
        # The same stride after every step, also where the times are rounded: the sampler must be diffusers'.
        following = times - scheduler.config.num_train_timesteps // self.num_steps
        final = scheduler.final_alpha_cumprod.double()
        now, then = alpha_bars[times], torch.where(following >= 0, alpha_bars[following.clamp_min(0)], final)
        check_prediction(self._kind, float(now[0]))
        spread = self.eta * ((1 - then) / (1 - now) * (1 - now / then)).clamp_min(0).sqrt()  # equation 16
        spread[-1] = 0.0
        # Equation 12. From pure noise at eta 1 all of it is fresh, and rounding must not take a root of less than 0.
        direction = (1 - then - spread**2).clamp_min(0).sqrt()
        placed = [number.float().to(self.device) for number in (now, then.sqrt(), direction, spread)]
        self._alpha_bars, self._signal, self._direction, self._spread = placed
        self._times = times.to(self.device)
