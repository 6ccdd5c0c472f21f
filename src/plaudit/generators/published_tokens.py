"""The rows of published models that draw a picture token by token: which files of the hub, under which licence.

LlamaGens were published as pickles (.pt) alone, of which nothing but tensors is read. Their commits are not pinned: a
file's sha256 is remembered at this machine's first download, and compared from then on. VQGAN's class-conditional
transformer is not on the hub; `load_published_vqgan` reads it from where it was downloaded to. Januses come as
safetensors in transformers' layout, of commits that are not pinned either. They write no plans before they are taught.
"""

from plaudit.core.hub import MODEL_FILES, HubFiles
from plaudit.core.registry import Entry

_TARGET = "plaudit.generators.llamagen_files:load_published_llamagen"
_CLASSES = "FoundationVision/LlamaGen"
_CAPTIONS = "peizesun/llamagen_t2i"
_TEXT_ENCODER = HubFiles(hub_id="google/flan-t5-xl", patterns=("*.json", "model*.safetensors"))

_TOKENIZER_MB, _TEXT_ENCODER_MB = 288.0, 11400.0
"""of 72 million weights, and of all of flan-t5-xl's, in float32"""


def _by_class(size: str, pixels: int, *, millions: float, fid: float, guidance: float) -> Entry:
    """`millions` of weights; `fid` as published, in samples of this guidance at 256 pixels."""
    return Entry(
        name=f"llamagen-{size.lower()}-{pixels}",
        target=_TARGET,
        arguments={
            "transformer": HubFiles(hub_id=_CLASSES, patterns=(f"c2i_{size}_{pixels}.pt",)),
            "tokenizer": HubFiles(hub_id=_CLASSES, patterns=("vq_ds16_c2i.pt",)),
            "image_size": pixels,
        },
        summary=f"LlamaGen-{size}, ImageNet's classes by number, token by token (Sun et al. 2024)",
        hub_id=_CLASSES,
        licence="MIT",
        size_mb=4 * millions + _TOKENIZER_MB,
        facts={
            "kind": "tokens",
            "image_size": pixels,
            "tokens": (pixels // 16) ** 2,
            "guidance": guidance,
            "published": f"FID {fid:g} on ImageNet at 256 pixels",
        },
    )


def _by_caption(stage: int, pixels: int) -> Entry:
    return Entry(
        name=f"llamagen-t2i-xl-{pixels}",
        target=_TARGET,
        arguments={
            "transformer": HubFiles(hub_id=_CAPTIONS, patterns=(f"t2i_XL_stage{stage}_{pixels}.pt",)),
            "tokenizer": HubFiles(hub_id=_CAPTIONS, patterns=("vq_ds16_t2i.pt",)),
            "text_encoder": _TEXT_ENCODER,
            "image_size": pixels,
        },
        summary="LlamaGen-XL for captions, with Flan-T5-XL, token by token (Sun et al. 2024)",
        hub_id=_CAPTIONS,
        # Of the text encoder: Apache-2.0, which asks for no more.
        licence="MIT",
        size_mb=4 * 775.0 + _TOKENIZER_MB + _TEXT_ENCODER_MB,
        facts={
            "kind": "tokens",
            "image_size": pixels,
            "tokens": (pixels // 16) ** 2,
            "guidance": 7.5,
            "top_k": 1000,
        },
    )


def _janus(size: str, *, millions: float, published: str) -> Entry:
    """`millions` of weights, in half precision; scores are of guidance 5."""
    hub_id = f"deepseek-community/Janus-Pro-{size}"
    return Entry(
        name=f"janus-pro-{size.lower()}",
        target="plaudit.generators.janus_files:load_janus",
        arguments={"folder": HubFiles(hub_id=hub_id, patterns=MODEL_FILES)},
        summary=f"Janus-Pro-{size}, understands and draws token by token, may learn to plan (Chen et al. 2025)",
        hub_id=hub_id,
        licence="MIT (code), DeepSeek model licence (weights)",
        restrictions="asks users to keep to its list of forbidden uses, and to pass that on",
        licence_page="https://github.com/deepseek-ai/DeepSeek-LLM/blob/HEAD/LICENSE-MODEL",
        size_mb=2 * millions,
        facts={
            "kind": "tokens",
            "image_size": 384,
            "tokens": 576,
            "guidance": 5.0,
            "plan": False,
            "published": published,
        },
    )


# Guidance and top_k are those of the sampling scripts beside the checkpoints. None is said there for 256 pixels, so
# those of 384 are taken.
TOKEN_MODELS = [
    _by_class("B", 256, millions=111, fid=5.46, guidance=2.0),
    _by_class("B", 384, millions=111, fid=6.09, guidance=2.0),
    _by_class("L", 256, millions=343, fid=3.8, guidance=2.0),
    _by_class("L", 384, millions=343, fid=3.07, guidance=2.0),
    _by_class("XL", 384, millions=775, fid=2.62, guidance=1.75),
    _by_class("XXL", 384, millions=1411, fid=2.34, guidance=1.75),
    _by_class("3B", 384, millions=3096, fid=2.18, guidance=1.65),
    _by_caption(1, 256),
    _by_caption(2, 512),
    _janus("1B", millions=2090, published="GenEval 0.73"),
    _janus("7B", millions=7420, published="GenEval 0.80, DPG-Bench 84.19"),
]
