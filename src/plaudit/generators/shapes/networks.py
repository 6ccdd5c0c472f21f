"""The sizes of the published networks, as their config.json files give them, and of miniatures of the same kind.

Whatever a network's class has as its default and the published file repeats is left out. The sources are the
models' own repositories and diffusers' conversion scripts; the numbers of parameters are tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["real", "tiny"]
"""as published, or with all widths and depths cut until a CPU draws a picture in a moment"""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a pipeline."""

    library: Literal["diffusers", "transformers"]
    kind: str
    """the class"""
    settings: Mapping[str, Any]
    """what its config says, as published"""
    tiny: Mapping[str, Any]
    """which of the settings are others in the miniature"""

    def at(self, scale: Scale) -> dict[str, Any]:
        """The settings at that scale."""
        return {**self.settings, **(self.tiny if scale == "tiny" else {})}


def _clip(kind: str, *, tiny_projection: int = 16, **settings: Any) -> Network:
    tiny = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "projection_dim": tiny_projection, "vocab_size": 128,
    }  # fmt: skip
    settings = {"vocab_size": 49408, "max_position_embeddings": 77, **settings}
    return Network(library="transformers", kind=kind, settings=settings, tiny=tiny)


_CLIP_L: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "quick_gelu", "projection_dim": 768,
}  # fmt: skip
CLIP_L = _clip("CLIPTextModel", **_CLIP_L)
CLIP_L_PROJECTED = _clip("CLIPTextModelWithProjection", **_CLIP_L)
# Of 24 layers the last one is left out, as Stable Diffusion 2 reads the one before it.
OPEN_CLIP_H = _clip(
    "CLIPTextModel",
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu",
    projection_dim=512,
)  # fmt: skip
OPEN_CLIP_BIG_G = _clip(
    "CLIPTextModelWithProjection",
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, hidden_act="gelu",
    projection_dim=1280,
)  # fmt: skip

T5_XXL = Network(
    library="transformers",
    kind="T5EncoderModel",
    settings={
        "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
    tiny={"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
)  # fmt: skip
GEMMA_2_2B = Network(
    library="transformers",
    kind="Gemma2Model",
    settings={
        "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
    },
    tiny={
        "vocab_size": 2048, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    },
)  # fmt: skip


def _unet(*, tiny: Mapping[str, Any], **settings: Any) -> Network:
    return Network(library="diffusers", kind="UNet2DConditionModel", settings=settings, tiny=tiny)


_FOUR_LEVELS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
_TINY_UNET = {
    "sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1,
    "cross_attention_dim": 16, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": (2, 2),
}  # fmt: skip
SD2_UNET = _unet(
    **_FOUR_LEVELS, sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
    use_linear_projection=True, tiny=_TINY_UNET,
)  # fmt: skip
SD15_UNET = _unet(**_FOUR_LEVELS, sample_size=64, cross_attention_dim=768, attention_head_dim=8, tiny=_TINY_UNET)
LCM_UNET = _unet(
    **_FOUR_LEVELS, sample_size=96, cross_attention_dim=768, attention_head_dim=8, time_cond_proj_dim=256,
    tiny={**_TINY_UNET, "time_cond_proj_dim": 8},
)  # fmt: skip


def _sdxl_unet(sample_size: int) -> Network:
    return _unet(
        sample_size=sample_size, cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
        block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
        # The summary of 16 numbers and six embedded sizes of 8.
        tiny={
            **_TINY_UNET, "cross_attention_dim": 32, "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64, "transformer_layers_per_block": (1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        },
    )  # fmt: skip


SDXL_UNET, SDXL_TURBO_UNET = _sdxl_unet(128), _sdxl_unet(64)

SD3_TRANSFORMER = Network(
    library="diffusers",
    kind="SD3Transformer2DModel",
    settings={
        "sample_size": 128, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
        "pos_embed_max_size": 192,
    },
    tiny={
        "sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4,
        "out_channels": 4, "joint_attention_dim": 32, "caption_projection_dim": 16, "pooled_projection_dim": 32,
        "pos_embed_max_size": 8,
    },
)  # fmt: skip
PIXART_512_TRANSFORMER = Network(
    library="diffusers",
    kind="PixArtTransformer2DModel",
    settings={"sample_size": 64, "caption_channels": 4096, "use_additional_conditions": False},
    tiny={
        "sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8,
        "cross_attention_dim": 16, "caption_channels": 32,
    },
)  # fmt: skip
FLUX_SCHNELL_TRANSFORMER = Network(
    library="diffusers",
    kind="FluxTransformer2DModel",
    settings={},
    tiny={
        "in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 6, 6),
    },
)  # fmt: skip


def _sana_transformer(**settings: Any) -> Network:
    return Network(
        library="diffusers",
        kind="SanaTransformer2DModel",
        settings={"guidance_embeds": True, "qk_norm": "rms_norm_across_heads", **settings},
        tiny={
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2,
            "num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "cross_attention_dim": 16,
            "caption_channels": 16, "sample_size": 6,
        },
    )  # fmt: skip


SANA_600M_TRANSFORMER = _sana_transformer(
    num_attention_heads=36, num_layers=28, num_cross_attention_heads=16, cross_attention_head_dim=72,
    cross_attention_dim=1152,
)  # fmt: skip
SANA_1600M_TRANSFORMER = _sana_transformer()

_KL = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
_TINY_KL = {
    "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip


def _autoencoder(**settings: Any) -> Network:
    return Network(library="diffusers", kind="AutoencoderKL", settings={**_KL, **settings}, tiny=_TINY_KL)


SD_AUTOENCODER = _autoencoder(scaling_factor=0.18215, sample_size=512)
SDXL_AUTOENCODER = _autoencoder(scaling_factor=0.13025, sample_size=1024)
SDXL_FP16_FIX_AUTOENCODER = _autoencoder(scaling_factor=0.13025, sample_size=512, force_upcast=False)
_SIXTEEN = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False, "sample_size": 1024}
SD3_AUTOENCODER = _autoencoder(**_SIXTEEN, scaling_factor=1.5305, shift_factor=0.0609)
FLUX_AUTOENCODER = _autoencoder(**_SIXTEEN, scaling_factor=0.3611, shift_factor=0.1159)
SANA_AUTOENCODER = Network(
    library="diffusers",
    kind="AutoencoderDC",
    settings={
        "encoder_block_types": (*("ResBlock",) * 3, *("EfficientViTBlock",) * 3),
        "decoder_block_types": (*("ResBlock",) * 3, *("EfficientViTBlock",) * 3),
        "downsample_block_type": "conv", "upsample_block_type": "interpolate", "scaling_factor": 0.41407,
    },
    tiny={
        "latent_channels": 4, "attention_head_dim": 4,
        "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8, 16), "decoder_block_out_channels": (8, 8, 16),
        "encoder_layers_per_block": (1, 1, 1), "decoder_layers_per_block": (1, 2, 1),
        "encoder_qkv_multiscales": ((), (), (5,)), "decoder_qkv_multiscales": ((), (), (5,)),
    },
)  # fmt: skip
