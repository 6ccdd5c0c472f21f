"""ImageReward (Xu et al. 2023): BLIP reads the image, its text encoder reads the prompt while looking at it.

The text's first token, after cross-attention to all image tokens, goes through a purely linear head and is
normalised by a fixed mean and spread. Differs from the published package: gradients reach the image, the
whole batch is scored at once, prompts are tokenised once, and nothing is downloaded or unpickled.

A folder holds config.json (vision_config, text_config, mlp_sizes, mean, std, max_text_length), a tokenizer,
and model.safetensors with the published checkpoint's key names, so the published weights need no renaming. What was
published itself, ImageReward.pt with med_config.json and BERT's tokenizer, loads by `load_image_reward`.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from plaudit.core.errors import BadConfig
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint
from plaudit.rewards.preprocess import Preprocess

PUBLISHED_MLP_SIZES = (1024, 128, 64, 16)
PUBLISHED_MEAN, PUBLISHED_STD = 0.16717362830052426, 1.0333394966054072
PUBLISHED_TEXT_LENGTH = 35
PUBLISHED_HEAD_WIDTH = 64
"""of each of the vision tower's attention heads"""
PUBLISHED_FILES = ("ImageReward.pt", "med_config.json")

UNUSED_KEYS = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")
"""in the published checkpoint and in no score: BLIP's contrastive heads, and a buffer of 0, 1, 2, ..."""

# Of the vision tower's weights: our module's names on the left, the checkpoint's on the right.
_VISION_KEYS = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.projection\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.qkv\.", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layers\.(\d+)\.layer_norm([12])\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"^post_layernorm\.", "norm."),
)


