"""The rows of published CLIP-like rewards: which files of the hub, at which commit, under which licence.

Commits are pinned: a row means the same weights tomorrow. Weights are safetensors where such are published. Where only
a pickle is, its sha256 stands here and is compared before the file is opened; of one file, HPSv2's, none was to be had,
so that the first download of a machine is what later loads must agree with.
"""

from typing import Any

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry

CLIP_FILES = ("config.json", "*.json", "merges.txt", "model*.safetensors")
"""a CLIPModel with its tokenizer"""
_NO_WEIGHTS = ("config.json", "*.json", "merges.txt")

_CLIP_L = "openai/clip-vit-large-patch14"
_CLIP_L_COMMIT = "32bd64288804d66eefd0ccbe215aa642df71cc41"
_CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
_CLIP_H_COMMIT = "1c2b8495b28150b8a4922ee1c8edee224c284c0c"
_PICKSCORE_COMMIT = "a4e4367c6dfa7288a00c550414478f865b875800"
_HPS = "xswu/HPSv2"
_HPS_COMMIT = "697403c78157020a1ae59d23f111aa58ced35b0a"
_IMAGE_REWARD = "zai-org/ImageReward"
_IMAGE_REWARD_COMMIT = "5736be03b2652728fb87788c9797b0570450ab72"
_BERT = "google-bert/bert-base-uncased"
_BERT_COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"
_AESTHETIC = "camenduru/improved-aesthetic-predictor"
_AESTHETIC_COMMIT = "7b2449be1264fcd9a1cf92e3d30dd29af989c836"

HPS_CHECKPOINTS = ("HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt")
AESTHETIC_CHECKPOINT = "sac+logos+ava1-l14-linearMSE.pth"

HPS_21_SHA256 = "c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837"
IMAGE_REWARD_SHA256 = "d71dc8d4912bc633c06ab8ef1ef6a81e8199d4369f14b47b29baf1d19de561f6"
AESTHETIC_SHA256 = "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"

MEGABYTES = {"clip-l": 1710.5, "clip-h": 3944.4, "image-reward": 1784.8, "clip-l-sees": 1219.6}
"""of the networks in float32, by the number of their parameters"""


def _facts(
    network: str, raw_scale: tuple[float, float], default_weight: float, paper: str, weights: str = "safetensors"
) -> dict[str, Any]:
    """`raw_scale`: where scores usually lie, as the paper says; `weights`: how it is known that they are the right."""
    return {
        "raw_scale": raw_scale,
        "default_weight": default_weight,
        "paper": paper,
        "differentiable": True,
        "memory_mb": MEGABYTES[network],
        "weights": weights,
    }


_PINNED = "a pickle of known sha256; only tensors are read"
_FIRST_SEEN = "a pickle whose sha256 is that of this machine's first download; only tensors are read"


def _clip(name: str, hub_id: str, commit: str, network: str, *, licence: str, summary: str) -> Entry:
    return Entry(
        name=name,
        target="plaudit.rewards.clip_towers:load_towers",
        arguments={"folder": HubFiles(hub_id=hub_id, patterns=CLIP_FILES, revision=commit), "scaled": True},
        summary=summary,
        hub_id=hub_id,
        revision=commit,
        licence=licence,
        size_mb=1715.0 if network == "clip-l" else 3949.0,
        facts=_facts(network, (0.0, 100.0), 0.01, "Hessel et al. 2021, CLIPScore"),
    )


def _hps(name: str, version: str, *, sha256: str | None, fit: str, summary: str) -> Entry:
    return Entry(
        name=name,
        target="plaudit.rewards.hps:load_hps",
        arguments={
            # Of LAION's model only the settings and the tokenizer: HPS is that network with other weights.
            "folder": HubFiles(hub_id=_CLIP_H, patterns=_NO_WEIGHTS, revision=_CLIP_H_COMMIT),
            "checkpoint": HubFiles(hub_id=_HPS, patterns=(f"HPS_{version}_compressed.pt",), revision=_HPS_COMMIT),
            "sha256": sha256,
            "fit": fit,
        },
        summary=summary,
        hub_id=_HPS,
        revision=_HPS_COMMIT,
        size_mb=1977.0,
        facts=_facts("clip-h", (0.2, 0.4), 5.0, "Wu et al. 2023, HPSv2", _PINNED if sha256 else _FIRST_SEEN),
    )


