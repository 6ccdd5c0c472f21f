"""Models of random weights for benchmarks: speed and memory do not depend on what the weights are."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.image_reward import ImageReward, ImageRewardModel
from plaudit.rewards.mix import WeightedSum

# "pocket" has the pocket models' sizes; "sd-turbo" the published ones: Stable Diffusion 2.1, three CLIP
# ViT-H/14 at 224 pixels, BLIP ViT-L.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "length": 16, "text": (32, 2, 2), "noise": (4, 8), "unet": (16, 32), "heads": (2, 2), "layers": 1,
        "vae": (8, 16), "groups": 8, "clip": (32, 2, 2, 16, 8), "clip_text": (32, 2, 2),
        "blip": (32, 2, 2, 16, 8), "blip_text": (32, 2, 2), "mlp": (32, 16, 8, 4),
    },
    "pocket": {
        "length": 32, "text": (128, 3, 4), "noise": (8, 8), "unet": (96, 128), "heads": (4, 4), "layers": 1,
        "vae": (16, 32, 64, 128), "groups": 8, "clip": (128, 4, 4, 64, 8), "clip_text": (128, 3, 4),
        "blip": (128, 4, 4, 64, 8), "blip_text": (128, 3, 4), "mlp": (64, 32, 16, 8), "mid": None,
    },
    "sd-turbo": {
        "length": 77, "text": (1024, 23, 16), "noise": (4, 64), "unet": (320, 640, 1280, 1280),
        "heads": (5, 10, 20, 20), "layers": 2, "vae": (128, 256, 512, 512), "groups": 32,
        "clip": (1280, 32, 16, 224, 14), "clip_text": (1024, 24, 16), "blip": (1024, 24, 16, 224, 16),
        "blip_text": (768, 12, 12), "mlp": (1024, 128, 64, 16),
    },
}  # fmt: skip


def build_models(size: str, *, device: torch.device, dtype: torch.dtype) -> tuple[StableDiffusion, WeightedSum]:
    """A one-step generator and the four published rewards with their published weights."""
    sizes = SIZES[size]
    tokenizer = new_tokenizer(sizes["length"])
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        generator = new_generator(sizes, tokenizer, dtype)
        towers = [ClipTowers(new_clip(sizes, tokenizer).to(dtype), tokenizer, scaled=s) for s in (0, 1, 1)]
        blip = ImageReward(new_image_reward(sizes, tokenizer).to(dtype), tokenizer)
    hps, pickscore, clip = towers
    return generator, WeightedSum(
        {"imagereward": (1.0, blip), "hps": (5.0, hps), "pickscore": (0.05, pickscore), "clip": (0.01, clip)}
    )


def new_tokenizer(length: int) -> CLIPTokenizer:
    """A tokenizer that spells; texts are padded, so what it makes of them costs the same."""
    letters = [chr(code) for code in range(97, 123)]
    symbols = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    with tempfile.TemporaryDirectory() as folder:
        CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length).save_pretrained(folder)
        return CLIPTokenizer.from_pretrained(str(Path(folder)), pad_token="<|endoftext|>")


def transformer(shape: tuple[int, int, int]) -> dict[str, int]:
    width, layers, heads = shape
    return {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }  # fmt: skip


def new_generator(sizes: dict[str, Any], tokenizer: Any, dtype: torch.dtype) -> StableDiffusion:
    channels, side = sizes["noise"]
    depth, width = len(sizes["unet"]), sizes["text"][0]
    unet = UNet2DConditionModel(
        sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=sizes["layers"],
        block_out_channels=sizes["unet"], attention_head_dim=sizes["heads"], cross_attention_dim=width,
        down_block_types=(*("CrossAttnDownBlock2D",) * (depth - 1), "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * (depth - 1)),
        norm_num_groups=sizes["groups"], mid_block_type=sizes.get("mid", "UNetMidBlock2DCrossAttn"),
    )  # fmt: skip
    vae = AutoencoderKL(
        latent_channels=channels, block_out_channels=sizes["vae"], layers_per_block=sizes["layers"],
        down_block_types=("DownEncoderBlock2D",) * len(sizes["vae"]),
        up_block_types=("UpDecoderBlock2D",) * len(sizes["vae"]), norm_num_groups=sizes["groups"],
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=sizes["length"], **transformer(sizes["text"]),
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    if dtype != torch.float32:
        unet, vae = unet.to(dtype), vae.to(dtype)
    parts = {
        "tokenizer": tokenizer, "text_encoder": CLIPTextModel(text).to(dtype), "unet": unet,
        "vae": vae, "scheduler": scheduler,
    }  # fmt: skip
    return StableDiffusion(parts)


def new_clip(sizes: dict[str, Any], tokenizer: Any) -> CLIPModel:
    *shape, image_size, patch = sizes["clip"]
    text = {
        "vocab_size": len(tokenizer), "max_position_embeddings": sizes["length"],
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        **transformer(sizes["clip_text"]),
    }  # fmt: skip
    vision = {"image_size": image_size, "patch_size": patch, **transformer(tuple(shape))}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape[0]))


def new_image_reward(sizes: dict[str, Any], tokenizer: Any) -> ImageRewardModel:
    *shape, image_size, patch = sizes["blip"]
    length = min(35, sizes["length"])
    return ImageRewardModel({
        "vision_config": {"image_size": image_size, "patch_size": patch, **transformer(tuple(shape))},
        "text_config": {
            "vocab_size": len(tokenizer), "encoder_hidden_size": shape[0], "max_position_embeddings": 512,
            **transformer(sizes["blip_text"]),
        },
        "mlp_sizes": sizes["mlp"], "max_text_length": length,
    })  # fmt: skip
