"""How a model that plans and draws learns from rewards: the settings of ReasonGen-R1's second stage."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from plaudit.core.errors import BadConfig
from plaudit.generators.token_policy import Sampling
from plaudit.methods.advantages import Spread
from plaudit.methods.drawn_at_once import check_drawn_at_once
from plaudit.methods.entropy import EntropyControl, EntropyController, WalkingController
from plaudit.methods.learner import Decay, Learning
from plaudit.methods.plan_losses import Balance

Control = Literal["published", "pi", "none"]
Learned = Literal["prompt", "drawn"]


@dataclass(frozen=True, kw_only=True)
class ReasonGenConfig:
    """How to learn; not from what. As the paper's released script has it, where nothing else is said."""

    updates: int = 400
    prompts_per_update: int = 32
    images_per_prompt: int = 8
    """a group: responses to a prompt are compared with each other"""
    rounds: int = 8
    """at most so many drawings until all groups of an update differ in their rewards; 1: equal ones are kept"""
    plan: bool = True
    """write a plan first; without, the picture follows the prompt"""
    spread: Spread = "group"
    """what advantages are scaled by: a group's own spread, as in GRPO, so that every group says as much; or that of all
    the update's groups, so that those where much is at stake say more (Liu et al. 2025, Dr. GRPO)"""
    advantage_clip: float = 5.0
    balance: Balance = "tokens"
    """what counts the same: every word and token of an update (the paper's, nearly), every response, or all words
    together and all tokens together"""
    word_weight: float = 1.0
    """of the advantage in the loss of words"""
    token_weight: float = 1.0
    """of the advantage in the loss of tokens"""
    clip: float = 0.2
    """how far a ratio may move from 1"""
    kl_weight: float = 0.0
    """of the divergence from the starting policy, k3 per word and token"""
    entropy_control: Control = "published"
    """the paper's rule, ours (which answers the size of an error, too), or none"""
    word_entropy: float = 2.0
    """where it keeps the entropy of words, nats"""
    token_entropy: float = 7.0
    """where it keeps the entropy of tokens, nats"""
    entropy_rate: float = 5e-5
    """how fast a controller answers"""
    entropy_limit: float = 5e-3
    """largest size of a coefficient"""
    word_temperature: float = 1.0
    word_top_k: int = 0
    word_top_p: float = 1.0
    guidance: float = 1.0
    """classifier-free guidance of the pictures that are learned from; 1: none"""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    learned: Learned = "prompt"
    """whose log-probabilities follow the rewards: those of the plain policy (off-policy for what was drawn otherwise),
    or of the distribution that was drawn from"""
    importance_cap: float = 0.0
    """words and tokens count by how much likelier the policy finds them than they were drawn, at most so much; 0: all
    the same"""
    passes: int = 1
    """over the responses of an update"""
    steps_per_pass: int = 2
    """optimiser steps in a pass"""
    lr: float = 5e-6
    warmup: int = 0
    decay: Decay = "constant"
    decay_to: float = 0.0
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    ema: float = 0.0
    """how much of the weights' running average an update leaves; 0: no average is kept"""
    seed: int = 0
    batch_size: int = 64
    """responses through the network at once; does not change the results"""
    draw_batch_size: int = 0
    """responses drawn at once, without a gradient and so with less memory each, half as many with guidance; 0:
    batch_size"""

    def __post_init__(self) -> None:
        for name in ("updates", "prompts_per_update", "rounds", "passes", "steps_per_pass", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.images_per_prompt < 2:
            raise BadConfig(f"a group is at least 2 images of a prompt, got images_per_prompt {self.images_per_prompt}")
        check_drawn_at_once(self)
        for name in ("word_weight", "token_weight", "kl_weight", "importance_cap", "advantage_clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.clip < 1:
            raise BadConfig(f"clip must lie between 0 and 1, got {self.clip}")
        for name, known in (
            ("balance", ("tokens", "images", "segments")), ("entropy_control", ("published", "pi", "none")),
            ("learned", ("prompt", "drawn")), ("spread", ("group", "update")),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise BadConfig(f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}")
        self.learning()
        self.words_sampling()
        self.image_sampling()
        self.controller(self.word_entropy)
        self.controller(self.token_entropy)

    def learning(self) -> Learning:
        """How the weights follow their gradients. Raises BadConfig for what cannot work."""
        return Learning(**{one.name: getattr(self, one.name) for one in fields(Learning)})

    def words_sampling(self) -> Sampling:
        """How the plans that are learned from are written."""
        return Sampling(temperature=self.word_temperature, top_k=self.word_top_k, top_p=self.word_top_p)

    def image_sampling(self) -> Sampling:
        """How the pictures that are learned from are drawn."""
        return Sampling(
            guidance=self.guidance, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
        )  # fmt: skip

    def controller(self, target: float) -> EntropyControl:
        """A new one for this target in nats."""
        kind = EntropyController if self.entropy_control == "pi" else WalkingController
        limit = 0.0 if self.entropy_control == "none" else self.entropy_limit
        return kind(target=target, rate=self.entropy_rate, limit=limit)

    @property
    def images_drawn_per_update(self) -> int:
        """Of all prompts, in the first round."""
        return self.prompts_per_update * self.images_per_prompt
