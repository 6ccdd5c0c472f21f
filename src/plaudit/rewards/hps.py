"""HPSv2 and HPSv2.1 (Wu et al. 2023) from their own checkpoints: LAION's CLIP ViT-H/14, tuned on human choices.

The score is the plain cosine, about 0.2 to 0.4. As published, an image is fitted into the square by its long side with
black around it; ReNO (Eyring et al. 2024) cuts out the centre square instead, which for images that are not square is
another score. Both are here, by `fit`. Differs from the published package: gradients reach the image, the whole batch
is scored at once, each prompt is embedded once, nothing is unpickled, and it works in float32 where the package uses
float16.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from plaudit.core.errors import BadConfig
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint
from plaudit.rewards.clip_towers import TOKENIZER_FILES, ClipTowers, read_preprocess
from plaudit.rewards.open_clip_names import to_transformers
from plaudit.rewards.preprocess import Fit


def load_hps(
    folder: str | Path,
    *,
    checkpoint: str | Path,
    sha256: str | None = None,
    fit: Fit = "pad",
    device: torch.device | str | None = None,
) -> ClipTowers:
    """The reward of a checkpoint in open_clip's format, with config.json and tokenizer of CLIPModel's folder.

    `sha256` as in read_checkpoint. Raises BadConfig if files are missing or do not fit together.
    """
    folder, checkpoint = Path(folder), Path(checkpoint)
    if not (folder / "config.json").is_file() or not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadConfig(f"{folder} needs a CLIP model's config.json and tokenizer for the weights {checkpoint.name}")
    weights = to_transformers(read_checkpoint(checkpoint, sha256=sha256))
    config = CLIPConfig.from_pretrained(str(folder), local_files_only=True)
    with torch.device("meta"):
        wanted = CLIPModel(config).state_dict()
    told: dict[str, Any] = {"config": config, "state_dict": fitting(weights, wanted, checkpoint)}
    model = CLIPModel.from_pretrained(None, dtype=torch.float32, **told).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    preprocess = replace(read_preprocess(folder, int(config.vision_config.image_size)), fit=fit)
    return ClipTowers(model, tokenizer, scaled=False, preprocess=preprocess)
