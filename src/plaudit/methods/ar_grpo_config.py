"""How a model that draws token by token learns from rewards: the settings of GRPO with LOO-FID."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from plaudit.core.errors import BadConfig
from plaudit.generators.token_policy import Sampling
from plaudit.methods.advantages import Spread
from plaudit.methods.drawn_at_once import check_drawn_at_once
from plaudit.methods.learner import Decay, Learning

Ratio = Literal["token", "sequence"]
Learned = Literal["prompt", "drawn"]


@dataclass(frozen=True, kw_only=True)
class ArGrpoConfig:
    """How to learn; not from what."""

    updates: int = 600
    prompts_per_update: int = 12
    images_per_prompt: int = 12
    """a group: pictures of a prompt are compared with each other"""
    instance_weight: float = 1.0
    """of the advantages by the rewards of pictures"""
    distribution_weight: float = 1.0
    """of the advantages by the reward of all pictures together; 0: it is measured only"""
    spread: Spread = "group"
    """what advantages of either kind are scaled by: a group's own spread, as in GRPO, so that every group says as much;
    or that of all the update's groups, so that those where much is at stake say more (Liu et al. 2025, Dr. GRPO)"""
    advantage_clip: float = 5.0
    """largest size of either"""
    ratio: Ratio = "token"
    """what is clipped: every token's importance ratio, or an image's, the geometric mean of its tokens'"""
    clip: float = 0.2
    """how far a ratio may move from 1; for a whole image's some hundredths of that"""
    kl_weight: float = 0.0
    """of the divergence from the starting policy, k3 per token"""
    entropy_target: float = 0.78
    """where the controller keeps the entropy, as a share of the codebook's logarithm; 0: no controller"""
    entropy_rate: float = 2e-3
    """how fast the controller answers, per nat of error and update"""
    entropy_limit: float = 5e-3
    """largest size of its coefficient"""
    guidance: float = 1.0
    """classifier-free guidance of the pictures that are learned from; 1: none"""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    learned: Learned = "prompt"
    """whose log-probabilities follow the rewards: the unguided policy's (the paper's way, off-policy for pictures drawn
    in any other way), or those of the distribution that tokens were drawn from"""
    importance_cap: float = 0.0
    """off-policy only: tokens count by how much likelier the policy finds them than they were drawn, at most so much;
    0: all the same"""
    passes: int = 1
    """over the images of an update"""
    steps_per_pass: int = 1
    """optimiser steps in a pass; with one of each nothing is ever clipped"""
    lr: float = 1e-5
    warmup: int = 0
    """updates in which the rate rises"""
    decay: Decay = "constant"
    decay_to: float = 0.0
    """share of lr that decay ends at"""
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    ema: float = 0.0
    """how much of the weights' running average an update leaves; 0: no average is kept"""
    seed: int = 0
    batch_size: int = 64
    """images through the network at once; does not change the results"""
    draw_batch_size: int = 0
    """images drawn at once, without a gradient and so with less memory each, half as many with guidance; 0:
    batch_size"""

    def __post_init__(self) -> None:
        for name in ("updates", "prompts_per_update", "passes", "steps_per_pass", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.images_per_prompt < 2:
            raise BadConfig(f"a group is at least 2 images of a prompt, got images_per_prompt {self.images_per_prompt}")
        check_drawn_at_once(self)
        for name in ("instance_weight", "distribution_weight", "kl_weight", "importance_cap", "entropy_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.instance_weight == self.distribution_weight == 0:
            raise BadConfig("there is nothing to follow: instance_weight and distribution_weight are both 0")
        if not 0 < self.advantage_clip < math.inf:
            raise BadConfig(f"advantage_clip must be a positive number, got {self.advantage_clip}")
        if not 0 < self.clip < 1:
            raise BadConfig(f"clip must lie between 0 and 1, got {self.clip}")
        if not 0 <= self.entropy_target < 1:
            raise BadConfig(f"entropy_target is a share of what there can be, 0 (none) to 1, got {self.entropy_target}")
        self._check_choices()
        self.learning()
        self.sampling()

    def _check_choices(self) -> None:
        for name, choices in (("learned", Learned), ("ratio", Ratio), ("spread", Spread)):
            if getattr(self, name) not in get_args(choices):
                wanted = " or ".join(get_args(choices))
                raise BadConfig(f"{name} is {wanted}, got {getattr(self, name)!r}")

    def learning(self) -> Learning:
        """How the weights follow their gradients. Raises BadConfig for what cannot work."""
        names = ("updates", "lr", "weight_decay", "grad_clip", "warmup", "decay", "decay_to", "ema")
        return Learning(**{name: getattr(self, name) for name in names})

    def sampling(self) -> Sampling:
        """How the pictures that are learned from are drawn."""
        return Sampling(
            guidance=self.guidance, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
        )  # fmt: skip

    @property
    def on_policy(self) -> bool:
        """Whether what is learned is what was drawn from."""
        return self.learned == "drawn" or self.sampling().plain

    @property
    def images_drawn_per_update(self) -> int:
        """Of all prompts."""
        return self.prompts_per_update * self.images_per_prompt
