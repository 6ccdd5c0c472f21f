"""The rows of rewards that read a caption of the picture: which files of the hub, at which commit, which licence.

The encoder's commit holds no safetensors, only a pickle whose sha256 was nowhere to be had: the first download of a
machine is what later loads must agree with, and nothing but tensors is read from it.
"""

from typing import Any

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry

_QWEN = HubFiles(
    hub_id="Qwen/Qwen2.5-VL-7B-Instruct",
    patterns=("*.json", "merges.txt", "model-*.safetensors"),
    revision="cc594898137f460bfe9f0759e9844b3ce807cfb5",
)
_DEBERTA = "microsoft/deberta-xlarge-mnli"
_DEBERTA_COMMIT = "5b07a9086c1dbb79981ff7b05b4d1ad83b3af51c"
_ENCODER: dict[str, Any] = {
    "encoder": HubFiles(
        hub_id=_DEBERTA,
        patterns=("config.json", "tokenizer_config.json", "vocab.json", "merges.txt", "pytorch_model.bin"),
        revision=_DEBERTA_COMMIT,
    ),
    # Of its 48, the one that agrees best with people, as BERTScore's authors measured.
    "layer": 40,
}
_MEGABYTES = {"qwen": 16600.0, "deberta-file": 3042.0, "deberta": 2561.0}
"""downloads, and the encoder's first 40 layers in float32"""


def _facts(memory_mb: float, **more: str) -> dict[str, Any]:
    return {
        # RLCM's curves, means over many pictures, lie between 0.75 and 0.78; single pictures spread further.
        "raw_scale": (0.7, 0.85),
        "default_weight": 1.0,
        "paper": "Black et al. 2023, DDPO",
        "differentiable": False,
        "memory_mb": memory_mb,
        "weights": "of the encoder a pickle whose sha256 is that of this machine's first download; only tensors are "
        "read",
        **more,
    }


CAPTIONS = [
    Entry(
        name="caption-recall",
        target="plaudit.rewards.caption_recall:load_caption_recall",
        arguments={"captioner": _QWEN, **_ENCODER},
        summary="the prompt is in what Qwen2.5-VL 7B says of the picture, BERTScore recall; no gradient",
        hub_id=_DEBERTA,
        revision=_DEBERTA_COMMIT,
        licence="MIT; of the captioner: Apache-2.0",
        size_mb=_MEGABYTES["qwen"] + _MEGABYTES["deberta-file"],
        facts=_facts(_MEGABYTES["qwen"] + _MEGABYTES["deberta"]),
    ),
    Entry(
        name="http-caption-recall",
        target="plaudit.rewards.caption_recall:load_http_caption_recall",
        arguments=_ENCODER,
        summary="the prompt is in what a chat server says of the picture, as the environment names it; no gradient",
        hub_id=_DEBERTA,
        revision=_DEBERTA_COMMIT,
        licence="MIT; of the captioner: its own",
        size_mb=_MEGABYTES["deberta-file"],
        facts=_facts(
            _MEGABYTES["deberta"],
            environment="PLAUDIT_JUDGE_URL PLAUDIT_JUDGE_MODEL",
            key="PLAUDIT_JUDGE_KEY",
        ),
    ),
]
