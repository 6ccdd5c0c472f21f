"""LAION's improved aesthetic predictor, version 2 (Schuhmann et al. 2022): how much people would like a picture.

The unit embedding of CLIP ViT-L/14's image tower goes through a purely linear head that was trained on ratings from 1
to 10; most pictures get 4 to 7. It is blind to the prompt. Differs from the published script: gradients reach the
image, and nothing is unpickled.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig

from plaudit.core.errors import BadConfig
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint
from plaudit.rewards.clip_towers import see
from plaudit.rewards.image_reward import PUBLISHED_MLP_SIZES, linear_head
from plaudit.rewards.image_tower import load_image_tower
from plaudit.rewards.preprocess import Preprocess


class AestheticScore:
    """The predictor as a reward. Keeps the Reward contract; prompts are not read."""

    differentiable = True

    def __init__(self, tower: Any, head: nn.Module, *, checkpointing: bool = False) -> None:
        """`tower`: vision_model and visual_projection of a CLIP model; `head`: from its embedding to one number."""
        self.tower = tower.eval().requires_grad_(False)
        self.head = head.eval().requires_grad_(False)
        self.checkpointing = checkpointing
        self._preprocess = Preprocess(size=int(tower.config.image_size))

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1]."""
        if self.tower.visual_projection.weight.device != images.device:
            self.tower.to(images.device)
            self.head.to(images.device)
        seen = see(self.tower, self._preprocess(images), checkpointing=self.checkpointing)
        score: Tensor = self.head(seen.to(next(self.head.parameters()).dtype))
        return score.squeeze(-1).float()


def load_aesthetic(
    folder: str | Path,
    *,
    checkpoint: str | Path,
    sha256: str | None = None,
    device: torch.device | str | None = None,
) -> AestheticScore:
    """The reward of a CLIPModel folder and the published head's checkpoint, with `sha256` as in read_checkpoint.

    Raises BadConfig if files are missing or do not fit together.
    """
    folder, checkpoint = Path(folder), Path(checkpoint)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise BadConfig(f"{folder} is not a CLIP folder: it has no {name}")
    config = CLIPConfig.from_pretrained(str(folder), local_files_only=True)
    head = published_head(read_checkpoint(checkpoint, sha256=sha256), int(config.projection_dim), checkpoint)
    return AestheticScore(load_image_tower(folder).to(device), head.to(device))


def published_head(weights: Mapping[str, Tensor], width: int, file: Path) -> nn.Module:
    """The head of a checkpoint's weights, which are called layers.0.weight and so on. Raises BadConfig otherwise."""
    head = linear_head(width, PUBLISHED_MLP_SIZES)
    wanted = {f"layers.{name}": tensor for name, tensor in head.state_dict().items()}
    fitted = fitting(weights, wanted, file)
    head.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in fitted.items()})
    return head
