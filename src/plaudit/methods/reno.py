"""ReNO: reward-based noise optimisation (Eyring et al. 2024, arXiv 2406.04312; released code bd6f6ac).

Changes the starting noise of a frozen generator, per image, so that its picture scores higher. Differs from
the paper: many images at a time with clip, norm and best per image; one backward per reward into the image,
then one through decoder and generator (the same gradient, without holding all rewards' graphs at once); noise
and momentum in float32; an update whose gradient is not finite is skipped and its image's step halved; texts
are encoded once; the step is scaled to the noise's size. Options that the paper lacks: a start from the best
of several noises, a stop when an image no longer improves, and one when a reward that is not followed falls.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.told_plans import ToldPlans
from plaudit.methods.early_stop import EarlyStop
from plaudit.methods.losses import (
    clip_per_image,
    finite_rows,
    least_penalty,
    nesterov_step,
    norm_penalty,
    norms,
    penalty_gradient,
    where_row,
)
from plaudit.methods.records import BestSoFar, Result, Step, timed
from plaudit.methods.rows import Rows, batches, check_only, check_prompts
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward

__all__ = ["BestSoFar", "RenoConfig", "Result", "Step", "optimise_noise"]

PUBLISHED_LR, PUBLISHED_DIMENSION = 5.0, 4 * 64 * 64
"""the released code's rate for images of 512 pixels, and the size of their noise"""


