"""Published rewards in miniature: random weights under the published names, beside the published files."""

import json
from pathlib import Path
from typing import Any

import torch
from conftest import save_tokenizer
from torch import Tensor

WIDTH, DEPTH, HEADS, PATCH, SIDE, EMBEDDED = 16, 2, 2, 8, 16, 12
TEXT_WIDTH, TEXT_LENGTH = 24, 16
PATCHES = (SIDE // PATCH) ** 2

MED_CONFIG = {
    "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": TEXT_WIDTH, "initializer_range": 0.02, "intermediate_size": 48,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 64, "model_type": "bert", "num_attention_heads": HEADS,
    "num_hidden_layers": DEPTH, "pad_token_id": 0, "add_type_embeddings": False, "encoder_width": 768,
    "add_cross_attention": True,
}  # fmt: skip
BLIP_WIDTH = 128
"""two heads of 64"""
BERT_WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "red",
    "green",
    "two",
    "blue",
    "square",
    "circle",
    "##s",
)


def clip_config(vocabulary: int, *, activation: str) -> dict[str, Any]:
    def tower(width: int) -> dict[str, Any]:
        return {
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": DEPTH,
            "num_attention_heads": HEADS, "hidden_act": activation, "projection_dim": EMBEDDED,
        }  # fmt: skip

    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    text = {**tower(TEXT_WIDTH), **ends, "vocab_size": vocabulary, "max_position_embeddings": TEXT_LENGTH}
    return {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": EMBEDDED, "text_config": text,
        "vision_config": {**tower(WIDTH), "image_size": SIDE, "patch_size": PATCH},
    }  # fmt: skip


