"""The half of a CLIP model that sees, without the half that reads: a good quarter less to load and to hold."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPVisionModelWithProjection

from plaudit.core.errors import BadConfig
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint

IMAGE_PARTS = ("vision_model.", "visual_projection.")
"""of a CLIPModel's weights, those that see"""


def load_image_tower(folder: Path, *, weights: str = "model.safetensors", sha256: str | None = None) -> Any:
    """The CLIPVisionModelWithProjection in a CLIPModel's folder, float32, on the CPU.

    `weights`: the file with them; a name that does not end in .safetensors is a pickle, read as in read_checkpoint,
    with `sha256`. Raises BadConfig if a file is missing, or they do not fit together.
    """
    file = folder / weights
    for needed in (folder / "config.json", file):
        if not needed.is_file():
            raise BadConfig(f"{folder} is not a CLIP folder: it has no {needed.name}")
    config = CLIPConfig.from_pretrained(str(folder), local_files_only=True).vision_config
    found = load_file(file) if file.suffix == ".safetensors" else read_checkpoint(file, sha256=sha256)
    seeing = {
        name: tensor
        for name, tensor in found.items()
        # Old checkpoints carry this buffer of 0, 1, 2, ...; it is not a weight.
        if name.startswith(IMAGE_PARTS) and not name.endswith(".position_ids")
    }
    with torch.device("meta"):
        wanted = CLIPVisionModelWithProjection(config).state_dict()
    told: dict[str, Any] = {"config": config, "state_dict": fitting(seeing, wanted, file)}
    return CLIPVisionModelWithProjection.from_pretrained(None, dtype=torch.float32, **told)
