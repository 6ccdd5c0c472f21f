"""What the policies over sampling steps share: densities, divergence and rollout, as functions of tensors.

Sampling in a few Gaussian steps is a decision process: the state is the latents, the action the next latents (DDPO,
Black et al. 2023; RLCM, Oertell et al. 2024). Shape letters: B images, H steps, D numbers in one image's latents.

The density of a whole action is a sum over D numbers, and at D = 36,864 the smallest update moves it by more than any
clip range. The papers take the mean per number instead, on which their clip of 1e-4 rests: `per_number=True`. It makes
the settings of a method depend on the size of the images, so which of the two is meant is said at every call.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import Condition, StepPolicy, Transition


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """B images on their way from noise to clean latents."""

    states: Tensor
    """(B, H + 1, ...), float32: the noise, then each action; [:, k] is where step k starts, the last is clean"""
    log_probs: Tensor
    """(B, H), float32: of each action under the policy that took it; 0 where nothing was drawn"""


def log_prob(transition: Transition, action: Tensor, *, per_number: bool = False) -> Tensor:
    """The Gaussian log-density (B,), float32, of the actions (B, ...): the sum over a row's numbers, or their mean.

    A row with spread 0 has no density, as its step draws nothing: its value is 0, and so is its gradient. Gradients
    reach the action as well as the mean: detach an action that was taken before.
    """
    drawn, spread = _spread_of_rows(transition)
    distances = _per_row((action.float() - transition.mean.float()) ** 2, mean=per_number)
    count = 1 if per_number else action[0].numel()
    density = -distances / (2 * spread**2) - count * (spread.log() + 0.5 * math.log(2 * math.pi))
    return torch.where(drawn, density, 0.0)


def kl(transition: Transition, reference: Transition, *, per_number: bool = False) -> Tensor:
    """The divergence KL(transition || reference), (B,), float32, of Gaussians with the same spread.

    The schedule alone sets the spread, so a policy shares it with the one it started from. Where the spread is 0
    there is no divergence to speak of: 0.
    """
    drawn, spread = _spread_of_rows(transition)
    distances = _per_row((transition.mean.float() - reference.mean.float()) ** 2, mean=per_number)
    return torch.where(drawn, distances / (2 * spread**2), 0.0)


def act(transition: Transition, noise: Tensor) -> Tensor:
    """The action (B, ...) that standard normal noise of the same shape draws."""
    return transition.mean + rows_of(transition.spread, noise) * noise


def noised_again(clean: Tensor, spread: Tensor) -> Transition:
    """Clean latents (B, ...) mixed with noise of this spread, (1,) or (B,), as a step of the sampler would mix them.

    The variance of standard normal latents is preserved. What the published code of RLCM draws after the last step,
    for nobody: the image is made of the clean latents.
    """
    spreads = spread.expand(len(clean))
    return Transition(mean=rows_of((1 - spreads**2).clamp_min(0).sqrt(), clean) * clean, spread=spreads)


def rollout(
    policy: StepPolicy,
    noise: Tensor,
    condition: Condition,
    draws: Callable[[int], Tensor],
    *,
    per_number: bool = False,
) -> Trajectory:
    """From standard normal noise (B, *noise_shape) to clean latents; `draws` gives each step's noise, alike in shape.

    Never decides about gradients: call it under no_grad unless they are to pass through the whole chain. The images
    are `policy.decode(trajectory.states[:, -1])`.
    """
    states, log_probs = [noise.float()], []
    for step in range(policy.num_steps):
        index = torch.full((len(noise),), step, device=noise.device)
        transition = policy.step(states[-1], index, condition)
        if step == policy.num_steps - 1:
            states.append(transition.mean)
        else:
            states.append(act(transition, draws(step).to(noise.device)))
        log_probs.append(log_prob(transition, states[-1], per_number=per_number))
    return Trajectory(states=torch.stack(states, dim=1), log_probs=torch.stack(log_probs, dim=1))


def draw_images(
    policy: StepPolicy, condition: Condition, keys: Sequence[tuple[int | str, ...]], batch_size: int
) -> Tensor:
    """The images (B, 3, H, W) of the condition's B rows, whose noises are those of the B keys, some at a time.

    The same weights draw the same images, whatever `batch_size` is. Never decides about gradients, as `rollout`.
    """
    images = []
    for start in range(0, len(keys), batch_size):
        part = keys[start : start + batch_size]
        noise = noise_for(part, policy.noise_shape).to(policy.device)
        given = condition[start : start + batch_size]
        taken = rollout(policy, noise, given, own_draws(part, policy.noise_shape))
        images.append(policy.decode(taken.states[:, -1]))
    return torch.cat(images)


def own_draws(keys: Sequence[tuple[int | str, ...]], shape: Sequence[int]) -> Callable[[int], Tensor]:
    """Draws for `rollout`: row i at step k from the stream of (*keys[i], k).

    With keys of (seed, prompt index, image index) an image does not depend on the batch's size or order.
    """
    return lambda step: noise_for([(*key, step) for key in keys], shape)


def predict_clean(kind: str, prediction: Tensor, latents: Tensor, alpha_bar: Tensor) -> Tensor:
    """The clean latents (B, ...) that a network's prediction means at cumulative signal `alpha_bar` (B,).

    Kinds: epsilon (the noise), v_prediction (Salimans and Ho 2022) and sample (the clean latents). Never clipped.
    """
    signal, noise = rows_of(alpha_bar.sqrt(), latents), rows_of((1 - alpha_bar).sqrt(), latents)
    if kind == "epsilon":
        return (latents - noise * prediction) / signal
    if kind == "v_prediction":
        return signal * latents - noise * prediction
    return prediction


def check_prediction(kind: str, first_alpha_bar: float) -> None:
    """Raises BadConfig unless `predict_clean` knows the kind and is finite from the first step on."""
    if kind not in ("epsilon", "v_prediction", "sample"):
        raise BadConfig(f"a step policy's network predicts epsilon, v_prediction or sample, not {kind!r}")
    if kind == "epsilon" and not first_alpha_bar > 0:
        raise BadConfig(
            "the schedule starts from pure noise (zero signal-to-noise ratio), from which a prediction of that noise "
            "says nothing about the image; such schedules need v_prediction or sample"
        )


def rows_of(values: Tensor, like: Tensor) -> Tensor:
    """One value per row, (B,), shaped to multiply (B, ...)."""
    return values.view(-1, *(1 for _ in like.shape[1:]))


def _spread_of_rows(transition: Transition) -> tuple[Tensor, Tensor]:
    """Which rows draw, and each row's spread with 1 in place of 0, so that no gradient is NaN."""
    spread = transition.spread.float()
    drawn = spread > 0
    return drawn, torch.where(drawn, spread, 1.0)


def _per_row(numbers: Tensor, *, mean: bool) -> Tensor:
    flat = numbers.flatten(1)
    return flat.mean(dim=1) if mean else flat.sum(dim=1)
