"""A plan policy on its way through a training: in lower precision, beside what it was at the start."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.core.devices import check_fast_bfloat16, fast_autocast
from plaudit.generators.plan_policy import PlanPolicy, PlanReading, Texts
from plaudit.generators.token_policy import TokenPolicy
from plaudit.generators.token_training import TokensInBfloat16


class PlansInBfloat16:
    """A policy whose transformer and decoder multiply in bfloat16, while all around them stays as it was. A PlanPolicy.

    Weights, states between layers, and log-probabilities are float32 as before; and so are both heads' products.
    """

    def __init__(self, policy: PlanPolicy) -> None:
        """Raises BadConfig where bfloat16 is not native: there it is slower than float32, on CPUs by hundreds."""
        check_fast_bfloat16(policy.device)
        self.policy, self.device, self.guidable = policy, policy.device, policy.guidable
        self.num_tokens, self.vocabulary = policy.num_tokens, policy.vocabulary
        self.words_vocabulary, self.max_words = policy.words_vocabulary, policy.max_words
        self.begin_of_image, self.writable = policy.begin_of_image, policy.writable
        self.image_size = policy.image_size

    @property
    def transformer(self) -> nn.Module:
        """The policy's."""
        return self.policy.transformer

    @property
    def direct(self) -> TokenPolicy:
        """The policy's, in the same precision."""
        return TokensInBfloat16(self.policy.direct)

    def encode(self, prompts: Sequence[str]) -> Texts:
        """As the policy does."""
        return self.policy.encode(prompts)

    def asking_nothing(self, texts: Texts, drop: Tensor | None = None) -> Texts:
        """As the policy does."""
        return self.policy.asking_nothing(texts, drop)

    def begin(self, prompts: Texts, *, guided: bool, writes: bool = True) -> PlanReading:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return _PlanReadingInBfloat16(self.policy.begin(prompts, guided=guided, writes=writes), self.device)

    def states(self, texts: Texts, tokens: Tensor) -> Tensor:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            found = self.policy.states(texts, tokens)
        return found.float()

    def word_logits(self, states: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.word_logits(states)

    def logits(self, states: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.logits(states)

    def read_words(self, words: Tensor, written: Tensor) -> list[str]:
        """As the policy does."""
        return self.policy.read_words(words, written)

    def words_of(self, plans: Sequence[str], *, cut: bool = False) -> tuple[Tensor, Tensor]:
        """As the policy does."""
        return self.policy.words_of(plans, cut=cut)

    def encode_images(self, images: Tensor) -> Tensor:
        """As the policy does."""
        return self.policy.encode_images(images)

    def decode(self, tokens: Tensor) -> Tensor:
        """As the policy does, to bfloat16's precision."""
        with fast_autocast(self.device):
            return self.policy.decode(tokens)


class _PlanReadingInBfloat16:
    """Keeps the PlanReading contract."""

    def __init__(self, reading: PlanReading, device: torch.device) -> None:
        self._reading, self._device = reading, device
        self.hidden = reading.hidden.float()

    def read_words(self, words: Tensor, going: Tensor) -> None:
        with fast_autocast(self._device):
            self._reading.read_words(words, going)
        self.hidden = self._reading.hidden.float()

    def begin_picture(self) -> None:
        with fast_autocast(self._device):
            self._reading.begin_picture()
        self.hidden = self._reading.hidden.float()

    def read(self, tokens: Tensor) -> None:
        with fast_autocast(self._device):
            self._reading.read(tokens)
        self.hidden = self._reading.hidden.float()


def frozen_plan_start(policy: PlanPolicy) -> PlanPolicy:
    """The policy with a transformer of its own, which stays as it is now; all else is shared."""
    start: Any = copy.copy(policy)
    start.transformer = copy.deepcopy(policy.transformer).requires_grad_(False)
    kept: PlanPolicy = start
    return kept
