"""The published rewards' networks with random weights: what they cost does not depend on what they know."""

from typing import Any

import torch
from torch import nn

from plaudit.core.errors import UnknownName
from plaudit.generators.random_weights import fill, without_weights
from plaudit.generators.shapes.networks import Scale
from plaudit.generators.shapes.rewards import (
    AESTHETIC,
    AESTHETIC_TOWER,
    BLIP_L,
    IMAGE_REWARD,
    PUBLISHED_REWARDS,
    TOWERS,
)
from plaudit.generators.spelling_tokenizers import spelling_tokenizer
from plaudit.rewards.reward import Reward


def random_reward(
    name: str, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None, scale: Scale = "real"
) -> tuple[Reward, nn.Module]:
    """A reward of PUBLISHED_REWARDS and its network, frozen; float32 on the CPU unless told otherwise.

    Raises UnknownName for another name.
    """
    place, precision = torch.device(device or "cpu"), dtype or torch.float32
    if name == IMAGE_REWARD:
        return _image_reward(place, precision, scale)
    if name == AESTHETIC:
        return _aesthetic(place, precision, scale)
    if name not in TOWERS:
        raise UnknownName(f"no published reward named {name!r} is known. Known: {', '.join(PUBLISHED_REWARDS)}.")
    from transformers import CLIPConfig, CLIPModel

    from plaudit.rewards.clip_towers import ClipTowers

    settings, scaled = TOWERS[name]
    tokenizer = spelling_tokenizer("clip")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    told: dict[str, Any] = {**settings[scale], "text_config": {**settings[scale]["text_config"], **ends}}
    with without_weights(precision):
        model = CLIPModel(CLIPConfig(**told))
    return ClipTowers(fill(model, device=place, dtype=precision), tokenizer, scaled=scaled), model


def _image_reward(place: torch.device, precision: torch.dtype, scale: Scale) -> tuple[Reward, nn.Module]:
    from plaudit.rewards.image_reward import ImageReward, ImageRewardModel

    with without_weights(precision):
        model = ImageRewardModel(BLIP_L[scale])
    fill(model, device=place, dtype=precision)
    return ImageReward(model, spelling_tokenizer("clip")), model


def _aesthetic(place: torch.device, precision: torch.dtype, scale: Scale) -> tuple[Reward, nn.Module]:
    """The image tower and the head of LAION's predictor."""
    from transformers import CLIPConfig, CLIPVisionModelWithProjection

    from plaudit.rewards.aesthetic import AestheticScore
    from plaudit.rewards.image_reward import PUBLISHED_MLP_SIZES, linear_head

    config: Any = CLIPConfig(**AESTHETIC_TOWER[scale])
    config.vision_config.projection_dim = config.projection_dim
    with without_weights(precision):
        tower = CLIPVisionModelWithProjection(config.vision_config)
        head = linear_head(config.projection_dim, PUBLISHED_MLP_SIZES)
    model = fill(nn.ModuleList([tower, head]), device=place, dtype=precision)
    return AestheticScore(tower, head), model
