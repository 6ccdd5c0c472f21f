"""The sizes of the published rewards that follow CLIP and BLIP, and of miniatures of the same kind."""

from collections.abc import Mapping
from typing import Any

from plaudit.generators.shapes.networks import Scale


def _transformer(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }  # fmt: skip


_TINY_CLIP = {
    "text_config": {**_transformer(32, 2, 2), "vocab_size": 128},
    "vision_config": {**_transformer(32, 2, 2), "image_size": 16, "patch_size": 8},
    "projection_dim": 32,
}
_VIT_H: dict[Scale, dict[str, Any]] = {
    "real": {
        "text_config": {**_transformer(1024, 24, 16), "hidden_act": "gelu", "vocab_size": 49408},
        "vision_config": {**_transformer(1280, 32, 16), "hidden_act": "gelu", "image_size": 224, "patch_size": 14},
        "projection_dim": 1024,
    },
    "tiny": _TINY_CLIP,
}
_VIT_L: dict[Scale, dict[str, Any]] = {
    "real": {
        "text_config": {**_transformer(768, 12, 12), "vocab_size": 49408},
        "vision_config": {**_transformer(1024, 24, 16), "image_size": 224, "patch_size": 14},
        "projection_dim": 768,
    },
    "tiny": _TINY_CLIP,
}

TOWERS: dict[str, tuple[Mapping[Scale, Mapping[str, Any]], bool]] = {
    "hpsv2.1": (_VIT_H, False),
    "hpsv2.1-centre-crop": (_VIT_H, False),
    "hpsv2": (_VIT_H, False),
    "pickscore-v1": (_VIT_H, True),
    "clip-vit-h14": (_VIT_H, True),
    "clip-vit-l14": (_VIT_L, True),
}
"""CLIP models, by the names of the table of rewards: settings by scale, and whether their score is scaled"""

AESTHETIC = "laion-aesthetic-v2"
AESTHETIC_TOWER = _VIT_L

IMAGE_REWARD = "imagereward-v1"
BLIP_L: dict[Scale, dict[str, Any]] = {
    "real": {
        "vision_config": {**_transformer(1024, 24, 16), "image_size": 224, "patch_size": 16},
        "text_config": {**_transformer(768, 12, 12), "vocab_size": 30524, "encoder_hidden_size": 1024},
    },
    "tiny": {
        "vision_config": {**_transformer(32, 2, 2), "image_size": 16, "patch_size": 8},
        "text_config": {**_transformer(32, 2, 2), "vocab_size": 128, "encoder_hidden_size": 32},
        "mlp_sizes": (16, 8, 4),
    },
}

PUBLISHED_REWARDS = (*TOWERS, IMAGE_REWARD, AESTHETIC)