class ImageRewardModel(nn.Module):
    """The network: pixels and tokens to normalised scores. Trainable as built; `ImageReward` freezes it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        # transformers' own default spread for the vision tower, 1e-10, would start a training from nothing.
        vision = BlipVisionConfig(**{"initializer_range": 0.02, **config["vision_config"]})
        # transformers builds the cross-attention layers only for a "decoder"; run with is_decoder=False, the
        # text still sees itself in both directions, as published.
        settings = {**config["text_config"], "is_decoder": True, "bos_token_id": None, "sep_token_id": None}
        text = BlipTextConfig(**settings)
        if text.encoder_hidden_size != vision.hidden_size:
            raise BadConfig(
                f"the text encoder looks at image tokens of width {text.encoder_hidden_size}, "
                f"the vision tower makes {vision.hidden_size}; set text_config.encoder_hidden_size"
            )
        self.image_size = int(vision.image_size)
        self.max_text_length = int(config.get("max_text_length", PUBLISHED_TEXT_LENGTH))
        self.mean, self.std = float(config.get("mean", 0.0)), float(config.get("std", 1.0))
        self.visual_encoder = BlipVisionModel(vision)
        self.text_encoder = BlipTextModel(text, add_pooling_layer=False)
        self.mlp = linear_head(text.hidden_size, config.get("mlp_sizes", PUBLISHED_MLP_SIZES))
        self.checkpointing = False
        """recompute activations in the backward pass instead of keeping them"""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network with fresh random weights."""
        return cls(config)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The network of a folder. Raises BadConfig if its files are missing or do not fit together."""
        config_file, weights_file = Path(folder) / "config.json", Path(folder) / "model.safetensors"
        for file in (config_file, weights_file):
            if not file.is_file():
                raise BadConfig(f"{folder} is not an ImageReward folder: it has no {file.name}")
        model = cls(json.loads(config_file.read_text()))
        model.load_weights(load_file(weights_file), weights_file)
        return model

    def load_weights(self, weights: Mapping[str, Tensor], file: Path) -> None:
        """Take weights with the published checkpoint's key names. Raises BadConfig if they are not just those."""
        used = {name: tensor for name, tensor in weights.items() if not name.startswith(UNUSED_KEYS)}
        names = {published_key(name): name for name in self.state_dict()}
        wanted = {key: self.state_dict()[name] for key, name in names.items()}
        self.load_state_dict({names[key]: tensor for key, tensor in fitting(used, wanted, file).items()})

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors; the tokenizer is saved by its own save_pretrained."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        config = {"model_type": "image_reward", **self.config}
        (Path(folder) / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = {
            published_key(name): tensor.detach().to("cpu", dtype).clone() for name, tensor in self.state_dict().items()
        }
        save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores (B,) float32 of normalised pixels (B, 3, S, S) and tokens (B, L) with their mask (B, L)."""
        return self.judge(self.read(self.see(pixel_values), input_ids, attention_mask))

    def see(self, pixel_values: Tensor) -> Tensor:
        """The image's tokens (B, N, D), its class token first."""
        tokens = self.visual_encoder.embeddings(pixel_values)
        for layer in self.visual_encoder.encoder.layers:
            tokens = self._run(layer, tokens)
        return self.visual_encoder.post_layernorm(tokens)

    def read(self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text's first token after it has seen the image, (B, D)."""
        return self._run(self._read, image_tokens, input_ids, attention_mask)

    def judge(self, first: Tensor) -> Tensor:
        """Normalised scores (B,) float32 of first tokens (B, D)."""
        return (self.mlp(first).squeeze(-1).float() - self.mean) / self.std

    def _read(self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text's first token after it has seen the image, (B, D)."""
        output = self.text_encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=image_tokens,
            is_decoder=False,
        )
        return output.last_hidden_state[:, 0]

    def _run(self, part: Any, *inputs: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


class ImageReward:
    """ImageReward's score as a reward: about -2 to 2, higher is better. Keeps the Reward contract.

    A prompt beyond the model's text length (35 tokens as published) is cut there.
    """

    differentiable = True

    def __init__(self, model: ImageRewardModel, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._preprocess = Preprocess(size=model.image_size)
        self._tokens: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        checkpointing: bool = False,
    ) -> Self:
        """The reward of a folder, frozen. Raises BadConfig if the folder does not hold one."""
        model = ImageRewardModel.from_pretrained(folder)
        model.checkpointing = checkpointing
        model.to(device=device, dtype=dtype)
        return cls(model, load_tokenizer(Path(folder)))

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts."""
        weight = next(self.model.parameters())
        if weight.device != images.device:
            self.model.to(images.device)
        ids, mask = self._read(prompts).to(images.device).unbind(dim=1)
        return self.model(self._preprocess(images).to(weight.dtype), ids, mask)

    def forget_prompts(self) -> None:
        """Empty the cache of tokenised prompts."""
        self._tokens.clear()

    def _read(self, prompts: Sequence[str]) -> Tensor:
        """Token ids and mask of each prompt, (B, 2, L)."""
        for prompt in set(prompts) - self._tokens.keys():
            read = self.tokenizer(prompt, padding="max_length", truncation=True, max_length=self.model.max_text_length)
            self._tokens[prompt] = torch.tensor([read["input_ids"], read["attention_mask"]])
        return torch.stack([self._tokens[prompt] for prompt in prompts])


def load_image_reward(
    folder: str | Path,
    *,
    tokenizer: str | Path,
    sha256: str | None = None,
    device: torch.device | str | None = None,
) -> ImageReward:
    """The reward of the published ImageReward.pt and med_config.json, with the folder of BERT's tokenizer.

    `sha256` as in read_checkpoint. Raises BadConfig if files are missing or do not fit together.
    """
    checkpoint, med_config = (Path(folder) / name for name in PUBLISHED_FILES)
    if not med_config.is_file():
        raise BadConfig(f"{folder} is not what ImageReward was published as: it has no {med_config.name}")
    weights = read_checkpoint(checkpoint, sha256=sha256)
    try:
        config = published_config(weights, json.loads(med_config.read_text()))
    except KeyError as error:
        raise BadConfig(f"{checkpoint} or {med_config.name} is not ImageReward's: there is no {error}") from error
    model = ImageRewardModel(config)
    model.load_weights(weights, checkpoint)
    return ImageReward(model.to(device), load_tokenizer(Path(tokenizer)))


def published_config(weights: Mapping[str, Tensor], med_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the published checkpoint: the text encoder's is published, the vision tower's is in its shapes."""
    vision = "blip.visual_encoder."
    width, side = weights[f"{vision}patch_embed.proj.weight"].shape[0::3]
    num_patches = weights[f"{vision}pos_embed"].shape[1] - 1
    layers = {name.split(".")[3] for name in weights if name.startswith(f"{vision}blocks.")}
    settings = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
    optional = ("max_position_embeddings", "layer_norm_eps", "hidden_act", "pad_token_id")
    text = {key: med_config[key] for key in settings} | {key: med_config[key] for key in optional if key in med_config}
    return {
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": weights[f"{vision}blocks.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, width // PUBLISHED_HEAD_WIDTH),
            "image_size": math.isqrt(num_patches) * side,
            "patch_size": side,
            # BLIP's own; transformers' default is ten times that.
            "layer_norm_eps": 1e-6,
        },
        "text_config": {**text, "encoder_hidden_size": width},
        "mlp_sizes": PUBLISHED_MLP_SIZES,
        "mean": PUBLISHED_MEAN,
        "std": PUBLISHED_STD,
        "max_text_length": PUBLISHED_TEXT_LENGTH,
    }


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, of the class its tokenizer_config.json names; BERT's as published."""
    import transformers

    file = folder / "tokenizer_config.json"
    if not file.is_file():
        raise BadConfig(f"{folder} has no tokenizer_config.json")
    kind = str(json.loads(file.read_text()).get("tokenizer_class", "BertTokenizer"))
    return getattr(transformers, kind).from_pretrained(str(folder), local_files_only=True)


def linear_head(width: int, sizes: Sequence[int]) -> nn.Module:
    """Linear layers width -> sizes... -> 1 with nothing but dropout between, numbered as in the checkpoint.

    The published head has dropout after its first three layers, which takes up a number but holds no weight.
    """
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip((width, *sizes), (*sizes, 1), strict=True)):
        layers.append(nn.Linear(before, after))
        if index < min(3, len(sizes)):
            layers.append(nn.Dropout(0.2 if index < 2 else 0.1))
    return nn.Sequential(*layers)


def published_key(name: str) -> str:
    """The name that a weight of ImageRewardModel has in the published checkpoint."""
    part, _, rest = name.partition(".")
    if part == "mlp":
        return f"mlp.layers.{rest}"
    if part == "visual_encoder":
        for pattern, published in _VISION_KEYS:
            rest = re.sub(pattern, published, rest)
    return f"blip.{part}.{rest}"
