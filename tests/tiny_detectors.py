"""Detectors of random weights in the published formats: Mask2Former and OWLv2."""

import json
from pathlib import Path

import torch
from conftest import save_tokenizer

COCO = ("person", "bicycle", "car", "motorbike", "aeroplane", "sofa", "hair drier", "mouse")


def save_mask2former(folder: Path) -> Path:
    """A Mask2FormerForUniversalSegmentation folder of eight classes; its random masks cover parts of a picture."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    torch.manual_seed(3)
    backbone = SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=12,
        id2label=dict(enumerate(COCO)), label2id={name: index for index, name in enumerate(COCO)},
    )  # fmt: skip
    model = Mask2FormerForUniversalSegmentation(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=1.5 if "class_predictor" in name or "queries" in name else 0.3)
    model.save_pretrained(str(folder))
    settings = {
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.23, 0.22, 0.24],
        "size": {"height": 384, "width": 384},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def save_owlv2(folder: Path) -> Path:
    """An Owlv2ForObjectDetection folder that reads 32 x 32 pixels in 16 patches."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    torch.manual_seed(4)
    folder.mkdir(parents=True, exist_ok=True)
    words = save_tokenizer(folder)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**tower, "vocab_size": words, "max_position_embeddings": 16, "pad_token_id": 0,
                     "bos_token_id": words - 2, "eos_token_id": words - 1},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    model = Owlv2ForObjectDetection(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(str(folder))
    settings = {"image_mean": [0.5, 0.4, 0.45], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
