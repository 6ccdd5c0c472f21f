"""Two towers, one for images and one for texts: CLIP score, HPS and PickScore are this, with different
weights.

CLIP score (Hessel et al. 2021) and PickScore (Kirstain et al. 2023) are exp(logit_scale) times the cosine of
the two embeddings, about 20 to 30; HPS (Wu et al. 2023) is the plain cosine, about 0.2 to 0.4. Differs from
the published packages: gradients reach the image, and each prompt is embedded once and kept.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import CLIPModel, CLIPTokenizer

from plaudit.core.errors import BadConfig
from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


class ClipTowers:
    """The agreement of image and prompt under a CLIP model. Keeps the Reward contract.

    A prompt beyond the model's text length (77 tokens as published) is cut there.
    """

    differentiable = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        scaled: bool = True,
        preprocess: Preprocess | None = None,
        checkpointing: bool = False,
    ) -> None:
        """`scaled`: exp(logit_scale) times the cosine, else the plain cosine."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.scaled = scaled
        self.checkpointing = checkpointing
        self._preprocess = preprocess or Preprocess(size=int(model.config.vision_config.image_size))
        self._texts: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        scaled: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        checkpointing: bool = False,
    ) -> Self:
        """The reward of a CLIPModel folder, frozen. Raises BadConfig if the folder does not hold one."""
        config_file = Path(folder) / "config.json"
        if not config_file.is_file() or json.loads(config_file.read_text()).get("model_type") != "clip":
            raise BadConfig(f"{folder} is not a CLIP folder: it needs a config.json with model_type 'clip'")
        if not any((Path(folder) / name).is_file() for name in TOKENIZER_FILES):
            # The library would make an empty tokenizer, to which all prompts are one.
            raise BadConfig(f"{folder} has no tokenizer: it needs {' or '.join(TOKENIZER_FILES)}")
        try:
            model, report = CLIPModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except OSError as error:
            raise BadConfig(f"{folder} has no weights: it needs a model.safetensors") from error
        if report["missing_keys"]:
            # The library would fill them with random numbers.
            raise BadConfig(f"{folder} lacks {len(report['missing_keys'])} weights of its config.json's model")
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        preprocess = read_preprocess(Path(folder), int(model.config.vision_config.image_size))
        model.to(device=device, dtype=dtype or torch.float32)
        return cls(model, tokenizer, scaled=scaled, preprocess=preprocess, checkpointing=checkpointing)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts."""
        cosine = (self.embed_images(images) * self.embed_texts(prompts)).sum(dim=-1)
        return cosine * self.model.logit_scale.float().exp() if self.scaled else cosine

    def forget_prompts(self) -> None:
        """Empty the cache of embedded prompts."""
        self._texts.clear()

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) float32 of images (B, 3, H, W) in [0, 1], with gradients; the model follows them."""
        if self.model.logit_scale.device != images.device:
            self.model.to(images.device)
        return see(self.model, self._preprocess(images), checkpointing=self.checkpointing)

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) float32 of prompts; a prompt is embedded once in the life of this reward."""
        device = self.model.logit_scale.device
        # Sorted, so that the order in which a set is walked can never move a result's last digit.
        new = sorted(set(prompts) - self._texts.keys())
        if new:
            length = int(self.model.config.text_config.max_position_embeddings)
            read = self.tokenizer(new, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            with torch.no_grad():
                # No padding mask: the tower is causal and read at its end token, so padding is never seen.
                pooled = self.model.text_model(input_ids=read["input_ids"].to(device)).pooler_output
                embedded = F.normalize(self.model.text_projection(pooled).float(), dim=-1)
            self._texts.update(zip(new, embedded, strict=True))
        return torch.stack([self._texts[prompt] for prompt in prompts]).to(device)


def see(model: Any, pixels: Tensor, *, checkpointing: bool = False) -> Tensor:
    """Unit vectors (B, D) float32 of normalised pixels (B, 3, S, S) by a CLIP model's image tower, with gradients.

    `checkpointing`: recompute each layer in the backward pass instead of keeping what it made.
    """
    return F.normalize(embed(model, pixels, checkpointing=checkpointing), dim=-1)


def embed(model: Any, pixels: Tensor, *, checkpointing: bool = False) -> Tensor:
    """As `see`, but of the length that the tower gives them."""
    tower = model.vision_model
    states = tower.pre_layrnorm(tower.embeddings(pixels.to(model.visual_projection.weight.dtype)))
    for layer in tower.encoder.layers:
        if checkpointing and torch.is_grad_enabled():
            states = checkpoint(layer, states, None, use_reentrant=False)
        else:
            states = layer(states, None)
    embedded: Tensor = model.visual_projection(tower.post_layernorm(states[:, 0]))
    return embedded.float()


def read_preprocess(folder: Path, size: int) -> Preprocess:
    """What the folder's preprocessor_config.json says, with mean and spread of CLIP's own if there is none."""
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    mean = tuple(settings.get("image_mean", CLIP_MEAN))
    std = tuple(settings.get("image_std", CLIP_STD))
    return Preprocess(size=size, mean=mean, std=std, fit="crop-down")


def load_towers(folder: Path, *, scaled: bool, device: torch.device | str | None = None) -> ClipTowers:
    """A row's reward."""
    return ClipTowers.from_pretrained(folder, scaled=scaled, device=device)
