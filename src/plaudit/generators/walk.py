"""A policy's way from noise to image, and which of its actions a method trains."""

from collections.abc import Callable

import torch
from torch import Tensor

from plaudit.generators.generator import Condition, StepPolicy, Transition
from plaudit.generators.step_policy import Trajectory, act, log_prob, noised_again, rollout, rows_of


class Walk:
    """The steps of a policy, of which the last is a step to clean latents, or with `keep_last` an action like the rest.

    That action mixes the clean latents with noise once more, as much of it as the step before does, which for a latent
    consistency model is what RLCM's released code draws there. No image shows it: the reward of an image and the noise
    of this action have nothing to do with each other, and its gradient is noise with mean zero.
    """

    def __init__(self, policy: StepPolicy, *, keep_last: bool = False) -> None:
        self.policy, self.keep_last = policy, keep_last
        self.trained_steps = policy.num_steps if keep_last else policy.num_steps - 1
        self._known_spread: Tensor | None = None

    def take(self, noise: Tensor, condition: Condition, draws: Callable[[int], Tensor]) -> tuple[Trajectory, Tensor]:
        """From noise (B, *noise_shape) to the trajectory and its images (B, 3, H, W); `draws` as for `rollout`.

        With the last action kept, the trajectory ends in that, and the image is that of the latents before it.
        """
        taken = rollout(self.policy, noise, condition, draws)
        clean = taken.states[:, -1]
        images = self.policy.decode(clean)
        if not self.keep_last:
            return taken, images
        last = noised_again(clean, self._spread(condition))
        action = act(last, draws(self.policy.num_steps - 1).to(noise.device))
        states = torch.cat([taken.states[:, :-1], action[:, None]], dim=1)
        log_probs = torch.cat([taken.log_probs[:, :-1], log_prob(last, action)[:, None]], dim=1)
        return Trajectory(states=states, log_probs=log_probs), images

    def step(self, latents: Tensor, index: Tensor, condition: Condition) -> Transition:
        """The transition from `latents` (B, *noise_shape) at steps `index` (B,), of whichever way is walked."""
        found = self.policy.step(latents, index, condition)
        if not self.keep_last:
            return found
        last, again = index == self.policy.num_steps - 1, noised_again(found.mean, self._spread(condition))
        return Transition(
            mean=torch.where(rows_of(last, again.mean), again.mean, found.mean),
            spread=torch.where(last, again.spread, found.spread),
        )

    def _spread(self, condition: Condition) -> Tensor:
        """Of the step before the last, (1,); the schedule's alone, so any latents and prompt tell it."""
        if self._known_spread is None:
            policy = self.policy
            index = torch.full((1,), policy.num_steps - 2, device=policy.device)
            with torch.no_grad():
                start = torch.zeros(1, *policy.noise_shape, device=policy.device)
                self._known_spread = policy.step(start, index, condition[:1]).spread
        return self._known_spread
