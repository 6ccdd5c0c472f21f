"""Where LlamaGens come from: a folder of our layout, or the published checkpoints (.pt), and what a training leaves.

A folder is token_files.py's, and for captions holds a T5 encoder in `text_encoder` and its tokenizer in
`tokenizer` too. The published files are a transformer's and a tokenizer's, each with the weights of one network
among what its training knew. Their shapes say all sizes but three: heads, norm groups and the picture's size.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.llama_transformer import PUBLISHED_HEADS, LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.token_files import (
    count_of,
    filled,
    from_config,
    read_config,
    read_published,
    read_weights,
    to_config,
    write_folder,
)
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer

FORMAT = "llamagen"
TEXT_ENCODER, TEXT_TOKENIZER = "text_encoder", "tokenizer"

TRANSFORMER_PARTS = ("model", "module", "state_dict")
"""where the published transformers' weights are, after the training program; or the file is nothing else"""
TOKENIZER_PARTS = ("model", "ema", "state_dict")
UNUSED = ("freqs_cis", "quantize.codebook_used")
"""in some published files: the positions' turns, which follow from the sizes, and a training's record of codes"""


def load_llamagen(
    folder: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> LlamaGen:
    """The policy of a folder that `save_llamagen` wrote, frozen, in float32 on the CPU unless told otherwise.

    Raises BadConfig if the folder does not hold one.
    """
    folder = Path(folder)
    config = read_config(folder, FORMAT)
    sizes, first = from_config(LlamaSizes, config, "transformer"), from_config(TokenizerSizes, config, "tokenizer")
    transformer = filled(lambda: LlamaTransformer(sizes), *read_weights(folder, "transformer"))
    tokenizer = filled(lambda: VQTokenizer(first), *read_weights(folder, "tokenizer"))
    places = (folder / TEXT_TOKENIZER, folder / TEXT_ENCODER)
    return LlamaGen(
        transformer.to(device=device, dtype=dtype),
        tokenizer.to(device=device, dtype=dtype),
        class_names=config.get("class_names", ()),
        text=load_text_encoder(*places, device=device, dtype=dtype) if sizes.caption_dim else None,
    )


def save_llamagen(policy: LlamaGen, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write what `load_llamagen` reads; the networks' weights in `dtype`, or as they are."""
    folder = Path(folder)
    config = {
        "format": FORMAT,
        "transformer": to_config(policy.transformer.sizes),
        "tokenizer": to_config(policy.image_tokenizer.sizes),
        "class_names": list(policy.classes.names),
    }
    if policy.text_encoder is not None:
        policy.text_encoder.save_pretrained(str(folder / TEXT_ENCODER))
        policy.tokenizer.save_pretrained(str(folder / TEXT_TOKENIZER))
    write_folder(folder, config, {"transformer": policy.transformer, "tokenizer": policy.image_tokenizer}, dtype)


def load_published_llamagen(
    transformer: str | Path,
    *,
    tokenizer: str | Path,
    image_size: int,
    text_encoder: str | Path | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> LlamaGen:
    """The policy of two published checkpoints, such as c2i_B_256.pt and vq_ds16_c2i.pt.

    `image_size`: pixels of a side, as the transformer was trained for. `text_encoder`: the folder of flan-t5-xl, for a
    transformer that reads captions. Raises BadConfig if a file is damaged, none of these, or of another model.
    """
    file, other = Path(transformer), Path(tokenizer)
    first = _wanted(read_published(other, parts=TOKENIZER_PARTS))
    weights = _wanted(read_published(file, parts=TRANSFORMER_PARTS))
    try:
        first_sizes = tokenizer_sizes_of(first)
    except (KeyError, IndexError) as error:
        raise BadConfig(f"{other} is not LlamaGen's image tokenizer: there is no {error}") from error
    if image_size % first_sizes.shrink:
        raise BadConfig(
            f"pictures of {image_size} pixels are no whole number of {first_sizes.shrink}-pixel tokens wide"
        )
    try:
        sizes = transformer_sizes_of(weights, grid=image_size // first_sizes.shrink)
    except (KeyError, IndexError) as error:
        raise BadConfig(f"{file} is not a LlamaGen's transformer: there is no {error}") from error
    if sizes.caption_dim and text_encoder is None:
        raise BadConfig(f"{file} reads captions: name the folder of flan-t5-xl as text_encoder")
    made = filled(lambda: LlamaTransformer(sizes), weights, file)
    decoder = filled(lambda: VQTokenizer(first_sizes), first, other)
    return LlamaGen(
        made.to(device=device, dtype=dtype),
        decoder.to(device=device, dtype=dtype),
        text=_text_of(text_encoder, device=device, dtype=dtype) if sizes.caption_dim else None,
    )


def load_text_encoder(
    tokenizer: Path, encoder: Path, *, device: torch.device | str | None, dtype: torch.dtype | None
) -> tuple[Any, Any]:
    """T5's tokenizer and encoder, of their folders; weights of safetensors alone. Raises BadConfig without them."""
    from transformers import AutoTokenizer, T5EncoderModel

    for folder in (tokenizer, encoder):
        if not folder.is_dir():
            raise BadConfig(f"there is no folder {folder}, which the text encoder of this LlamaGen needs")
    try:
        reader = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)
        made = T5EncoderModel.from_pretrained(
            str(encoder), local_files_only=True, use_safetensors=True, dtype=dtype or torch.float32
        )
    except (OSError, ValueError) as error:
        raise BadConfig(f"the text encoder in {encoder} cannot be read: {str(error).splitlines()[0]}") from error
    return reader, made.to(device)


def transformer_sizes_of(weights: Mapping[str, Tensor], *, grid: int) -> LlamaSizes:
    """Sizes by shapes, and the published heads for the width. Raises KeyError for other weights, else BadConfig."""
    vocabulary, dim = weights["tok_embeddings.weight"].shape
    if dim not in PUBLISHED_HEADS:
        raise BadConfig(
            f"no published LlamaGen is {dim} numbers wide; known are {', '.join(map(str, PUBLISHED_HEADS))}"
        )
    none = weights.get("cls_embedding.uncond_embedding")
    told = (
        {"classes": len(weights["cls_embedding.embedding_table.weight"]) - 1}
        if none is None
        else {"prefix": none.shape[0], "caption_dim": none.shape[1]}
    )
    return LlamaSizes(
        dim=dim,
        layers=count_of(weights, "layers."),
        heads=PUBLISHED_HEADS[dim],
        hidden=len(weights["layers.0.feed_forward.w1.weight"]),
        vocabulary=vocabulary,
        grid=grid,
        **told,
    )


def tokenizer_sizes_of(weights: Mapping[str, Tensor]) -> TokenizerSizes:
    """Sizes by shapes; norm groups have none. Raises KeyError for other weights."""
    channels, levels = len(weights["encoder.conv_in.weight"]), count_of(weights, "encoder.conv_blocks.")
    size, dim = weights["quantize.embedding.weight"].shape
    widths = [len(weights[f"encoder.conv_blocks.{level}.res.0.conv1.weight"]) for level in range(levels)]
    return TokenizerSizes(
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        res_blocks=count_of(weights, "encoder.conv_blocks.0.res."),
        z_channels=len(weights["encoder.conv_out.weight"]),
        codebook_size=size,
        codebook_dim=dim,
    )


def _wanted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name not in UNUSED}


def _text_of(folder: str | Path | None, **placed: Any) -> tuple[Any, Any]:
    assert folder is not None
    return load_text_encoder(Path(folder), Path(folder), **placed)
