"""A token policy on its way through a training: in lower precision, beside what it was at the start."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.core.devices import check_fast_bfloat16, fast_autocast
from plaudit.generators.direct_drawing import DirectDrawing
from plaudit.generators.generator import Condition
from plaudit.generators.token_policy import Reading, TokenPolicy


class TokensInBfloat16:
    """A policy whose transformer and decoder multiply in bfloat16; all around them stays as it was. A TokenPolicy.

    Weights, states between layers, logits, and so log-probabilities are float32 as before.
    """

    def __init__(self, policy: TokenPolicy) -> None:
        """Raises BadConfig where bfloat16 is not native: there it is slower than float32, on CPUs by hundreds."""
        check_fast_bfloat16(policy.device)
        self.policy, self.device, self.guidable = policy, policy.device, policy.guidable
        self.num_tokens, self.vocabulary = policy.num_tokens, policy.vocabulary

    @property
    def transformer(self) -> nn.Module:
        """The policy's."""
        return self.policy.transformer

    def encode(self, prompts: Sequence[str]) -> Condition:
        """As the policy does."""
        return self.policy.encode(prompts)

    def beside_none(self, condition: Condition) -> Condition:
        """As the policy does."""
        return self.policy.beside_none(condition)

    def begin(self, condition: Condition) -> Reading:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return _ReadingInBfloat16(self.policy.begin(condition), self.device)

    def hidden(self, tokens: Tensor, condition: Condition) -> Tensor:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            found = self.policy.hidden(tokens, condition)
        return found.float()

    def logits(self, hidden: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.logits(hidden)

    def decode(self, tokens: Tensor) -> Tensor:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return self.policy.decode(tokens)


class _ReadingInBfloat16:
    """Keeps the Reading contract."""

    def __init__(self, reading: Reading, device: torch.device) -> None:
        self._reading, self._device = reading, device
        self.hidden = reading.hidden.float()

    def read(self, tokens: Tensor) -> None:
        with fast_autocast(self._device):
            self._reading.read(tokens)
        self.hidden = self._reading.hidden.float()


def frozen_start(policy: TokenPolicy) -> TokenPolicy:
    """The policy with a transformer of its own, which stays as it is now; all else is shared."""
    start: Any = copy.copy(policy)
    if isinstance(policy, DirectDrawing):
        # Its transformer is that of the policy behind it.
        start.policy = frozen_start(start.policy)
    else:
        start.transformer = copy.deepcopy(policy.transformer).requires_grad_(False)
    kept: TokenPolicy = start
    return kept