PUBLISHED = [
    _clip(
        "clip-vit-l14",
        _CLIP_L,
        _CLIP_L_COMMIT,
        "clip-l",
        licence="MIT",
        summary="agreement of image and prompt, CLIP score of OpenAI's ViT-L/14",
    ),
    _clip(
        "clip-vit-h14",
        _CLIP_H,
        _CLIP_H_COMMIT,
        "clip-h",
        licence="MIT",
        summary="agreement of image and prompt, CLIP score of LAION's ViT-H/14, as in ReNO",
    ),
    Entry(
        name="pickscore-v1",
        target="plaudit.rewards.clip_towers:load_towers",
        arguments={
            "folder": HubFiles(hub_id="yuvalkirstain/PickScore_v1", patterns=CLIP_FILES, revision=_PICKSCORE_COMMIT),
            "scaled": True,
        },
        summary="preference of users who picked one of two images, CLIP ViT-H/14",
        hub_id="yuvalkirstain/PickScore_v1",
        revision=_PICKSCORE_COMMIT,
        licence="MIT (of its code; the weights' page names none)",
        size_mb=3949.0,
        facts=_facts("clip-h", (20.0, 30.0), 0.05, "Kirstain et al. 2023, PickScore"),
    ),
    _hps(
        "hpsv2.1",
        "v2.1",
        sha256=HPS_21_SHA256,
        fit="pad",
        summary="human preference score 2.1, CLIP ViT-H/14; the whole image, black around it",
    ),
    _hps(
        "hpsv2.1-centre-crop",
        "v2.1",
        sha256=HPS_21_SHA256,
        fit="crop",
        summary="human preference score 2.1 of the image's centre square, as in ReNO",
    ),
    _hps(
        "hpsv2",
        "v2",
        sha256=None,
        fit="pad",
        summary="human preference score 2.0, CLIP ViT-H/14; the whole image, black around it",
    ),
    Entry(
        name="imagereward-v1",
        target="plaudit.rewards.image_reward:load_image_reward",
        arguments={
            "folder": HubFiles(
                hub_id=_IMAGE_REWARD, patterns=("ImageReward.pt", "med_config.json"), revision=_IMAGE_REWARD_COMMIT
            ),
            "tokenizer": HubFiles(
                hub_id=_BERT, patterns=("tokenizer_config.json", "tokenizer.json", "vocab.txt"), revision=_BERT_COMMIT
            ),
            "sha256": IMAGE_REWARD_SHA256,
        },
        summary="preference and prompt following, BLIP ViT-L",
        hub_id=_IMAGE_REWARD,
        revision=_IMAGE_REWARD_COMMIT,
        size_mb=1788.0,
        facts=_facts("image-reward", (-2.0, 2.0), 1.0, "Xu et al. 2023, ImageReward", _PINNED),
    ),
    Entry(
        name="laion-aesthetic-v2",
        target="plaudit.rewards.aesthetic:load_aesthetic",
        arguments={
            "folder": HubFiles(hub_id=_CLIP_L, patterns=("config.json", "model.safetensors"), revision=_CLIP_L_COMMIT),
            "checkpoint": HubFiles(hub_id=_AESTHETIC, patterns=(AESTHETIC_CHECKPOINT,), revision=_AESTHETIC_COMMIT),
            "sha256": AESTHETIC_SHA256,
        },
        summary="how much people like a picture, whatever the prompt: LAION's improved aesthetic predictor",
        hub_id=_AESTHETIC,
        revision=_AESTHETIC_COMMIT,
        licence="Apache-2.0; of the CLIP model: MIT",
        size_mb=1714.0,
        # ReNO has it switched off; at this weight a whole point counts as much as a tenth of ImageReward's.
        facts=_facts("clip-l-sees", (1.0, 10.0), 0.1, "Schuhmann et al. 2022, LAION-5B", _PINNED),
    ),
]
