"""The convolution blocks of the autoencoders of VQGAN and LlamaGen (Esser et al. 2021), by their published names.

The two families stack the same blocks and differ in how the stacks are numbered and named. Nothing drops out.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """The group norm before every convolution."""
    return nn.GroupNorm(groups, channels, eps=NORM_EPS)


class ResnetBlock(nn.Module):
    """Two convolutions beside a shortcut: (B, before, H, W) to (B, after, H, W)."""

    def __init__(self, before: int, after: int, *, groups: int) -> None:
        super().__init__()
        self.norm1 = norm(before, groups)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = norm(after, groups)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)
        self._widens = before != after

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x)))
        found = self.conv2(F.silu(self.norm2(found)))
        return found + (self.nin_shortcut(x) if self._widens else x)


class AttnBlock(nn.Module):
    """One head of attention over all places of (B, C, H, W), added to what came in."""

    def __init__(self, channels: int, *, groups: int) -> None:
        super().__init__()
        self.norm = norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        read = self.norm(x)
        query, key, value = (part(read).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return x + self.proj_out(found.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """(B, C, H, W) to half the height and width, by a convolution that looks to the right and down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """(B, C, H, W) to twice the height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Some blocks of one size, each followed by attention if the level attends, and a change of size if one is set.

    (B, widths[0], H, W) to (B, widths[-1], H, W), or half or twice the height and width. `blocks` is what the family
    calls the list of its residual blocks, in the names of its weights.
    """

    def __init__(self, widths: list[int], *, groups: int, attends: bool, blocks: str) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self._blocks = blocks
        self.add_module(blocks, nn.ModuleList(ResnetBlock(before, after, groups=groups) for before, after in pairs))
        self.attn = nn.ModuleList(AttnBlock(after, groups=groups) for _, after in pairs if attends)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.get_submodule(self._blocks).children()):
            x = block(x)
            if len(self.attn):
                x = self.attn[place](x)
        for change in (self.downsample, self.upsample):
            x = x if change is None else change(x)
        return x
