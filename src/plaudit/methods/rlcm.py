"""RLCM: policy gradient on a sampler's few Gaussian steps (Oertell et al. 2024, arXiv 2404.03673).

One update: act (draw images, keeping every step), judge (any reward), compare (advantages), learn (make the steps of
good images likelier). The sampler is any StepPolicy: a latent consistency model gives RLCM, DDIM with noise gives DDPO
(Black et al. 2023) in the same code. Differs from the paper and its released code: steps of different images and times
share batches; the last step, which draws nothing, is not trained (`keep_last_step` has it draw what no image shows, and
trains that, as the released code does); clip and KL are given for an image's whole action in nats, so that they mean
the same at any resolution; every image has its own random stream, so that batch size and number of processes change no
result; the KL to the starting policy is exact; REBEL sums log-ratios per image.

Gradients are accumulated: a step takes all its images, `batch_size` of them, or of their steps, at a time. So that size
is for memory and speed alone, and beyond the rounding of sums it changes nothing.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for, stream
from plaudit.core.team import Team
from plaudit.generators.generator import Condition, StepPolicy
from plaudit.generators.step_policy import kl, log_prob, own_draws
from plaudit.generators.walk import Walk
from plaudit.methods.advantages import RunningAdvantages, batch_advantages, group_advantages
from plaudit.methods.judging import Jury, Piece
from plaudit.methods.learner import Decay, Learner, Learning
from plaudit.methods.losses import clipped_policy_loss, rebel_residual
from plaudit.methods.prompt_rounds import rows_of
from plaudit.methods.ratios import RatioSums
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward

Comparison = Literal["running", "batch", "group"]
Objective = Literal["ppo", "rebel"]


@dataclass(frozen=True, kw_only=True)
class RlcmConfig:
    """How to learn; not from what."""

    updates: int = 100
    prompts_per_update: int = 16
    images_per_prompt: int = 4
    """of each prompt drawn; 1 for the paper's way, whose prompts repeat by chance only"""
    comparison: Comparison = "group"
    """an image's reward against: its prompt's recent ones (paper), the batch, or its prompt's other images"""
    buffer_size: int = 32
    """rewards kept per prompt for the running comparison"""
    min_count: int = 16
    """of those, before the prompt is compared with itself and not with the batch"""
    advantage_clip: float = 10.0
    objective: Objective = "ppo"
    clip: float = 3.7
    """how far an action's log-probability may move, in nats; the paper's 1e-4 per number at 36,864 numbers"""
    rebel_scale: float = 1.0
    """REBEL's eta, per 36,864 nats"""
    kl_weight: float = 0.0
    """of the exact divergence from the starting policy, per number of an action, as the clipped loss is"""
    passes: int = 1
    """over the images of an update"""
    steps_per_pass: int = 1
    """optimiser steps in a pass; with one of each the gradient is REINFORCE's"""
    keep_last_step: bool = False
    """train the last action too, though no image shows it: for comparison with the released code"""
    lr: float = 1e-4
    warmup: int = 0
    """updates in which the rate rises"""
    decay: Decay = "constant"
    decay_to: float = 0.0
    """share of lr that decay ends at"""
    weight_decay: float = 0.0
    grad_clip: float = 5.0
    ema: float = 0.0
    """how much of the weights' running average an update leaves; 0: no average is kept"""
    seed: int = 0
    batch_size: int = 16
    """images, or steps of images, through the network at once; does not change the results"""
    reward_threads: int = 0
    """threads in which rewards without a gradient are asked while the next images are drawn; 0: none"""

    def __post_init__(self) -> None:
        for name in ("updates", "prompts_per_update", "images_per_prompt", "passes", "steps_per_pass", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("clip", "advantage_clip", "rebel_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.kl_weight < math.inf:
            raise BadConfig(f"kl_weight must be at least 0, got {self.kl_weight}")
        if self.reward_threads < 0:
            raise BadConfig(f"reward_threads must be at least 0 (none), got {self.reward_threads}")
        for name, choices in (("comparison", Comparison), ("objective", Objective)):
            if getattr(self, name) not in get_args(choices):
                raise BadConfig(f"{name} is {' or '.join(get_args(choices))}, got {getattr(self, name)!r}")
        self.learning()
        self._check_comparison()

    def _check_comparison(self) -> None:
        if self.comparison == "running" and self.min_count < 1:
            raise BadConfig(f"min_count must be at least 1, got {self.min_count}")
        if self.comparison == "running" and self.min_count > self.buffer_size:
            raise BadConfig(
                f"no prompt could ever be compared with its recent rewards: buffer_size {self.buffer_size} are kept, "
                f"and min_count {self.min_count} are needed; raise buffer_size or lower min_count"
            )
        if self.comparison == "group" and self.images_per_prompt < 2:
            raise BadConfig("the group comparison needs at least 2 images per prompt; or compare running or batch")
        if self.objective == "rebel" and self.images_per_prompt != 2:
            raise BadConfig(f"REBEL compares 2 images per prompt, got images_per_prompt {self.images_per_prompt}")

    @property
    def images_drawn_per_update(self) -> int:
        """Of all prompts."""
        return self.prompts_per_update * self.images_per_prompt

    def learning(self) -> Learning:
        """How the weights follow their gradients. Raises BadConfig for what cannot work."""
        names = ("updates", "lr", "weight_decay", "grad_clip", "warmup", "decay", "decay_to", "ema")
        return Learning(**{name: getattr(self, name) for name in names})


PUBLISHED_NUMBERS = 36_864
"""in the latents of 768 pixels, for which the paper's clip and REBEL's scale are given"""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one update did; numbers are means over its images, or over their trained steps."""

    index: int
    queries: int
    """images judged so far"""
    reward: float
    reward_spread: float
    parts: dict[str, float]
    kl: float
    """from the starting policy, nats per step; 0 unless it is asked for"""
    moved: float
    """half the squared change of log-ratios within the update, nats^2: 0 for a single step"""
    clipped: float
    """the share of steps whose ratio was outside the clip"""
    gradient_norm: float
    """of the last step, before the clip"""
    rate: float
    """the learning rate"""
    seconds: float
    images: Tensor = field(repr=False)
    """(B, 3, H, W), what was judged"""
    prompts: tuple[str, ...] = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        names = ("queries", "reward", "reward_spread", "kl", "moved", "clipped", "gradient_norm", "rate", "seconds")
        parts = {f"reward_{name}": value for name, value in self.parts.items()}
        return {name: getattr(self, name) for name in names} | parts


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """This process's share of an update's images on their way from noise to picture: B of N."""

    numbers: Tensor
    """(N,), the prompts' places in the list, of all images"""
    rows: Tensor
    """(B,), which of the N are here; a run of neighbours, in whole groups of a prompt"""
    states: Tensor
    """(B, H + 1, ...)"""
    log_probs: Tensor
    """(B, H), sums over an action's numbers"""
    condition: Condition
    images: Tensor
    prompts: tuple[str, ...]
    pieces: tuple[Piece, ...] = ()
    """the same images with rewards already at work on them, if there are threads for that"""


class Rlcm:
    """A policy in training. Iterate `updates`; `state` and `load` carry all of it over an interruption.

    `reference` switches the trained part off while it is entered, for the divergence from the starting policy:
    peft's disable_adapter for a LoRA.
    """

    def __init__(
        self,
        policy: StepPolicy,
        reward: WeightedSum | Reward,
        prompts: Sequence[str],
        config: RlcmConfig,
        *,
        reference: Callable[[], AbstractContextManager[Any]] | None = None,
        team: Team | None = None,
    ) -> None:
        if not prompts:
            raise BadConfig("there is no prompt to learn from")
        if policy.num_steps < 2:
            raise BadConfig("a policy of a single step draws nothing that could be learned; take at least 2 steps")
        if team is not None and config.prompts_per_update < team.size:
            raise BadConfig(
                f"{team.size} processes share an update's prompts, and there are {config.prompts_per_update} of them"
            )
        if config.kl_weight > 0 and reference is None:
            raise BadConfig("a KL to the starting policy needs that policy: train a LoRA, which can be switched off")
        self.policy, self.rewards, self.config = policy, as_sum(reward), config
        self.prompts, self.condition = tuple(prompts), policy.encode(prompts)
        self.reference, self.team = reference or nullcontext, team or Team()
        parameters = [p for p in policy.denoiser.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig("nothing of the policy is trained: its denoiser's parameters are all frozen")
        self.learner = Learner(parameters, config.learning(), team=self.team)
        self.jury = Jury(self.rewards, threads=config.reward_threads)
        self.running = RunningAdvantages(size=config.buffer_size, min_count=config.min_count)
        self.done, self.total = 0, config.updates
        self.share = 1.0 / math.prod(policy.noise_shape)
        self.walk = Walk(policy, keep_last=config.keep_last_step)

    def updates(self) -> Iterator[Update]:
        """The updates from where it stands to the configured number."""
        try:
            while self.done < self.total:
                yield self._update()
        finally:
            self.jury.dismiss()

    def _update(self) -> Update:
        started = time.monotonic()
        batch = self.act(self.done)
        scores, parts = self.judge(batch)
        learned = self.learn(batch, self.compare(scores, batch.numbers), self.done)
        self.done += 1
        return Update(
            index=self.done - 1,
            queries=self.done * len(scores),
            reward=float(scores.mean()),
            reward_spread=float(scores.std(correction=0)),
            parts={name: float(values.mean()) for name, values in parts.items()},
            rate=self.learner.rate,
            seconds=time.monotonic() - started,
            images=batch.images,
            prompts=batch.prompts,
            **learned,
        )

    def act(self, update: int) -> _Batch:
        """Draw the update's images, without a gradient."""
        config = self.config
        chosen = torch.randint(
            len(self.prompts), (config.prompts_per_update,), generator=stream(config.seed, "prompts", update)
        ).repeat_interleave(config.images_per_prompt)
        rows = self._rows_of(self.team.share(config.prompts_per_update))
        own, parts, pieces = chosen[rows], [], []
        for part in rows.split(config.batch_size):
            parts.append(self._roll(update, chosen, part))
            if config.reward_threads:
                pieces.append(self.jury.hand_in(parts[-1][2], [self.prompts[n] for n in chosen[part].tolist()]))
        states, log_probs, images = (torch.cat(column) for column in zip(*parts, strict=True))
        return _Batch(
            numbers=chosen, rows=rows, states=states, log_probs=log_probs, images=images,
            condition=self.condition[own.to(self.policy.device)],
            prompts=tuple(self.prompts[number] for number in own.tolist()), pieces=tuple(pieces),
        )  # fmt: skip

    def _rows_of(self, groups: Tensor) -> Tensor:
        return rows_of(groups, self.config.images_per_prompt)

    def _roll(self, update: int, chosen: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        policy = self.policy
        keys = [(self.config.seed, "image", update, row) for row in rows.tolist()]
        with torch.no_grad():
            noise = noise_for(keys, policy.noise_shape).to(policy.device)
            condition = self.condition[chosen[rows].to(policy.device)]
            taken, images = self.walk.take(noise, condition, own_draws(keys, policy.noise_shape))
            return taken.states, taken.log_probs, images

    def judge(self, batch: _Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Totals (N,) and raw scores of all processes' images. Raises BadConfig for one that is not finite."""
        pieces = batch.pieces or tuple(
            Piece(images=batch.images[at], prompts=tuple(batch.prompts[i] for i in at.tolist()))
            for at in torch.arange(len(batch.rows)).split(self.config.batch_size)
        )
        return self.jury.judge(pieces, batch.rows, batch.numbers, prompts=self.prompts, team=self.team)

    def compare(self, scores: Tensor, numbers: Tensor) -> Tensor:
        """Advantages (N,), clipped."""
        config = self.config
        if config.comparison == "running":
            found = self.running(scores, numbers.tolist())
        elif config.comparison == "batch":
            found = batch_advantages(scores)
        else:
            found = group_advantages(scores.view(-1, config.images_per_prompt)).flatten()
        return found.clamp(-config.advantage_clip, config.advantage_clip)

    def learn(self, batch: _Batch, advantages: Tensor, update: int) -> dict[str, float]:
        """The optimiser's steps on one update's images, with the advantages of all N."""
        config, seen = self.config, RatioSums()
        advantages = advantages[batch.rows.to(advantages.device)]
        own = self.team.share(config.prompts_per_update)
        self.learner.begin(update)
        for number in range(config.passes):
            order = torch.randperm(config.prompts_per_update, generator=stream(config.seed, "order", update, number))
            for part in order.tensor_split(min(config.steps_per_pass, config.prompts_per_update)):
                # Whole groups, so that REBEL's pairs stay together; of those, the ones that are here.
                here = part[torch.isin(part, own)] - own[:1]
                self.learner.clear()
                weights = self._rebel_weights(batch, here, advantages) if config.objective == "rebel" else None
                self._accumulate(
                    batch, self._rows_of(here), advantages, weights, seen, total=self._rows_of(part).numel()
                )
                seen.norm = self.learner.step()
        self.learner.end(update)
        return seen.means(self.team, self.policy.device)

    def _accumulate(
        self,
        batch: _Batch,
        rows: Tensor,
        advantages: Tensor,
        weights: Tensor | None,
        seen: RatioSums,
        *,
        total: int,
    ) -> None:
        """Add these images' share of the gradient of the mean loss over `total` images and their trained steps."""
        trained = self.walk.trained_steps
        for at in _pairs(rows, trained, self.config.batch_size):
            row, step = at[:, 0], at[:, 1]
            moved, divergence = self._moved(batch, row, step)
            if weights is None:
                loss = self._ppo(moved, advantages[row.to(advantages.device)], seen)
            else:
                loss = weights[row] * moved
            loss = loss + self.config.kl_weight * self.share * divergence
            (loss.sum() / (total * trained)).backward()
            seen.see(moved.detach(), divergence.detach())

    def _ppo(self, moved: Tensor, advantage: Tensor, seen: RatioSums) -> Tensor:
        """The clipped surrogate of log-ratios (B,) in nats, per number of the action as the paper has it."""
        edge = self.config.clip * self.share
        seen.outside += int((moved.detach().abs() > self.config.clip).sum())
        return clipped_policy_loss(moved * self.share, advantage, low=math.exp(-edge), high=math.exp(edge))

    def _moved(self, batch: _Batch, row: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """How much likelier the actions at (row, step) are than when taken, (B,) nats; and the KL to the reference."""
        device = self.policy.device
        row, step = row.to(device), step.to(device)
        latents, condition = batch.states[row, step], batch.condition[row]
        found = self.walk.step(latents, step, condition)
        moved = log_prob(found, batch.states[row, step + 1]) - batch.log_probs[row, step]
        if self.config.kl_weight == 0:
            return moved, torch.zeros_like(moved)
        with torch.no_grad(), self.reference():
            start = self.walk.step(latents, step, condition)
        return moved, kl(found, start)

    def _rebel_weights(self, batch: _Batch, groups: Tensor, advantages: Tensor) -> Tensor:
        """What the gradient of REBEL's squared residuals gives each image's log-ratios, (B,), at the policy as it is.

        A first pass without a gradient finds the residuals; the second then needs one step's graph at a time.
        """
        steps = self.walk.trained_steps
        moved = torch.zeros(len(batch.prompts), device=self.policy.device)
        with torch.no_grad():
            for at in _pairs(self._rows_of(groups), steps, self.config.batch_size):
                moved.index_add_(0, at[:, 0].to(moved.device), self._moved(batch, at[:, 0], at[:, 1])[0])
        scale = self.config.rebel_scale / PUBLISHED_NUMBERS
        residual = rebel_residual(moved.view(-1, 2), advantages.view(-1, 2), scale=scale)
        # d(residual^2)/d(log-ratio): 2 scale residual, with the other sign for the second image; a mean over pairs,
        # while `_accumulate` divides by images times steps.
        slope = 2 * scale * residual * 2 * steps
        return torch.stack([slope, -slope], dim=1).flatten()

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        tensors = {"done": torch.tensor(self.done)}
        tensors |= {f"running.{name}": value for name, value in self.running.state().items()}
        tensors |= {f"rewards.{name}": value for name, value in self.rewards.state().items()}
        tensors |= self.learner.state()
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done = int(state["done"])
        self.running.load({name[8:]: value for name, value in state.items() if name.startswith("running.")})
        self.rewards.load({name[8:]: value for name, value in state.items() if name.startswith("rewards.")})
        self.learner.load(state)


def _pairs(rows: Tensor, steps: int, size: int) -> tuple[Tensor, ...]:
    """All (row, step), in parts of so many; none if there are no rows, as where all of a step's are elsewhere."""
    return torch.cartesian_prod(rows, torch.arange(steps)).split(size) if len(rows) else ()
