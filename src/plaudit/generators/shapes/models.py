"""Which networks, tokenizers and schedulers the published models of the table are put together from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from plaudit.core.errors import UnknownName
from plaudit.generators.shapes import networks
from plaudit.generators.shapes.networks import Network, Scale

Spelling = Literal["clip", "t5", "gemma"]
"""which kind of tokenizer"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """All that a model is but its weights."""

    pipeline: str
    """the class of its folder"""
    networks: Mapping[str, Network]
    """by the part's name"""
    tokenizers: Mapping[str, Spelling]
    """by the part's name"""
    scheduler: tuple[str, Mapping[str, Any]]
    """class and settings"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """what the family's class is told beside steps and guidance"""
    tiny_options: Mapping[str, Any] = field(default_factory=dict)
    """further ones of the miniature"""

    def told(self, scale: Scale) -> dict[str, Any]:
        """The options at that scale."""
        return {**self.options, **(self.tiny_options if scale == "tiny" else {})}


_SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_LCM_SCHEDULER = ("LCMScheduler", {**_SD_BETAS, "clip_sample": False})
_XL_TOKENIZERS: dict[str, Spelling] = {"tokenizer": "clip", "tokenizer_2": "clip"}
_TRAILING = {**_SD_BETAS, "timestep_spacing": "trailing"}


def _xl(unet: Network, vae: Network, scheduler: tuple[str, Mapping[str, Any]], **options: Any) -> Shape:
    encoders = {"text_encoder": networks.CLIP_L, "text_encoder_2": networks.OPEN_CLIP_BIG_G}
    return Shape(
        pipeline="StableDiffusionXLPipeline", networks={**encoders, "unet": unet, "vae": vae},
        tokenizers=_XL_TOKENIZERS, scheduler=scheduler, options=options,
    )  # fmt: skip


def _latent_consistency(unet: Network, **options: Any) -> Shape:
    return Shape(
        pipeline="LatentConsistencyModelPipeline",
        networks={"text_encoder": networks.CLIP_L, "unet": unet, "vae": networks.SD_AUTOENCODER},
        tokenizers={"tokenizer": "clip"}, scheduler=_LCM_SCHEDULER, options=options,
    )  # fmt: skip


def _sana(transformer: Network) -> Shape:
    encoder, vae = networks.GEMMA_2_2B, networks.SANA_AUTOENCODER
    return Shape(
        pipeline="SanaSprintPipeline",
        networks={"text_encoder": encoder, "transformer": transformer, "vae": vae},
        tokenizers={"tokenizer": "gemma"}, scheduler=("SCMScheduler", {}),
    )  # fmt: skip


_LEADING_XL = ("EulerDiscreteScheduler", {**_SD_BETAS, "timestep_spacing": "leading"})

SHAPES: dict[str, Shape] = {
    "sd-turbo": Shape(
        pipeline="StableDiffusionPipeline",
        networks={
            "text_encoder": networks.OPEN_CLIP_H, "unet": networks.SD2_UNET, "vae": networks.SD_AUTOENCODER,
        },
        tokenizers={"tokenizer": "clip"},
        scheduler=("EulerDiscreteScheduler", _TRAILING),
    ),
    "sd-1.5": Shape(
        pipeline="StableDiffusionPipeline",
        networks={"text_encoder": networks.CLIP_L, "unet": networks.SD15_UNET, "vae": networks.SD_AUTOENCODER},
        tokenizers={"tokenizer": "clip"},
        scheduler=("PNDMScheduler", {**_SD_BETAS, "skip_prk_steps": True}),
    ),
    "lcm-dreamshaper": _latent_consistency(networks.LCM_UNET),
    # The patch is merged into the weights, so that its shape is Stable Diffusion 1.5's.
    "lcm-lora-sd15": _latent_consistency(networks.SD15_UNET, guidance=None),
    "sdxl-turbo": _xl(
        networks.SDXL_TURBO_UNET, networks.SDXL_FP16_FIX_AUTOENCODER, ("EulerAncestralDiscreteScheduler", _TRAILING),
    ),
    "hyper-sdxl": _xl(networks.SDXL_UNET, networks.SDXL_AUTOENCODER, _LEADING_XL, lcm_time=800),
    "sdxl": _xl(networks.SDXL_UNET, networks.SDXL_AUTOENCODER, _LEADING_XL),
    "sd3-medium": Shape(
        pipeline="StableDiffusion3Pipeline",
        networks={
            "text_encoder": networks.CLIP_L_PROJECTED, "text_encoder_2": networks.OPEN_CLIP_BIG_G,
            "text_encoder_3": networks.T5_XXL, "transformer": networks.SD3_TRANSFORMER,
            "vae": networks.SD3_AUTOENCODER,
        },
        tokenizers={**_XL_TOKENIZERS, "tokenizer_3": "t5"},
        scheduler=("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ),
    "pixart-dmd": Shape(
        pipeline="PixArtAlphaPipeline",
        networks={
            "text_encoder": networks.T5_XXL, "transformer": networks.PIXART_512_TRANSFORMER,
            "vae": networks.SD_AUTOENCODER,
        },
        tokenizers={"tokenizer": "t5"},
        scheduler=("DDPMScheduler", {"beta_end": 0.02, "clip_sample": False}),
    ),
    "flux-schnell": Shape(
        pipeline="FluxPipeline",
        networks={
            "text_encoder": networks.CLIP_L, "text_encoder_2": networks.T5_XXL,
            "transformer": networks.FLUX_SCHNELL_TRANSFORMER, "vae": networks.FLUX_AUTOENCODER,
        },
        tokenizers={"tokenizer": "clip", "tokenizer_2": "t5"},
        scheduler=("FlowMatchEulerDiscreteScheduler", {"base_image_seq_len": 256, "max_image_seq_len": 4096}),
        tiny_options={"image_size": 16},
    ),
    "sana-sprint-0.6b": _sana(networks.SANA_600M_TRANSFORMER),
    "sana-sprint-1.6b": _sana(networks.SANA_1600M_TRANSFORMER),
}  # fmt: skip
"""by the names of the table of generators"""


def shape_of(name: str) -> Shape:
    """The shape of a row of the table of generators. Raises UnknownName if none is shipped."""
    shape = SHAPES.get(name.lower())
    if shape is None:
        raise UnknownName(f"no shape of a model named {name!r} is shipped. Known: {', '.join(SHAPES)}.")
    return shape
