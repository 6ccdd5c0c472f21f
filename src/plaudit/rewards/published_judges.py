"""The rows of rewards that answer questions or read: BLIP-VQA, VQAScore, Qwen2.5-VL, a judge over HTTP, OCR.

Commits are pinned: a row means the same weights tomorrow. Weights are safetensors. memory_mb is the weights' alone, in
the precision in which they run on a GPU; activations come on top.
"""

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry

_BLIP = "Salesforce/blip-vqa-base"
_BLIP_COMMIT = "787b3d35d57e49572baabd22884b3d5a05acf072"
_BLIP_FILES = HubFiles(
    hub_id=_BLIP,
    patterns=(
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
        "model.safetensors",
    ),
    revision=_BLIP_COMMIT,
)
_VQASCORE = "Lin et al. 2024, VQAScore"
_REASONGEN = "Zhang et al. 2025, ReasonGen-R1"


def _blip(name: str, *, protocol: str, summary: str, paper: str) -> Entry:
    return Entry(
        name=name,
        target="plaudit.rewards.vqa_score:load_blip",
        arguments={"folder": _BLIP_FILES, "protocol": protocol},
        summary=summary,
        hub_id=_BLIP,
        revision=_BLIP_COMMIT,
        licence="BSD-3-Clause",
        size_mb=1540.0,
        facts={
            "raw_scale": (0.0, 1.0),
            "default_weight": 1.0,
            "paper": paper,
            "differentiable": True,
            "memory_mb": 1540.0,
        },
    )


def _qwen(size: str, *, protocol: str) -> Entry:
    parts = {
        "7B": ("cc594898137f460bfe9f0759e9844b3ce807cfb5", "Apache-2.0", "", 16600.0),
        "3B": ("66285546d2b821cf421d4f5eb2576359d3770cd3", "Qwen Research License", "no commercial use", 7530.0),
    }
    commit, licence, restrictions, size_mb = parts[size]
    hub_id = f"Qwen/Qwen2.5-VL-{size}-Instruct"
    boxed = protocol == "boxed"
    return Entry(
        name=f"qwen2.5-vl-{size.lower()}{'-boxed' if boxed else ''}",
        target="plaudit.rewards.vlm_judge:load_qwen_judge",
        arguments={
            "folder": HubFiles(
                hub_id=hub_id, patterns=("*.json", "merges.txt", "model-*.safetensors"), revision=commit
            ),
            "protocol": protocol,
        },
        summary=f"Qwen2.5-VL {size} as judge: {'a strict 0 or 1 after reasoning; no gradient' if boxed else 'P(Yes)'}",
        hub_id=hub_id,
        revision=commit,
        licence=licence,
        restrictions=restrictions,
        licence_page=f"https://huggingface.co/{hub_id}/blob/main/LICENSE" if restrictions else None,
        size_mb=size_mb,
        facts={
            "raw_scale": (0.0, 1.0),
            "default_weight": 1.0,
            "paper": _REASONGEN if boxed else _VQASCORE,
            "differentiable": not boxed,
            "memory_mb": size_mb,
        },
    )


def _http(name: str, *, protocol: str, summary: str, paper: str) -> Entry:
    return Entry(
        name=name,
        target="plaudit.rewards.http_judge:load_http_judge",
        arguments={"protocol": protocol},
        summary=summary,
        licence="the judging model's own",
        facts={
            "raw_scale": (0.0, 1.0),
            "default_weight": 1.0,
            "paper": paper,
            "differentiable": False,
            "environment": "PLAUDIT_JUDGE_URL PLAUDIT_JUDGE_MODEL",
            "key": "PLAUDIT_JUDGE_KEY",
        },
    )


JUDGES = [
    _blip(
        "blip-vqa",
        protocol="blip-vqa",
        summary="BLIP says yes to each thing in the prompt, T2I-CompBench's BLIP-VQA",
        paper="Huang et al. 2023, T2I-CompBench",
    ),
    _blip(
        "vqascore-blip",
        protocol="vqascore",
        summary="BLIP says yes to the whole prompt, VQAScore's question",
        paper=_VQASCORE,
    ),
    _qwen("7B", protocol="yes"),
    _qwen("7B", protocol="boxed"),
    _qwen("3B", protocol="yes"),
    _http(
        "http-judge",
        protocol="yes",
        summary="a chat server's P(Yes); the environment names the server; no gradient",
        paper=_VQASCORE,
    ),
    _http(
        "http-judge-boxed",
        protocol="boxed",
        summary="a chat server's strict 0 or 1 after reasoning; no gradient",
        paper=_REASONGEN,
    ),
    Entry(
        name="ocr",
        target="plaudit.rewards.ocr:load_ocr",
        summary="the text in the prompt's quotes is in the picture, read by PP-OCR; no gradient",
        extra="ocr",
        facts={
            "raw_scale": (0.0, 1.0),
            "default_weight": 1.0,
            "paper": "Liu et al. 2025, Flow-GRPO",
            "differentiable": False,
            "memory_mb": 40.0,
        },
    ),
]
