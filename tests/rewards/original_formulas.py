"""The published rewards' formulas, read from their papers and releases: plain torch on the published weights.

Slow and one image at a time, as the originals score; nothing here is shared with the package.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
Weights = Mapping[str, Tensor]


def pillow(image: Tensor, height: int, width: int) -> Tensor:
    """(3, height, width), bicubic by Pillow in floating point: the same filter by other people's code."""
    planes = [Image.fromarray(plane.numpy().astype(np.float32)) for plane in image]
    return torch.stack(
        [torch.from_numpy(np.array(p.resize((width, height), Image.Resampling.BICUBIC))) for p in planes]
    )


def cropped(image: Tensor, side: int, *, down: bool = False) -> Tensor:
    """torchvision's Resize and CenterCrop; `down`: transformers' image processor."""
    _, height, width = image.shape
    short, long = sorted((height, width))
    longer = int(side * long / short)
    image = pillow(image, *((side, longer) if height == short else (longer, side)))
    edges = [(n - side) // 2 if down else int(round((n - side) / 2.0)) for n in image.shape[1:]]  # noqa: RUF046
    return (image[:, edges[0] : edges[0] + side, edges[1] : edges[1] + side] - MEAN) / STD


def padded(image: Tensor, side: int) -> Tensor:
    """HPSv2's ResizeMaxSize."""
    _, height, width = image.shape
    scale = side / float(max(height, width))
    rows, columns = round(height * scale), round(width * scale)
    whole = torch.zeros(3, side, side)
    top, left = (side - rows) // 2, (side - columns) // 2
    whole[:, top : top + rows, left : left + columns] = pillow(image, rows, columns)
    return (whole - MEAN) / STD


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """(T, D) from queries (T, D), keys and values (S, D)."""
    out = []
    for query, key, value in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        scores = query @ key.T / query.shape[1] ** 0.5
        out.append((scores if mask is None else scores + mask).softmax(dim=1) @ value)
    return torch.cat(out, dim=1)


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x: Tensor, w: Weights, name: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def open_clip_blocks(x: Tensor, w: Weights, prefix: str, heads: int, mask: Tensor | None = None) -> Tensor:
    index = 0
    while f"{prefix}{index}.ln_1.weight" in w:
        block = f"{prefix}{index}."
        inside = norm(x, w, f"{block}ln_1", 1e-5)
        q, k, v = (inside @ w[f"{block}attn.in_proj_weight"].T + w[f"{block}attn.in_proj_bias"]).chunk(3, dim=1)
        x = x + linear(attend(q, k, v, heads, mask), w, f"{block}attn.out_proj")
        inside = F.gelu(linear(norm(x, w, f"{block}ln_2", 1e-5), w, f"{block}mlp.c_fc"))
        x = x + linear(inside, w, f"{block}mlp.c_proj")
        index += 1
    return x


def hps(w: Weights, pixels: Tensor, ids: list[int], heads: int) -> float:
    """The cosine of the two unit embeddings, without the logit scale."""
    patches = F.conv2d(pixels[None], w["visual.conv1.weight"], stride=w["visual.conv1.weight"].shape[-1])
    x = torch.cat([w["visual.class_embedding"][None], patches[0].flatten(1).T]) + w["visual.positional_embedding"]
    x = open_clip_blocks(norm(x, w, "visual.ln_pre", 1e-5), w, "visual.transformer.resblocks.", heads)
    image = norm(x[:1], w, "visual.ln_post", 1e-5) @ w["visual.proj"]

    length = len(w["positional_embedding"])
    tokens = torch.tensor(ids[:length] + [0] * (length - len(ids)))  # open_clip fills up with zeros
    mask = torch.full((length, length), -torch.inf).triu(1)
    y = w["token_embedding.weight"][tokens] + w["positional_embedding"]
    y = norm(open_clip_blocks(y, w, "transformer.resblocks.", heads, mask), w, "ln_final", 1e-5)
    text = y[tokens.argmax()][None] @ w["text_projection"]
    return F.cosine_similarity(image, text).item()


def head(x: Tensor, w: Weights, prefix: str) -> Tensor:
    """The linear head of both: dropout does nothing when scoring."""
    for number in (0, 2, 4, 6, 7):
        x = linear(x, w, f"{prefix}layers.{number}")
    return x


def image_reward(w: Weights, pixels: Tensor, ids: list[int], *, text_heads: int, length: int = 35) -> float:
    """BLIP's text encoder looks at the image; its first token goes through the head, less the mean, over the spread."""
    see, read = "blip.visual_encoder.", "blip.text_encoder."
    patch = w[f"{see}patch_embed.proj.weight"]
    patches = F.conv2d(pixels[None], patch, w[f"{see}patch_embed.proj.bias"], stride=patch.shape[-1])
    x = torch.cat([w[f"{see}cls_token"][0], patches[0].flatten(1).T]) + w[f"{see}pos_embed"][0]
    heads, index = x.shape[1] // 64, 0
    while f"{see}blocks.{index}.norm1.weight" in w:
        block = f"{see}blocks.{index}."
        q, k, v = linear(norm(x, w, f"{block}norm1", 1e-6), w, f"{block}attn.qkv").chunk(3, dim=1)
        x = x + linear(attend(q, k, v, heads), w, f"{block}attn.proj")
        x = x + linear(F.gelu(linear(norm(x, w, f"{block}norm2", 1e-6), w, f"{block}mlp.fc1")), w, f"{block}mlp.fc2")
        index += 1
    seen = norm(x, w, f"{see}norm", 1e-6)

    ids = ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]
    mask = torch.zeros(length)
    mask[len(ids) :] = -torch.inf
    tokens = torch.tensor(ids + [0] * (length - len(ids)))
    y = w[f"{read}embeddings.word_embeddings.weight"][tokens]
    y = norm(y + w[f"{read}embeddings.position_embeddings.weight"][:length], w, f"{read}embeddings.LayerNorm", 1e-12)
    index = 0
    while f"{read}encoder.layer.{index}.intermediate.dense.weight" in w:
        layer = f"{read}encoder.layer.{index}."
        for part, source, hidden in (("attention", None, mask), ("crossattention", seen, None)):
            inner = f"{layer}{part}.self."
            k, v = (linear(y if source is None else source, w, f"{inner}{name}") for name in ("key", "value"))
            found = linear(
                attend(linear(y, w, f"{inner}query"), k, v, text_heads, hidden), w, f"{layer}{part}.output.dense"
            )
            y = norm(found + y, w, f"{layer}{part}.output.LayerNorm", 1e-12)
        found = linear(F.gelu(linear(y, w, f"{layer}intermediate.dense")), w, f"{layer}output.dense")
        y = norm(found + y, w, f"{layer}output.LayerNorm", 1e-12)
        index += 1
    score = head(y[:1], w, "mlp.")
    return ((score - 0.16717362830052426) / 1.0333394966054072).item()