@dataclass(frozen=True, kw_only=True)
class RenoConfig:
    """How to search for a noise; not what to search with."""

    steps: int = 50
    """looks at the image; the noise changes between them, so one time less"""
    lr: float | None = None
    """step size; left out: 5, the published one, scaled to the noise's size d by the root of d / 16384"""
    momentum: float = 0.9
    """Nesterov momentum"""
    grad_clip: float = 0.1
    """largest gradient norm, per image"""
    prior_weight: float = 0.01
    """weight of the penalty that keeps the noise as long as a Gaussian's"""
    seed: int = 0
    """of the starting noises, together with prompt and image number"""
    images_per_prompt: int = 1
    """images to make of each prompt"""
    start_best_of: int = 1
    """start from the best of this many noises under the rewards"""
    patience: int | None = None
    """stop an image after this many steps without a new best"""
    guard_held_out: bool = False
    """stop an image when the held-out reward has fallen while the optimised one rose"""
    batch_size: int = 16
    """images to work on at once; does not change the results"""

    def __post_init__(self) -> None:
        for name in ("steps", "images_per_prompt", "start_best_of", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise BadConfig(f"patience must be at least 1 step, got {self.patience}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise BadConfig(f"lr must be a positive number, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise BadConfig(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if not self.grad_clip > 0:
            raise BadConfig(f"grad_clip must be positive, got {self.grad_clip}")
        if not 0 <= self.prior_weight < math.inf:
            raise BadConfig(f"prior_weight must be at least 0, got {self.prior_weight}")

    def lr_for(self, dimension: int) -> float:
        """The step size for a noise of that many numbers."""
        return PUBLISHED_LR * math.sqrt(dimension / PUBLISHED_DIMENSION) if self.lr is None else self.lr


def optimise_noise(
    generator: NoiseGenerator,
    reward: WeightedSum | Reward,
    prompts: Sequence[str],
    config: RenoConfig,
    *,
    held_out: Reward | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Step]:
    """The steps of every batch of images in turn; `held_out` is scored at each and never followed;
    `only` picks some of the run's images by row.

    With start_best_of = n > 1 the first n steps show the candidates, then `steps` more go from the best of
    them. Raises BadConfig if there is no prompt, the reward has no gradient, or a guard has nothing to watch.
    """
    check_prompts(prompts)
    check_only(only, prompts, config.images_per_prompt)
    rewards = as_sum(reward)
    for name, (_, part) in rewards.parts.items():
        if config.steps > 1 and not part.differentiable:
            raise BadConfig(
                f"noise optimisation follows gradients, and the reward {name!r} has none; "
                "use a differentiable reward, or a search: best-of-n or evolve"
            )
    if config.steps > 1 and isinstance(generator, TokenGenerator | PlanGenerator | ToldPlans):
        raise BadConfig(
            f"noise optimisation follows gradients, and none reaches the noise of {type(generator.policy).__name__}, "
            "which picks tokens; use a search: best-of-n or evolve"
        )
    if config.guard_held_out and held_out is None:
        raise BadConfig("guard_held_out needs a held-out reward to watch; give one, or switch the guard off")
    search = _Search(generator, rewards, config, held_out)
    runs = batches(
        generator, prompts, seed=config.seed, images_per_prompt=config.images_per_prompt,
        batch_size=config.batch_size, only=only,
    )  # fmt: skip
    return (step for rows in runs for step in timed(search.run(rows)))


class _Search:
    """What all batches share."""

    def __init__(
        self, generator: NoiseGenerator, rewards: WeightedSum, config: RenoConfig, held_out: Reward | None
    ) -> None:
        self.generator, self.rewards, self.config, self.held_out = generator, rewards, config, held_out
        dimension = math.prod(generator.noise_shape)
        self.lr = config.lr_for(dimension)
        self.least_penalty = least_penalty(dimension)
        self.candidates = config.start_best_of if config.start_best_of > 1 else 0
        self.steps = self.candidates + config.steps

    def run(self, rows: Rows) -> Iterator[Step]:
        """One batch, from its first noise to its last step."""
        noise = rows.noise(self.generator)
        skipped = torch.zeros(len(rows), dtype=torch.long, device=noise.device)
        best_total = torch.full((len(rows),), -math.inf, device=noise.device)
        for index in range(self.candidates):
            candidate = rows.noise(self.generator, index)
            with torch.no_grad():
                images = self.generator.sample(candidate, rows.condition)
                scores = self.rewards.score_parts(images, rows.prompts)
            step = self._record(index, rows, candidate, images, scores, skipped)
            # False for a total that is not a number, so such a candidate is never the start.
            better = step.total > best_total
            noise, best_total = (
                where_row(better, candidate, noise),
                torch.where(better, step.total, best_total),
            )
            yield step
        yield from self._follow(rows, noise)

    def _follow(self, rows: Rows, noise: Tensor) -> Iterator[Step]:
        """The gradient steps of one batch; images that stop leave it."""
        config = self.config
        state = _State(noise, self.lr)
        watch = EarlyStop(patience=config.patience, guard=config.guard_held_out)
        for index in range(self.candidates, self.steps):
            last = index == self.steps - 1
            noise = state.noise.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                images = self.generator.sample(noise, rows.condition)
            scores, slope = self._judge(images, rows.prompts, need_slope=not last)
            step = self._record(index, rows, noise, images, scores, state.skipped)
            step = watch.see(step)
            if slope is not None:
                gradient = torch.autograd.grad(images, noise, slope)[0]
                state.update(gradient, config)
            # Nothing of this step's graph may outlive it, however long the watcher takes.
            del images, slope, noise
            yield step
            places = watch.places_to_keep()
            if places is not None:
                if not places:
                    return
                rows, watch, state = rows.keep(places), watch.keep(places), state.keep(places)

    def _judge(
        self, images: Tensor, prompts: Sequence[str], *, need_slope: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Raw scores, and the gradient of minus the total in the images, one reward's graph at a time."""
        leaf = images.detach()
        scores: dict[str, Tensor] = {}
        slope = torch.zeros_like(leaf) if need_slope else None
        for name, (weight, reward) in self.rewards.raw_parts().items():
            if slope is None or weight == 0:
                with torch.no_grad():
                    scores[name] = reward(leaf, prompts)
                continue
            image = leaf.detach().requires_grad_()
            with torch.enable_grad():
                score = reward(image, prompts)
            slope -= weight * torch.autograd.grad(score.sum(), image)[0]
            scores[name] = score.detach()
        return scores, slope

    def _record(
        self,
        index: int,
        rows: Rows,
        noise: Tensor,
        images: Tensor,
        scores: dict[str, Tensor],
        skipped: Tensor,
    ) -> Step:
        noise, images = noise.detach(), images.detach()
        held_out = None
        if self.held_out is not None:
            with torch.no_grad():
                held_out = self.held_out(images, rows.prompts)
        return Step(
            index=index,
            steps=self.steps,
            rows=rows.indices,
            images=images,
            total=self.rewards.total(scores),
            parts=scores,
            held_out=held_out,
            noise=noise,
            norm=norms(noise),
            deviation=norm_penalty(noise) - self.least_penalty,
            skipped=skipped,
        )


class _State:
    """What the optimiser carries from step to step, per image, in float32."""

    def __init__(self, noise: Tensor, lr: float) -> None:
        self.noise = noise
        self.velocity = torch.zeros_like(noise)
        self.lr = torch.full((len(noise),), lr, device=noise.device)
        self.skipped = torch.zeros(len(noise), dtype=torch.long, device=noise.device)

    def update(self, reward_gradient: Tensor, config: RenoConfig) -> None:
        """A step down the loss whose reward part has this gradient; not for images where it is not finite."""
        gradient = reward_gradient.float() + config.prior_weight * penalty_gradient(self.noise)
        fine = finite_rows(gradient)
        noise, velocity = nesterov_step(
            self.noise, self.velocity, clip_per_image(gradient, config.grad_clip), self.lr,
            momentum=config.momentum,
        )  # fmt: skip
        self.noise = where_row(fine, noise, self.noise)
        self.velocity = where_row(fine, velocity, self.velocity)
        self.lr = torch.where(fine, self.lr, self.lr / 2)
        self.skipped = self.skipped + ~fine

    def keep(self, places: Sequence[int]) -> "_State":
        at = list(places)
        self.noise, self.velocity = self.noise[at], self.velocity[at]
        self.lr, self.skipped = self.lr[at], self.skipped[at]
        return self
