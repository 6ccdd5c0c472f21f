"""The table of feature nets. To add one, add a row; nothing is imported until a row is built."""

from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from plaudit.rewards.feature_nets import FeatureNet

CLIP_L_336_SHA256 = "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801"

_CLIP_L = "openai/clip-vit-large-patch14"
_CLIP_L_COMMIT = "32bd64288804d66eefd0ccbe215aa642df71cc41"
_CLIP_L_336 = "openai/clip-vit-large-patch14-336"
_CLIP_L_336_COMMIT = "ce19dc912ca5cd21c8a653c79e251e808ccabcd1"
_DINOV2 = "facebook/dinov2-base"
_DINOV2_COMMIT = "f9e44c814b77203eaa57a6bdbbd535f21ede1415"
_SETTINGS = ("config.json", "preprocessor_config.json")


# memory_mb: of the network in float32, by the number of its parameters.
FEATURE_NETS = Registry(
    "feature net",
    [
        *(
            Entry(
                name=name,
                target="plaudit.rewards.feature_nets:load_pocket_features",
                arguments={"name": name},
                summary=f"{name}'s image tower{note}",
                facts={"dimensions": 128, "side": 64, "paper": "Radford et al. 2021, CLIP", "weights": "embedded"},
            )
            for name, note in (
                ("pocket-pickscore", "; the usual one on the pocket world"),
                ("pocket-clip", "; for models that were not trained on it"),
            )
        ),
        Entry(
            name="pocket-imagereward",
            target="plaudit.rewards.feature_nets:load_pocket_image_reward_features",
            arguments={"name": "pocket-imagereward"},
            summary="pocket-imagereward's image tower; no relative of pocket-clip",
            facts={
                "dimensions": 128,
                "side": 64,
                "paper": "Xu et al. 2023, ImageReward; Li et al. 2022, BLIP",
                "weights": "embedded",
            },
        ),
        Entry(
            name="clip-vit-l14",
            target="plaudit.rewards.feature_nets:load_clip_features",
            arguments={
                "folder": HubFiles(hub_id=_CLIP_L, patterns=(*_SETTINGS, "model.safetensors"), revision=_CLIP_L_COMMIT),
                "name": "clip-vit-l14",
            },
            summary="the image tower of OpenAI's CLIP ViT-L/14 at 224 pixels",
            hub_id=_CLIP_L,
            revision=_CLIP_L_COMMIT,
            licence="MIT",
            size_mb=1711.0,
            facts={
                "dimensions": 768,
                "side": 224,
                "paper": "Radford et al. 2021, CLIP",
                "memory_mb": 1216.0,
                "weights": "safetensors",
            },
        ),
        Entry(
            name="clip-vit-l14-336",
            target="plaudit.rewards.feature_nets:load_clip_features",
            arguments={
                "folder": HubFiles(
                    hub_id=_CLIP_L_336, patterns=(*_SETTINGS, "pytorch_model.bin"), revision=_CLIP_L_336_COMMIT
                ),
                "name": "clip-vit-l14-336",
                "weights": "pytorch_model.bin",
                "sha256": CLIP_L_336_SHA256,
            },
            summary="the image tower of OpenAI's CLIP ViT-L/14 at 336 pixels: CMMD's",
            hub_id=_CLIP_L_336,
            revision=_CLIP_L_336_COMMIT,
            licence="MIT (of its code)",
            size_mb=1712.0,
            facts={
                "dimensions": 768,
                "side": 336,
                "paper": "Jayasumana et al. 2024, CMMD",
                "memory_mb": 1218.0,
                "weights": "a pickle of known sha256; only tensors are read",
            },
        ),
        Entry(
            name="dinov2-base",
            target="plaudit.rewards.feature_nets:load_dinov2_features",
            arguments={
                "folder": HubFiles(hub_id=_DINOV2, patterns=(*_SETTINGS, "model.safetensors"), revision=_DINOV2_COMMIT),
                "name": "dinov2-base",
            },
            summary="DINOv2 ViT-B/14's class token at 224 pixels; never saw a caption",
            hub_id=_DINOV2,
            revision=_DINOV2_COMMIT,
            size_mb=346.0,
            facts={
                "dimensions": 768,
                "side": 224,
                "paper": "Oquab et al. 2023, DINOv2; Stein et al. 2023 compare sets with it",
                "memory_mb": 346.0,
                "weights": "safetensors",
            },
        ),
    ],
)

USUAL_NET = "pocket-pickscore"


def load_feature_net(name_or_path: str = USUAL_NET, *, device: "torch.device | str | None" = None) -> "FeatureNet":
    """The net of a row's name or hub id, or of a folder with a CLIPModel or a Dinov2Model.

    `device` is where it is put first (the CPU if not given); it follows the images afterwards. Raises UnknownName with
    the nearest name, or BadConfig.
    """
    if (entry := FEATURE_NETS.row_of(name_or_path)) is not None:
        made: FeatureNet = entry.build(device=device)
        return made
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        from plaudit.rewards.feature_nets import load_folder

        return load_folder(folder, device=device)
    found: FeatureNet = FEATURE_NETS.find(name_or_path).build(device=device)
    return found
