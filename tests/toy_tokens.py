"""A policy of T tokens: a table says what follows a token, a prompt adds its wishes; a picture's grey is its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.core.team import Team


@dataclass(frozen=True)
class Wishes:
    """One number of a prompt per row; 0 asks for nothing."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> "Wishes":
        return Wishes(self.values[rows])


class ToyTokens:
    """`transformer` holds the table (V + 1, D) of what was read last, place embeddings, and the way to logits."""

    def __init__(self, num_tokens: int = 5, vocabulary: int = 6, *, seed: int = 0) -> None:
        self.num_tokens, self.vocabulary, self.device = num_tokens, vocabulary, torch.device("cpu")
        self.guidable = True
        rng = torch.Generator().manual_seed(seed)
        shapes = {"last": (vocabulary + 1, 8), "place": (num_tokens, 8), "wish": (4, 8), "out": (vocabulary, 8)}
        self.transformer = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(*shape, generator=rng)) for name, shape in shapes.items()}
        )

    def encode(self, prompts: Sequence[str]) -> Wishes:
        return Wishes(torch.tensor([1 + len(prompt) % 3 for prompt in prompts]))

    def beside_none(self, condition: Wishes) -> Wishes:
        return Wishes(torch.cat([condition.values, torch.zeros_like(condition.values)]))

    def begin(self, condition: Wishes) -> "ToyReading":
        return ToyReading(self, condition)

    def hidden(self, tokens: Tensor, condition: Wishes) -> Tensor:
        net = self.transformer
        last = torch.cat([torch.full_like(tokens[:, :1], self.vocabulary), tokens[:, :-1]], dim=1)
        return torch.tanh(net["last"][last] + net["place"] + net["wish"][condition.values][:, None])

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden.float() @ self.transformer["out"].T

    def decode(self, tokens: Tensor) -> Tensor:
        grey = tokens.float().mean(dim=1) / (self.vocabulary - 1)
        return grey.view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()


class ToyReading:
    def __init__(self, policy: ToyTokens, condition: Wishes) -> None:
        self.policy, self.condition, self.place = policy, condition, 0
        self._know(torch.full((len(condition),), policy.vocabulary))

    def read(self, tokens: Tensor) -> None:
        self.place += 1
        self._know(tokens)

    def _know(self, last: Tensor) -> None:
        net = self.policy.transformer
        self.hidden = torch.tanh(net["last"][last] + net["place"][self.place] + net["wish"][self.condition.values])


class Bright:
    """Wants white."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.mean(dim=(1, 2, 3)).float()


class Wide:
    """A distribution reward that wants greys far from the mean of all so far."""

    def __init__(self) -> None:
        self.mean = torch.tensor(0.5)

    def __call__(self, images: Tensor, prompts: Sequence[str], team: Team | None = None) -> Tensor:
        greys = images.mean(dim=(1, 2, 3))
        sums = torch.stack([greys.sum(), torch.tensor(float(len(greys)))])
        (team or Team()).add([sums])
        found = (greys - self.mean).square()
        self.mean = 0.5 * self.mean + 0.5 * sums[0] / sums[1]
        return found

    def distance(self) -> float:
        return float(self.mean)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state["mean"].clone()
