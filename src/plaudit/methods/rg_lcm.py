"""Reward-guided consistency distillation, the way that R0 is compared with (RG-LCM, Li et al. 2024, arXiv 2403.11027).

A student learns to see, at every noise level, what it would see one step of its guided teacher further down
(consistency distillation, Luo et al. 2023), and its one-step picture is led by rewards at the same time. Needs latents
of real pictures with their prompts, which R0 does without. Differs from the paper: no latent reward model between
student and rewards (R0's authors compared without one, too); the network's own clean prediction is the consistency
function, which is the identity at no noise only, as a few-step sampler asks for no more; the rewards' gradients may be
given R0's equal lengths, and are as they come unless told.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for, stream
from plaudit.core.team import Team
from plaudit.generators.denoising import Denoising, Fresh, Level, step_down
from plaudit.generators.step_policy import rows_of
from plaudit.methods.directions import Normalise, combine, reward_gradients
from plaudit.methods.learner import Learner, Learning
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class RgLcmConfig:
    """How to learn; not from what."""

    updates: int = 1000
    images_per_update: int = 32
    levels: int = 50
    """of the teacher's sampler; a pair of neighbours is drawn for every picture"""
    guidance: float = 7.5
    """of the teacher's step"""
    reward_scale: float = 1.0
    """of the rewards' gradient beside distillation's; 0: distillation alone"""
    normalise: Normalise = "none"
    """where every reward's gradient is given the same length: latents, pixels, or none"""
    huber: float = 0.001
    """of the pseudo-Huber distance, per root of the latents' size"""
    target: float = 0.95
    """how much of the target network an update leaves"""
    lr: float = 1e-4
    grad_clip: float = 1.0
    seed: int = 0
    batch_size: int = 16
    """images through the network at once; does not change the results"""

    def __post_init__(self) -> None:
        for name in ("updates", "images_per_update", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.levels < 2:
            raise BadConfig(f"levels must be at least 2, got {self.levels}")
        for name in ("guidance", "reward_scale"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.huber > 0:
            raise BadConfig(f"huber must be positive, got {self.huber}")
        if not 0 <= self.target < 1:
            raise BadConfig(f"target must be at least 0 and below 1, got {self.target}")
        self.learning()

    def learning(self) -> Learning:
        """How the weights follow their gradients; the average is the target network."""
        return Learning(updates=self.updates, lr=self.lr, grad_clip=self.grad_clip)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one update did."""

    index: int
    reward: float
    """the weighted sum of raw scores of one-step pictures"""
    distance: float
    """between student and target"""
    gradient_norm: float
    seconds: float

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        return {name: getattr(self, name) for name in ("reward", "distance", "gradient_norm", "seconds")}


class RgLcm:
    """A student in training. Iterate `updates`; `state` and `load` carry all of it over an interruption.

    `teacher` is the pretrained denoiser; `target` another copy, which this keeps as the student's running average.
    `latents` (N, *noise_shape) are those of real pictures of the N prompts.
    """

    def __init__(
        self,
        student: Denoising,
        reward: WeightedSum | Reward,
        data: "Pictures",
        config: RgLcmConfig,
        *,
        teacher: Denoising,
        target: Denoising,
    ) -> None:
        self.student, self.teacher, self.target = student, teacher, target
        self.rewards, self.data, self.config, self.team = as_sum(reward), data, config, Team()
        for name, (weight, part) in self.rewards.parts.items():
            if config.reward_scale > 0 and weight != 0 and not part.differentiable:
                raise BadConfig(f"distillation led by rewards follows gradients, and the reward {name!r} has none")
        self.prompts = data.prompts
        self.condition, self.empty = student.encode(data.prompts), student.encode([""])
        self.parameters = [p for p in student.denoiser.parameters() if p.requires_grad]
        if not self.parameters:
            raise BadConfig("nothing of the student is trained: its denoiser's parameters are all frozen")
        self.average = list(target.denoiser.parameters())
        self.learner = Learner(self.parameters, config.learning())
        self.grid = student.grid(config.levels)
        self.done, self.total = 0, config.updates

    def updates(self) -> Iterator[Update]:
        """The updates from where it stands to the configured number."""
        while self.done < self.total:
            yield self._update()

    def _update(self) -> Update:
        started, count = time.monotonic(), self.config.images_per_update
        chosen = torch.randint(len(self.prompts), (count,), generator=stream(self.config.seed, "prompts", self.done))
        self.learner.begin(self.done)
        self.learner.clear()
        sums = torch.zeros(2)
        for rows in torch.arange(count).split(self.config.batch_size):
            sums += self._accumulate(rows, chosen[rows], share=1 / count)
        norm = self.learner.step()
        with torch.no_grad():
            for mean, weight in zip(self.average, self.parameters, strict=True):
                mean.lerp_(weight, 1 - self.config.target)
        self.done += 1
        return Update(
            index=self.done - 1, reward=float(sums[0]) / count, distance=float(sums[1]) / count, gradient_norm=norm,
            seconds=time.monotonic() - started,
        )  # fmt: skip

    def _accumulate(self, rows: Tensor, chosen: Tensor, *, share: float) -> Tensor:
        """Add these pictures' gradient; their summed reward and distance, (2,)."""
        config, device = self.config, self.student.device
        keys: list[tuple[int | str, ...]] = [(config.seed, "pair", self.done, row) for row in rows.tolist()]
        at = torch.stack([torch.randint(config.levels, (), generator=stream(*key, "level")) for key in keys]).to(device)
        condition, now = self.condition[chosen.to(device)], self.grid[at]
        noisy = now.noised(self.data.latents[chosen].to(device), noise_for(keys, self.student.noise_shape).to(device))
        seen = self.student.clean(noisy, now, condition)
        distance = huber(seen - self._wanted(noisy, now, at, condition), config.huber)
        loss = distance.sum()
        total = torch.zeros(())
        if config.reward_scale > 0:
            texts = [self.prompts[number] for number in chosen.tolist()]
            found, scores, _ = reward_gradients(self.rewards, seen, texts, self.student.decode, where=config.normalise)
            weights = {name: abs(self.rewards.parts[name][0]) if name in self.rewards.parts else 1.0 for name in found}
            direction = combine(found, weights, normalise=config.normalise)
            loss = loss - config.reward_scale * (seen * direction).sum()
            total = self.rewards.total(scores).sum().cpu()
        (loss * share).backward()
        return torch.stack([total, distance.detach().sum().cpu()])

    def _wanted(self, noisy: Tensor, now: Level, at: Tensor, condition: object) -> Tensor:
        """What the target network sees after one guided step of the teacher; the teacher's own view at the last."""
        last = at == self.config.levels - 1
        with torch.no_grad():
            without = self.empty[torch.zeros_like(at)]
            given, blank = (self.teacher.clean(noisy, now, it) for it in (condition, without))
            guided = blank + self.config.guidance * (given - blank)
            then = self.grid[torch.where(last, at, at + 1)]
            still = Fresh(noise=torch.zeros_like(noisy), eta=torch.zeros(len(at), device=noisy.device))
            further = step_down(noisy, guided, now, then, still)
            seen = self.target.clean(further, then, condition)
            return torch.where(rows_of(last, seen), guided, seen)

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        tensors = {"done": torch.tensor(self.done)} | self.learner.state()
        tensors |= {f"target.{i}": mean for i, mean in enumerate(self.average)}
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done = int(state["done"])
        self.learner.load(state)
        with torch.no_grad():
            for i, mean in enumerate(self.average):
                mean.copy_(state[f"target.{i}"])


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What distillation learns from and R0 does not need."""

    latents: Tensor
    """(N, *noise_shape), of real pictures, as the denoiser knows them (scaled)"""
    prompts: tuple[str, ...]
    """N, of the same pictures"""

    def __post_init__(self) -> None:
        if len(self.latents) != len(self.prompts) or not self.prompts:
            raise BadConfig(f"{len(self.latents)} pictures need as many prompts, got {len(self.prompts)}")


def huber(difference: Tensor, scale: float) -> Tensor:
    """The pseudo-Huber norm of each image's difference, (B,): sqrt(|d|^2 + c^2) - c with c = scale sqrt(D)."""
    flat = difference.flatten(1)
    edge = scale * math.sqrt(flat.shape[1])
    return (flat.square().sum(dim=1) + edge**2).sqrt() - edge
