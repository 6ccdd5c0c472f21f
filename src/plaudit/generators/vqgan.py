"""VQGAN with its class-conditional transformer (Esser et al. 2021) as a token policy, and where its weights come from.

A picture's sequence begins with its class. The published model was taught no way to be asked for nothing, so that it
cannot be guided. Its weights are one checkpoint (.ckpt) of a training; what a training here leaves is a folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.class_names import ClassLabels, ClassNames
from plaudit.generators.mini_gpt import GptSizes, MiniGPT
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
from plaudit.generators.token_reading import CachedReading, read_all
from plaudit.generators.vqgan_autoencoder import AutoencoderSizes, VQGANAutoencoder

FORMAT = "vqgan"
PUBLISHED_HEAD_WIDTH = 64
"""of each attention head of the published transformers"""


class VQGAN:
    """A VQGAN of classes, frozen as built; a training unfreezes `transformer`. Keeps the TokenPolicy contract."""

    guidable = False

    def __init__(
        self, transformer: MiniGPT, image_tokenizer: VQGANAutoencoder, *, class_names: Sequence[str] = ()
    ) -> None:
        """Raises BadConfig if the parts do not fit together."""
        sizes = transformer.sizes
        if sizes.vocabulary < image_tokenizer.sizes.codebook_size:
            raise BadConfig(
                f"the transformer foretells {sizes.vocabulary} tokens and the tokenizer has "
                f"{image_tokenizer.sizes.codebook_size}; they are not of one model"
            )
        self.transformer = transformer.eval().requires_grad_(False)
        self.image_tokenizer = image_tokenizer.eval().requires_grad_(False)
        self.classes = ClassNames(sizes.classes, class_names)
        self.num_tokens, self.vocabulary = sizes.num_tokens, image_tokenizer.sizes.codebook_size
        self.image_size = sizes.grid * image_tokenizer.sizes.shrink
        self.device: torch.device = transformer.head.weight.device

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute the transformer's activations in the backward pass: less memory, about a third more time."""
        self.transformer.checkpointing = enabled

    def encode(self, prompts: Sequence[str]) -> ClassLabels:
        """The classes that the prompts name. Raises UnknownName for one that there is not."""
        return ClassLabels(labels=self.classes.numbers_of(prompts).to(self.device))

    def beside_none(self, condition: Any) -> ClassLabels:
        """Raises BadConfig: there is nothing that asks for no class."""
        raise BadConfig("this VQGAN was taught no way to be asked for nothing, so it draws without guidance (1) only")

    def begin(self, condition: Any) -> CachedReading:
        """Read the conditions into a cache that has room for all T tokens."""
        return CachedReading(self.transformer, self.transformer.prefix(condition.labels), None)

    def hidden(self, tokens: Tensor, condition: Any) -> Tensor:
        """The states (B, T, D) from which each of the given tokens (B, T) is foretold, all read at once."""
        return read_all(self.transformer, self.transformer.prefix(condition.labels), None, tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D), of the codebook's tokens alone."""
        return self.transformer.logits(hidden)[..., : self.vocabulary]

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T)."""
        return self.image_tokenizer.decode(tokens)


def load_vqgan(
    folder: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> VQGAN:
    """The policy of a folder that `save_vqgan` wrote, frozen, in float32 on the CPU unless told otherwise.

    Raises BadConfig if the folder does not hold one.
    """
    config = read_config(Path(folder), FORMAT)
    gpt, sizes = from_config(GptSizes, config, "transformer"), from_config(AutoencoderSizes, config, "tokenizer")
    transformer = filled(lambda: MiniGPT(gpt), *read_weights(Path(folder), "transformer"))
    autoencoder = filled(lambda: VQGANAutoencoder(sizes), *read_weights(Path(folder), "tokenizer"))
    return VQGAN(
        transformer.to(device=device, dtype=dtype),
        autoencoder.to(device=device, dtype=dtype),
        class_names=config.get("class_names", ()),
    )


def save_vqgan(policy: VQGAN, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write what `load_vqgan` reads; weights in `dtype`, or as they are."""
    config = {
        "format": FORMAT,
        "transformer": to_config(policy.transformer.sizes),
        "tokenizer": to_config(policy.image_tokenizer.sizes),
        "class_names": list(policy.classes.names),
    }
    networks = {"transformer": policy.transformer, "tokenizer": policy.image_tokenizer}
    write_folder(Path(folder), config, networks, dtype)


def load_published_vqgan(
    checkpoint: str | Path,
    *,
    classes: int = 1000,
    sha256: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> VQGAN:
    """The policy of a published class-conditional training's checkpoint, such as ImageNet's; sizes are its shapes'.

    `sha256` as in read_checkpoint. Raises BadConfig if the file is damaged, or none.
    """
    file = Path(checkpoint)
    weights = read_published(file, parts=("state_dict",), sha256=sha256)
    gpt = below(weights, "transformer.")
    first = below(weights, "first_stage_model.")
    gpt = {name: weight for name, weight in gpt.items() if not name.endswith(".attn.mask")}
    first = {name: weight for name, weight in first.items() if not name.startswith("loss.")}
    try:
        gpt_sizes = gpt_sizes_of(gpt, classes=classes)
        sizes = autoencoder_sizes_of(first)
    except (KeyError, IndexError) as error:
        raise BadConfig(f"{file} is not a class-conditional VQGAN: there is no {error}") from error
    transformer = filled(lambda: MiniGPT(gpt_sizes), gpt, file)
    autoencoder = filled(lambda: VQGANAutoencoder(sizes), first, file)
    return VQGAN(transformer.to(device=device, dtype=dtype), autoencoder.to(device=device, dtype=dtype))


def below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin so, without that beginning."""
    return {name[len(prefix) :]: weight for name, weight in weights.items() if name.startswith(prefix)}


def gpt_sizes_of(weights: Mapping[str, Tensor], *, classes: int) -> GptSizes:
    """Sizes by shapes, and by what no shape tells. Raises KeyError for other weights."""
    vocabulary, dim = weights["tok_emb.weight"].shape
    return GptSizes(
        dim=dim,
        layers=count_of(weights, "blocks."),
        heads=max(1, dim // PUBLISHED_HEAD_WIDTH),
        vocabulary=vocabulary,
        grid=round(weights["pos_emb"].shape[1] ** 0.5),
        classes=classes,
    )


def autoencoder_sizes_of(weights: Mapping[str, Tensor]) -> AutoencoderSizes:
    """Sizes by shapes; norm groups have none. Raises KeyError for other weights."""
    channels, levels = len(weights["encoder.conv_in.weight"]), count_of(weights, "encoder.down.")
    size, dim = weights["quantize.embedding.weight"].shape
    widths = [len(weights[f"encoder.down.{level}.block.0.conv1.weight"]) for level in range(levels)]
    return AutoencoderSizes(
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        res_blocks=count_of(weights, "encoder.down.0.block."),
        z_channels=len(weights["encoder.conv_out.weight"]),
        codebook_size=size,
        codebook_dim=dim,
        attends=tuple(it for it in range(levels) if f"encoder.down.{it}.attn.0.q.weight" in weights),
    )
