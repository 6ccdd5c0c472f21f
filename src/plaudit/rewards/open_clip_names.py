"""The names that a CLIP model's weights have in open_clip's checkpoints and in transformers' CLIPModel, both ways.

open_clip keeps query, key and value as one matrix, and its two projections the other way round.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# open_clip's names on the left, transformers' on the right.
_NAMES = (
    ("logit_scale", "logit_scale"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("visual.proj", "visual_projection.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("text_projection", "text_projection.weight"),
)
_IN_LAYERS = (
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("attn.out_proj.", "self_attn.out_proj."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
)
_TURNED = ("visual.proj", "text_projection")
_JOINED = re.compile(r"(.*layers\.\d+\.)attn\.in_proj_(weight|bias)")
_APART = re.compile(r"(.*layers\.\d+\.)self_attn\.([qkv])_proj\.(weight|bias)")


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIPModel's weights from an open_clip checkpoint's; a name that is not open_clip's comes back as it is."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        new = _translated(name, column=0)
        if (joined := _JOINED.fullmatch(new)) is not None:
            layer, kind = joined.groups()
            found |= {
                f"{layer}self_attn.{part}_proj.{kind}": piece
                for part, piece in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            found[new] = tensor.t().contiguous() if name in _TURNED else tensor
    return found


def to_open_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An open_clip checkpoint's weights from CLIPModel's."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if (apart := _APART.fullmatch(name)) is not None:
            layer, part, kind = apart.groups()
            if part == "q":
                pieces = [weights[f"{layer}self_attn.{p}_proj.{kind}"] for p in "qkv"]
                found[f"{_translated(layer, column=1)}attn.in_proj_{kind}"] = torch.cat(pieces)
            continue
        old = _translated(name, column=1)
        found[old] = tensor.t().contiguous() if old in _TURNED else tensor
    return found


def _translated(name: str, *, column: int) -> str:
    """The name in the other language; `column` is the one that it is in."""
    for pair in _NAMES:
        here, there = pair[column], pair[1 - column]
        # A whole name, or the beginning of one if it ends with a dot.
        if name == here or (here.endswith(".") and name.startswith(here)):
            rest = name[len(here) :]
            index, dot, inside = rest.partition(".")
            if "layers" in there + here and dot:
                inside = _inside(inside, column=column)
            return f"{there}{index}{dot}{inside}"
    return name


def _inside(name: str, *, column: int) -> str:
    for pair in _IN_LAYERS:
        if name.startswith(pair[column]):
            return pair[1 - column] + name[len(pair[column]) :]
    return name
