"""Conditions of the families that pair text encoders: every token's state, and one summary of the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from plaudit.generators.stable_diffusion import TextStates

C = TypeVar("C", "PooledStates", "MaskedStates", "TextStates")

AT_ONCE = 8
"""prompts that text encoders read at once: a whole suite's would take more memory than drawing"""


@dataclass(frozen=True, kw_only=True)
class PooledStates:
    """B prompts as a denoiser reads them that wants a summary too."""

    states: Tensor
    """(B, L, D)"""
    pooled: Tensor
    """(B, P)"""

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Any) -> "PooledStates":
        return PooledStates(states=self.states[rows], pooled=self.pooled[rows])


@dataclass(frozen=True, kw_only=True)
class MaskedStates:
    """B prompts as a denoiser reads them that is told which tokens are padding."""

    states: Tensor
    """(B, L, D)"""
    mask: Tensor
    """(B, L), integers: 1 a token to read, 0 padding"""

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Any) -> "MaskedStates":
        return MaskedStates(states=self.states[rows], mask=self.mask[rows])


def read_each_once(prompts: Sequence[str], read: Callable[[list[str]], C]) -> C:
    """A row per prompt; `read` sees equal prompts once, AT_ONCE of them at most, and pads all to the same length."""
    distinct = list(dict.fromkeys(prompts))
    found = _joined([read(distinct[start : start + AT_ONCE]) for start in range(0, len(distinct), AT_ONCE)])
    place = {prompt: index for index, prompt in enumerate(distinct)}
    return found[torch.tensor([place[prompt] for prompt in prompts], device=found.states.device)]


def _joined(parts: Sequence[C]) -> C:
    """One after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(first, **{it.name: torch.cat([getattr(part, it.name) for part in parts]) for it in fields(first)})


def read_clip(tokenizer: Any, encoder: Any, prompts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """The states below a CLIP text encoder's last layer, (B, L, D), and the encoder's own first output.

    That output is the prompts' projected summary, (B, P), if the encoder has a projection.
    """
    read = tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    with torch.no_grad():
        # No padding mask: the published models were trained on the padded states.
        found = encoder(read["input_ids"].to(device), output_hidden_states=True)
    return found.hidden_states[-2], found[0]


def beside(without: PooledStates, given: PooledStates) -> PooledStates:
    """Both conditions of classifier-free guidance in one batch of 2 B: `without`'s one row B times, then `given`."""
    count = len(given)
    return PooledStates(
        states=torch.cat([without.states.expand(count, -1, -1), given.states]),
        pooled=torch.cat([without.pooled.expand(count, -1), given.pooled]),
    )


def guide(prediction: Tensor, guidance: float) -> Tensor:
    """The guided prediction (B, ...) of one (2 B, ...) under `beside`'s conditions (Ho and Salimans 2022, eq. 6)."""
    without, given = prediction.chunk(2)
    return without + guidance * (given - without)
