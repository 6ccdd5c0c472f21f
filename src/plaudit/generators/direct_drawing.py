"""A model that may write a plan, drawing without one: begin-of-image follows the prompt. A TokenPolicy."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.generators.plan_policy import PlanPolicy, PlanReading, Texts, with_begin


class DirectDrawing:
    """Keeps the TokenPolicy contract. Its conditions are the prompts alone, as the plan policy's own are."""

    def __init__(self, policy: PlanPolicy, encode: Callable[[Sequence[str]], Texts]) -> None:
        """`encode`: the prompts as they ask for no plan."""
        self.policy, self._encode = policy, encode
        self.num_tokens, self.vocabulary = policy.num_tokens, policy.vocabulary
        self.device, self.guidable = policy.device, policy.guidable

    @property
    def transformer(self) -> nn.Module:
        """The policy's."""
        return self.policy.transformer

    def use_checkpointing(self, enabled: bool = True) -> None:
        """As the policy does."""
        policy: Any = self.policy
        policy.use_checkpointing(enabled)

    def encode(self, prompts: Sequence[str]) -> Texts:
        """The prompts as they ask for no plan."""
        return self._encode(prompts)

    def beside_none(self, condition: Any) -> Texts:
        """2 B rows: the condition's, then as many that ask for nothing."""
        nothing = self.policy.asking_nothing(condition)
        return Texts(ids=torch.cat([condition.ids, nothing.ids]), mask=torch.cat([condition.mask, nothing.mask]))

    def begin(self, condition: Any) -> PlanReading:
        """Read the prompts and begin-of-image into a cache that has room for all T tokens."""
        reading = self.policy.begin(condition, guided=False, writes=False)
        reading.begin_picture()
        return reading

    def hidden(self, tokens: Tensor, condition: Any) -> Tensor:
        """The states (B, T, D) from which each of the given tokens (B, T) is foretold, all read at once."""
        texts = with_begin(self.policy, condition)
        return self.policy.states(texts, tokens)[:, texts.ids.shape[1] - 1 :]

    def logits(self, hidden: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.logits(hidden)

    def decode(self, tokens: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.decode(tokens)
