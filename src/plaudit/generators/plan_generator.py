"""A plan policy as a generator: noise decides its words and tokens, so that whatever draws from noise draws with it.

As in token_generator.py, a standard normal number for each word and token is turned into the uniform one that picks it.
The same noise writes the same plan, so that the plan of any picture can be read once it is known which noise drew it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plaudit.core.float64 import precise
from plaudit.generators.plan_policy import PlanPolicy, PlanSampling, Response, Texts
from plaudit.generators.plan_rollout import draw_responses, write_plans


@dataclass(frozen=True, kw_only=True)
class PlannedPictures:
    """B pictures, and the plans that they were drawn after."""

    plans: tuple[str, ...]
    """empty where none was written"""
    images: Tensor
    """(B, 3, H, W) in [0, 1], float32"""


class PlanGenerator:
    """Keeps the NoiseGenerator contract but for gradients: `differentiable` says so."""

    differentiable = False

    def __init__(self, policy: PlanPolicy, sampling: PlanSampling | None = None, *, plan: str | None = None) -> None:
        """`plan`: a plan in words for all pictures, instead of the policy's own.

        Raises BadConfig for one that the model cannot read.
        """
        self.policy, self.sampling, self.plan = policy, sampling or PlanSampling(), plan
        if plan is not None:
            policy.words_of([plan])
        self.noise_shape: tuple[int, ...] = (policy.max_words + policy.num_tokens,)
        self.device: torch.device = policy.device

    @property
    def planned(self) -> bool:
        """Whether pictures are drawn after a plan, be it the policy's own or not."""
        return self.sampling.plan or self.plan is not None

    def encode(self, prompts: Sequence[str]) -> Texts:
        """The prompts as they ask for a plan, or for none if none shall be there."""
        if self.sampling.plan or self.plan:
            return self.policy.encode(prompts)
        found: Any = self.policy.direct.encode(prompts)
        texts: Texts = found
        return texts

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of standard normal noise (B, W + T); no gradient reaches it."""
        with torch.no_grad():
            return self.policy.decode(self.respond(noise, condition).tokens)

    def draw(self, noise: Tensor, condition: Any) -> PlannedPictures:
        """The same images, with their plans."""
        response = self.respond(noise, condition)
        with torch.no_grad():
            images = self.policy.decode(response.tokens)
        return PlannedPictures(plans=tuple(self.policy.read_words(response.words, response.written)), images=images)

    def plans(self, noise: Tensor, condition: Any) -> list[str]:
        """The plans alone of the images that `sample` draws of the noise: no picture is drawn for them."""
        plans = self._plans(len(noise))
        if plans is None:
            plans = write_plans(self.policy, condition, _uniform(noise), words=self.sampling.words)
        return self.policy.read_words(*plans)

    def respond(self, noise: Tensor, condition: Any) -> Response:
        """The response that the noise (B, W + T) decides."""
        return draw_responses(
            self.policy, condition, _uniform(noise), words=self.sampling.words, image=self.sampling.image,
            plans=self._plans(len(noise)),
        )  # fmt: skip

    def _plans(self, count: int) -> tuple[Tensor, Tensor] | None:
        """Plans that nobody needs to write; None if the policy shall."""
        plan = self.plan if self.plan is not None else None if self.sampling.plan else ""
        return None if plan is None else self.policy.words_of([plan] * count)


def _uniform(noise: Tensor) -> Tensor:
    return torch.special.ndtr(precise(noise))
