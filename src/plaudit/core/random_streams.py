"""One random stream per image, so that no result depends on batch size, order or the number of processes."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def stream(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on the key alone: (seed, prompt index, image index, purpose...)."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def noise_for(keys: Sequence[tuple[int | str, ...]], shape: Sequence[int]) -> Tensor:
    """Standard normal noise, (len(keys), *shape) float32 on the CPU, each row from its own key's stream."""
    return torch.stack([torch.randn(tuple(shape), generator=stream(*key)) for key in keys])