def save_clip_settings(folder: Path, *, activation: str = "gelu") -> dict[str, Any]:
    """config.json, preprocessor_config.json and tokenizer of a CLIP model; its weights are elsewhere."""
    config = clip_config(save_tokenizer(folder, length=TEXT_LENGTH), activation=activation)
    (folder / "config.json").write_text(json.dumps(config))
    # As published, the tokenizer is there in both forms.
    words = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in words["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = {
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "crop_size": SIDE, "size": SIDE, "resample": 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return config


def open_clip_weights(vocabulary: int, *, seed: int = 5) -> dict[str, Tensor]:
    """An open_clip CLIP model's state dict, by its own names and shapes."""
    rng = torch.Generator().manual_seed(seed)

    def layers(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for index in range(DEPTH):
            block = f"{prefix}transformer.resblocks.{index}."
            shapes |= {f"{block}ln_{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
            shapes |= {
                f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,),
                f"{block}attn.out_proj.weight": (width, width), f"{block}attn.out_proj.bias": (width,),
                f"{block}mlp.c_fc.weight": (4 * width, width), f"{block}mlp.c_fc.bias": (4 * width,),
                f"{block}mlp.c_proj.weight": (width, 4 * width), f"{block}mlp.c_proj.bias": (width,),
            }  # fmt: skip
        return shapes

    norms = {f"visual.ln_{n}.{kind}": (WIDTH,) for n in ("pre", "post") for kind in ("weight", "bias")}
    shapes = {
        "positional_embedding": (TEXT_LENGTH, TEXT_WIDTH), "text_projection": (TEXT_WIDTH, EMBEDDED),
        "logit_scale": (), "visual.class_embedding": (WIDTH,), "visual.positional_embedding": (PATCHES + 1, WIDTH),
        "visual.proj": (WIDTH, EMBEDDED), "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH), **norms,
        **layers("visual.", WIDTH), **layers("", TEXT_WIDTH), "token_embedding.weight": (vocabulary, TEXT_WIDTH),
        "ln_final.weight": (TEXT_WIDTH,), "ln_final.bias": (TEXT_WIDTH,),
    }  # fmt: skip
    return {name: drawn(name, shape, rng) for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Random, and no bias or gain left at the value at which forgetting it would not show."""
    tensor = torch.randn(shape, generator=rng) * 0.3
    return tensor + 1 if "weight" in name and len(shape) == 1 else tensor


def save_hps(folder: Path, *, version: str = "v2.1") -> dict[str, Tensor]:
    """HPS_v2.1_compressed.pt in half precision beside LAION's settings; its weights as they are read."""
    config = save_clip_settings(folder)
    weights = {name: w.half() for name, w in open_clip_weights(config["text_config"]["vocab_size"]).items()}
    torch.save({"state_dict": weights}, folder / f"HPS_{version}_compressed.pt")
    return {name: tensor.float() for name, tensor in weights.items()}


def save_aesthetic(folder: Path) -> dict[str, Tensor]:
    """OpenAI's CLIP model as a folder, and the head; the head's weights."""
    from transformers import CLIPConfig, CLIPModel

    config = save_clip_settings(folder, activation="quick_gelu")
    CLIPModel(CLIPConfig.from_pretrained(str(folder))).save_pretrained(str(folder))
    rng = torch.Generator().manual_seed(6)
    weights = head_weights(config["projection_dim"], rng)
    torch.save(weights, folder / "sac+logos+ava1-l14-linearMSE.pth")
    return weights


def head_weights(width: int, rng: torch.Generator) -> dict[str, Tensor]:
    """The linear head of the aesthetic predictor and of ImageReward: layers 0, 2, 4, 6 and 7 of a sequence."""
    sizes = (width, 1024, 128, 64, 16, 1)
    found = {}
    for number, before, after in zip((0, 2, 4, 6, 7), sizes[:-1], sizes[1:], strict=True):
        found[f"layers.{number}.weight"] = torch.randn(after, before, generator=rng) / before**0.5
        found[f"layers.{number}.bias"] = torch.randn(after, generator=rng) * 0.3
    return found


def save_image_reward_as_published(folder: Path, *, faint: bool = False) -> dict[str, Tensor]:
    """ImageReward.pt and med_config.json, and BERT's tokenizer as the hub has it; the weights.

    `faint`: the vision tower begins so faintly that what is added to variances, so that none is zero, shows.
    """
    (folder / "med_config.json").write_text(json.dumps({**MED_CONFIG, "vocab_size": len(BERT_WORDS) + 2}))
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))
    weights = image_reward_weights()
    first = ("patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token", "pos_embed")
    weights |= {name: tensor * 0.01 for name, tensor in weights.items() if faint and name.endswith(first)}
    torch.save(weights, folder / "ImageReward.pt")
    return weights


def image_reward_weights() -> dict[str, Tensor]:
    """The published state dict's names and shapes; with the heads and the buffer that no score reads."""
    rng, width, text = torch.Generator().manual_seed(7), BLIP_WIDTH, TEXT_WIDTH
    see, read = "blip.visual_encoder.", "blip.text_encoder."
    shapes: dict[str, tuple[int, ...]] = {
        f"{see}cls_token": (1, 1, width), f"{see}pos_embed": (1, PATCHES + 1, width),
        f"{see}patch_embed.proj.weight": (width, 3, PATCH, PATCH), f"{see}patch_embed.proj.bias": (width,),
        **_linear("blip.vision_proj", 8, width), **_linear("blip.text_proj", 8, text), **_norm(f"{see}norm", width),
        f"{read}embeddings.word_embeddings.weight": (len(BERT_WORDS) + 2, text),
        f"{read}embeddings.position_embeddings.weight": (64, text), **_norm(f"{read}embeddings.LayerNorm", text),
    }  # fmt: skip
    for index in range(DEPTH):
        block, layer = f"{see}blocks.{index}.", f"{read}encoder.layer.{index}."
        shapes |= _norm(f"{block}norm1", width) | _norm(f"{block}norm2", width)
        shapes |= _linear(f"{block}attn.qkv", 3 * width, width) | _linear(f"{block}attn.proj", width, width)
        shapes |= _linear(f"{block}mlp.fc1", 4 * width, width) | _linear(f"{block}mlp.fc2", width, 4 * width)
        for part, seen in (("attention", text), ("crossattention", width)):
            shapes |= _linear(f"{layer}{part}.self.query", text, text)
            shapes |= _linear(f"{layer}{part}.self.key", text, seen) | _linear(f"{layer}{part}.self.value", text, seen)
            shapes |= _linear(f"{layer}{part}.output.dense", text, text) | _norm(
                f"{layer}{part}.output.LayerNorm", text
            )
        shapes |= _linear(f"{layer}intermediate.dense", 48, text) | _linear(f"{layer}output.dense", text, 48)
        shapes |= _norm(f"{layer}output.LayerNorm", text)
    weights = {name: drawn(name, shape, rng) for name, shape in shapes.items()}
    # Wide rows get smaller numbers, so that no attention is all on one token.
    weights |= {n: w * 0.3 for n, w in weights.items() if n.startswith(see) and w.ndim == 2}
    weights |= {f"mlp.{name}": tensor for name, tensor in head_weights(text, rng).items()}
    return {**weights, f"{read}embeddings.position_ids": torch.arange(64)[None]}


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
