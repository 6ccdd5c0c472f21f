"""A token policy as a generator: noise decides its tokens, so that whatever draws from noise draws with it too.

A standard normal number for each token is turned into a uniform one by the normal distribution's own function, and
that picks the token. So best-of-n, evaluations and reports take such a model like any other; what follows gradients
cannot, for a picked token has none.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.core.float64 import precise
from plaudit.generators.generator import Condition
from plaudit.generators.token_policy import Sampling, TokenPolicy, check_guidable
from plaudit.generators.token_rollout import draw_tokens


class TokenGenerator:
    """Keeps the NoiseGenerator contract but for gradients: `differentiable` says so."""

    differentiable = False

    def __init__(self, policy: TokenPolicy, sampling: Sampling | None = None) -> None:
        """Raises BadConfig for guidance of a policy that cannot be guided."""
        self.policy, self.sampling = policy, sampling or Sampling()
        check_guidable(policy, self.sampling)
        self.noise_shape: tuple[int, ...] = (policy.num_tokens,)
        self.device: torch.device = policy.device

    def encode(self, prompts: Sequence[str]) -> Condition:
        """As the policy does."""
        return self.policy.encode(prompts)

    def sample(self, noise: Tensor, condition: Any) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of standard normal noise (B, T); no gradient reaches it."""
        tokens = draw_tokens(self.policy, condition, torch.special.ndtr(precise(noise)), self.sampling).tokens
        with torch.no_grad():
            return self.policy.decode(tokens)
