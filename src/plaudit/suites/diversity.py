"""How different a prompt's pictures are: what a training loses first when it only chases a reward."""

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 32
"""pixels a side at which pictures are compared: layout and colours, not texture"""


def in_group_distance(images: Tensor, group: int) -> Tensor:
    """The mean distance between pictures of the same prompt, (P,), of (P * group, 3, H, W) in [0, 1], prompt by prompt.

    The distance of two pictures is the root of the mean squared difference of their pixels, averaged to 32 a side
    where they have more: 0 for the same picture twice, 1 for black and white. Raises ValueError for a group of 1.
    """
    if group < 2:
        raise ValueError(f"distances within a group need at least 2 images of a prompt, got {group}")
    small = F.interpolate(images.float(), size=(SIDE, SIDE), mode="area") if images.shape[-1] > SIDE else images.float()
    flat = small.flatten(1).unflatten(0, (-1, group))
    distances = torch.cdist(flat, flat) / flat.shape[-1] ** 0.5
    return distances.sum(dim=(1, 2)) / (group * (group - 1))
