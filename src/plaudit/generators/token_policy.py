"""The contract of models that draw an image token by token, as policies; and how tokens are drawn from their logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import float64_device
from plaudit.generators.generator import Condition

MANY, STRETCH = 2**12, 2**9
"""from how many tokens on one is looked for in two steps, and how many are summed up for the first"""


@runtime_checkable
class TokenPolicy(Protocol):
    """Draws an image as T tokens of a codebook, one after the other, and decodes them.

    A row's distributions depend on its own condition and tokens only. Shape letters: B images, T tokens, V codes,
    D numbers of a hidden state. Nothing here decides about gradients: they reach whatever part of `transformer` is
    trained. It drops nothing at random, so that the same tokens have the same probability every time.
    """

    num_tokens: int
    """T"""
    vocabulary: int
    """V"""
    device: torch.device
    guidable: bool
    """whether it can be asked for nothing, as guidance does"""

    @property
    def transformer(self) -> nn.Module:
        """The network that says what comes next: the one to train."""
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The prompts' conditions, made once per run."""
        ...

    def beside_none(self, condition: Condition) -> Condition:
        """2 B rows: the condition's, and as many that ask for nothing; the pairs of classifier-free guidance.

        Raises BadConfig if the policy is not `guidable`.
        """
        ...

    def begin(self, condition: Condition) -> "Reading":
        """Read the conditions into a cache that has room for all T tokens."""
        ...

    def hidden(self, tokens: Tensor, condition: Condition) -> Tensor:
        """The states (B, T, D) from which each of the given tokens (B, T) is foretold, all read at once.

        Row t knows the condition and the tokens before t.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T)."""
        ...


class Reading(Protocol):
    """A batch of images on their way, with all that was read in a cache."""

    hidden: Tensor
    """(B, D), from which the next token is foretold"""

    def read(self, tokens: Tensor) -> None:
        """Take in the next token (B,) of every row."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn from logits: guided, then cooled, then cut, in this order."""

    guidance: float = 1.0
    """scale of classifier-free guidance, none + scale (prompt - none); 1: without"""
    temperature: float = 1.0
    top_k: int = 0
    """only so many of the likeliest tokens; 0: all"""
    top_p: float = 1.0
    """only the likeliest tokens that hold this much probability together; 1: all"""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise BadConfig(f"temperature must be a positive number, got {self.temperature}")
        if not math.isfinite(self.guidance):
            raise BadConfig(f"guidance must be a finite number (1: none), got {self.guidance}")
        if self.top_k < 0:
            raise BadConfig(f"top_k must be at least 0 (all tokens), got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise BadConfig(f"top_p is a share above 0 and up to 1 (all tokens), got {self.top_p}")

    @property
    def plain(self) -> bool:
        """Whether tokens come from the policy's own distribution: what is drawn is on-policy."""
        return self == Sampling()

    @property
    def guided(self) -> bool:
        """Whether two predictions are needed for a token."""
        return self.guidance != 1.0


def check_guidable(policy: TokenPolicy, sampling: Sampling) -> None:
    """Raises BadConfig for guidance of a policy that cannot be guided."""
    if sampling.guided and not policy.guidable:
        raise BadConfig(
            f"{type(policy).__name__} was taught no way to be asked for nothing, so it draws without guidance (1) "
            f"only, got {sampling.guidance:g}"
        )


def token_log_probs(logits: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities (..., V), float32, of what is drawn from logits (..., V), or with guidance (2, ..., V).

    Guided logits come as the pair of the prompt's and of none's. Cut tokens have minus infinity. Of equally likely
    tokens at the edge of `top_k`, all stay; `top_p` keeps the token that reaches the share (Holtzman et al. 2020).
    """
    logits = logits.float()
    if sampling.guided:
        prompt, none = logits
        logits = none + sampling.guidance * (prompt - none)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        edge = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < edge, -torch.inf)
    if sampling.top_p < 1:
        ordered, places = logits.sort(dim=-1, descending=True, stable=True)
        shares = ordered.softmax(dim=-1)
        # A token stays if those before it do not reach the share yet; the first always stays.
        beyond = shares.cumsum(dim=-1) - shares >= sampling.top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, places, beyond), -torch.inf)
    return logits.log_softmax(dim=-1)


def pick(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens (B,) of log-probabilities (B, V) where the uniform numbers (B,) in [0, 1) fall.

    By the inverse of the distribution, summed in float64: one number of an image's own stream decides its token. Of
    many tokens, stretches are summed in float32 first, and only the one in which the number falls is looked through.
    The uniform numbers lie on the log-probabilities' device, or on the CPU if that has no float64.
    """
    device = log_probs.device
    log_probs = log_probs.to(float64_device(device))
    if log_probs.shape[-1] < MANY:
        return _fallen(log_probs.double().exp(), uniforms.double())[0].to(device)
    probs = log_probs.exp()
    stretches = F.pad(probs, (0, -probs.shape[-1] % STRETCH)).unflatten(-1, (-1, STRETCH))
    stretch, within = _fallen(stretches.sum(dim=-1).double(), uniforms.double())
    inside = stretches.gather(1, stretch[:, None, None].expand(-1, 1, STRETCH))[:, 0]
    return (stretch * STRETCH + _fallen(inside.double(), within)[0]).to(device)


def _fallen(shares: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Into which of shares (B, n), float64, numbers (B,) in [0, 1) fall; and where in it, (B,) in [0, 1)."""
    sums = shares.cumsum(dim=-1)
    wanted = uniforms.to(sums) * sums[:, -1]
    places = torch.searchsorted(sums, wanted[:, None], right=True).squeeze(1)
    # Rounding may lift the last number to the very end, beyond the last share that is not nothing.
    places = torch.minimum(places, shares.shape[-1] - 1 - (shares > 0).flip(-1).int().argmax(dim=-1))
    size, end = (it.gather(1, places[:, None]).squeeze(1) for it in (shares, sums))
    return places, 1 - ((end - wanted) / size).clamp(0, 1)
