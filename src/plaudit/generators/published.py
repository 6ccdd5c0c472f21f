"""The rows of published generators: which files of the hub, at which commit, under which licence.

Weights are fetched as safetensors, in half precision where that is published. Commits are pinned: a row means the
same weights tomorrow. The one pickle, PixArt-alpha-DMD's, is checked by whoever loads it.
"""

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry

_HUB = "plaudit.generators.table:load_published"
_XL = "plaudit.generators.sdxl:load_recipe"

_SETTINGS = ("model_index.json", "*/*.json", "*/*.txt")
"""what a pipeline's folder holds besides weights"""
_WHOLE = (*_SETTINGS, "*/*.model", "*/*.safetensors")
"""all weights as published, but not the copies in another layout beside the folders"""

_XL_BASE = "stabilityai/stable-diffusion-xl-base-1.0"
_XL_COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
_HYPER_COMMIT = "58c1cb1c39836506bbb7c8d130ba6802e71b0a1f"
_SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_SD15_COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
_SD_TURBO_COMMIT = "b261bac6fd2cf515557d5d0707481eafa0485ec2"
_XL_TURBO_COMMIT = "71153311d3dbb46851df1931d3ca6e939de83304"
_SD3_COMMIT = "ea42f8cef0f178587cf766dc8129abd379c90671"
_FLUX_COMMIT = "741f7c3ce8b383c54771c7003378a50191e9efe9"
_DREAMSHAPER_COMMIT = "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5"
_LORA_COMMIT = "cf2fced511dbe7e26c8d1d397e728fbab875db4b"
_PIXART_DMD_COMMIT = "57df7bb32daad69bc1d6c825a275935113802169"

_CONDITIONS = "commercial use has conditions"
_FORBIDDEN_USES = "some uses are forbidden"
_STABILITY_PAGE = "https://stability.ai/license"
_XL_PAGE = f"https://huggingface.co/{_XL_BASE}/blob/main/LICENSE.md"


def _half(*networks: str) -> tuple[str, ...]:
    """A pipeline's files with these networks in half precision."""
    return (*_SETTINGS, *(f"{network}/*.fp16.safetensors" for network in networks))


def _sana_sprint(parameters: str, *, commit: str, size_mb: float, published: str) -> Entry:
    hub_id = f"Efficient-Large-Model/Sana_Sprint_{parameters}_1024px_diffusers"
    return Entry(
        name=f"sana-sprint-{parameters.lower()}",
        target=_HUB,
        arguments={
            "folder": HubFiles(hub_id=hub_id, patterns=_WHOLE, revision=commit),
            "steps": 1,
            "guidance": 4.5,
        },
        summary=f"SANA-Sprint, {parameters} parameters, one step (Chen et al. 2025)",
        hub_id=hub_id,
        revision=commit,
        licence="NVIDIA NSCL v2-custom, Gemma Terms of Use",
        restrictions=_FORBIDDEN_USES,
        licence_page=f"https://huggingface.co/{hub_id}",
        size_mb=size_mb,
        facts={"image_size": 1024, "steps": 1, "guidance": 4.5, "noise": (32, 32, 32), "published": published},
    )


PUBLISHED = [
    Entry(
        name="sd-turbo",
        target=_HUB,
        arguments={
            "folder": HubFiles(
                hub_id="stabilityai/sd-turbo",
                patterns=_half("text_encoder", "unet", "vae"),
                revision=_SD_TURBO_COMMIT,
            ),
            "steps": 1,
            "guidance": 1.0,
        },
        summary="Stable Diffusion 2.1 distilled to one step (Sauer et al. 2023)",
        hub_id="stabilityai/sd-turbo",
        revision=_SD_TURBO_COMMIT,
        licence="Stability AI Community License",
        restrictions=_CONDITIONS,
        licence_page=_STABILITY_PAGE,
        size_mb=2600.0,
        facts={
            "image_size": 512,
            "steps": 1,
            "guidance": 1.0,
            "noise": (4, 64, 64),
            "first_sigma": 14.6146,
            "published": "ReNO: GenEval 0.49, with ReNO 0.62 to 0.63",
        },
    ),
    Entry(
        name="sd-1.5",
        target=_HUB,
        arguments={
            "folder": HubFiles(
                hub_id=_SD15,
                patterns=_half("text_encoder", "unet", "vae"),
                revision=_SD15_COMMIT,
            ),
            "steps": 25,
            "guidance": 7.5,
        },
        summary="Stable Diffusion 1.5, many guided steps (Rombach et al. 2022)",
        hub_id=_SD15,
        revision=_SD15_COMMIT,
        licence="CreativeML Open RAIL-M",
        restrictions=_FORBIDDEN_USES,
        licence_page="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        size_mb=2130.0,
        facts={
            "image_size": 512,
            "steps": 25,
            "guidance": 7.5,
            "noise": (4, 64, 64),
            "published": "R0 starts from a model of this kind (Realistic Vision): HPS 30.19, ImageReward 0.81",
        },
    ),
    Entry(
        name="lcm-dreamshaper",
        target=_HUB,
        arguments={
            # Published in full precision alone; without the network that looks for unsafe pictures.
            "folder": HubFiles(
                hub_id="SimianLuo/LCM_Dreamshaper_v7",
                patterns=(
                    *_SETTINGS,
                    "text_encoder/model.safetensors",
                    "unet/diffusion_pytorch_model.safetensors",
                    "vae/diffusion_pytorch_model.safetensors",
                ),
                revision=_DREAMSHAPER_COMMIT,
            ),
            "steps": 4,
            "guidance": 8.0,
        },
        summary="Dreamshaper 7 as a latent consistency model, guidance embedded (Luo et al. 2023)",
        hub_id="SimianLuo/LCM_Dreamshaper_v7",
        revision=_DREAMSHAPER_COMMIT,
        licence="MIT",
        size_mb=4270.0,
        facts={
            "image_size": 768,
            "steps": 4,
            "guidance": 8.0,
            "noise": (4, 96, 96),
            "published": "RLCM, 8 steps, read from plots: aesthetic 5.97 to 8.1, incompression 181 to 635 kB",
        },
    ),
    Entry(
        name="lcm-lora-sd15",
        target="plaudit.generators.table:load_lcm_lora",
        arguments={
            "folder": HubFiles(
                hub_id=_SD15,
                patterns=_half("text_encoder", "unet", "vae"),
                revision=_SD15_COMMIT,
            ),
            "lora": HubFiles(
                hub_id="latent-consistency/lcm-lora-sdv1-5",
                patterns=("pytorch_lora_weights.safetensors",),
                revision=_LORA_COMMIT,
            ),
            "steps": 4,
        },
        summary="Stable Diffusion 1.5 made a latent consistency model by a LoRA (Luo et al. 2023)",
        hub_id="latent-consistency/lcm-lora-sdv1-5",
        revision=_LORA_COMMIT,
        licence="OpenRAIL++; of Stable Diffusion 1.5: CreativeML Open RAIL-M",
        restrictions=_FORBIDDEN_USES,
        licence_page="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        size_mb=2270.0,
        facts={"image_size": 512, "steps": 4, "guidance": 1.0, "noise": (4, 64, 64)},
    ),
    Entry(
        name="sdxl-turbo",
        target=_XL,
        arguments={
            "folder": HubFiles(
                hub_id="stabilityai/sdxl-turbo",
                patterns=_half("text_encoder", "text_encoder_2", "unet"),
                revision=_XL_TURBO_COMMIT,
            ),
            "steps": 1,
            "guidance": 1.0,
            "changes": {
                "vae": HubFiles(
                    hub_id="madebyollin/sdxl-vae-fp16-fix",
                    patterns=("config.json", "diffusion_pytorch_model.safetensors"),
                    revision="207b116dae70ace3637169f1ddd2434b91b3a8cd",
                )
            },
        },
        summary="Stable Diffusion XL distilled to one step (Sauer et al. 2023)",
        hub_id="stabilityai/sdxl-turbo",
        revision=_XL_TURBO_COMMIT,
        licence="Stability AI Community License",
        restrictions=_CONDITIONS,
        licence_page=_STABILITY_PAGE,
        size_mb=7110.0,
        facts={
            "image_size": 512,
            "steps": 1,
            "guidance": 1.0,
            "noise": (4, 64, 64),
            "first_sigma": 14.6146,
            "published": "ReNO: more than 10 points of T2I-CompBench colour, shape and texture",
        },
    ),
    Entry(
        name="hyper-sdxl",
        target=_XL,
        arguments={
            "folder": HubFiles(
                hub_id=_XL_BASE,
                patterns=_half("text_encoder", "text_encoder_2", "vae"),
                revision=_XL_COMMIT,
            ),
            "steps": 1,
            "guidance": 1.0,
            "changes": {
                "unet": HubFiles(
                    hub_id="ByteDance/Hyper-SD",
                    patterns=("Hyper-SDXL-1step-Unet.safetensors",),
                    revision=_HYPER_COMMIT,
                ),
                "lcm_time": 800,
            },
        },
        summary="Stable Diffusion XL distilled to one step of 1024 pixels (Ren et al. 2024)",
        hub_id="ByteDance/Hyper-SD",
        revision=_HYPER_COMMIT,
        licence="CreativeML Open RAIL++-M",
        restrictions=_FORBIDDEN_USES,
        licence_page=_XL_PAGE,
        size_mb=12080.0,
        facts={
            "image_size": 1024,
            "steps": 1,
            "guidance": 1.0,
            "noise": (4, 128, 128),
            "time": 800,
            "published": "GenEval 0.56; ReNO: more than 10 points of T2I-CompBench colour, shape and texture",
        },
    ),
    Entry(
        name="sdxl",
        target=_HUB,
        arguments={
            "folder": HubFiles(
                hub_id=_XL_BASE,
                patterns=_half("text_encoder", "text_encoder_2", "unet", "vae"),
                revision=_XL_COMMIT,
            ),
            "steps": 50,
            "guidance": 5.0,
        },
        summary="Stable Diffusion XL, many guided steps (Podell et al. 2023)",
        hub_id=_XL_BASE,
        revision=_XL_COMMIT,
        licence="CreativeML Open RAIL++-M",
        restrictions=_FORBIDDEN_USES,
        licence_page=_XL_PAGE,
        size_mb=6940.0,
        facts={
            "image_size": 1024,
            "steps": 50,
            "guidance": 5.0,
            "noise": (4, 128, 128),
            "published": "ReNO's comparison: GenEval 0.55",
        },
    ),
    Entry(
        name="sd3-medium",
        target=_HUB,
        arguments={
            # Its networks come in half precision under the names of full precision.
            "folder": HubFiles(
                hub_id="stabilityai/stable-diffusion-3-medium-diffusers",
                patterns=(
                    *_SETTINGS,
                    "text_encoder/model.safetensors",
                    "text_encoder_2/model.safetensors",
                    "text_encoder_3/model-*.safetensors",
                    "transformer/*.safetensors",
                    "vae/*.safetensors",
                ),
                revision=_SD3_COMMIT,
            ),
            "steps": 28,
            "guidance": 7.0,
        },
        summary="Stable Diffusion 3 Medium, many guided steps (Esser et al. 2024)",
        hub_id="stabilityai/stable-diffusion-3-medium-diffusers",
        revision=_SD3_COMMIT,
        licence="Stability AI Community License",
        restrictions=_CONDITIONS,
        licence_page=_STABILITY_PAGE,
        size_mb=15500.0,
        facts={
            "image_size": 1024,
            "steps": 28,
            "guidance": 7.0,
            "noise": (16, 128, 128),
            "published": "R0, table 1: HPSv2.1 31.37, ImageReward 1.07, FID 28.72",
        },
    ),
    Entry(
        name="pixart-dmd",
        target="plaudit.generators.pixart_student:load_student",
        arguments={
            # Text encoder and autoencoder from the first, transformer and scheduler from the second.
            "folder": HubFiles(
                hub_id="PixArt-alpha/PixArt-XL-2-1024-MS",
                patterns=(
                    "model_index.json",
                    "*/*.json",
                    "tokenizer/*.model",
                    "text_encoder/*.safetensors",
                    "vae/*.safetensors",
                ),
                revision="b89adadeccd9ead2adcb9fa2825d3fabec48d404",
            ),
            "student": HubFiles(
                hub_id="PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512",
                patterns=("model_index.json", "*/*.json", "transformer/diffusion_pytorch_model.bin"),
                revision=_PIXART_DMD_COMMIT,
            ),
            "steps": 1,
            "guidance": 1.0,
        },
        summary="PixArt-alpha distilled to one step, from time 400 (Chen et al. 2023, Yin et al. 2024)",
        hub_id="PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512",
        revision=_PIXART_DMD_COMMIT,
        licence="OpenRAIL (student), OpenRAIL++-M (text encoder and autoencoder)",
        restrictions=_FORBIDDEN_USES,
        licence_page="https://huggingface.co/PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512",
        size_mb=21800.0,
        facts={
            "image_size": 512,
            "steps": 1,
            "guidance": 1.0,
            "noise": (4, 64, 64),
            "published": "ReNO: above 20 points more in T2I-CompBench's colours, shapes and textures",
        },
    ),
    Entry(
        name="flux-schnell",
        target=_HUB,
        arguments={
            "folder": HubFiles(
                hub_id="black-forest-labs/FLUX.1-schnell",
                patterns=_WHOLE,
                revision=_FLUX_COMMIT,
            ),
            "steps": 1,
            "guidance": 1.0,
        },
        summary="FLUX.1 distilled to one to four steps (Black Forest Labs 2024)",
        hub_id="black-forest-labs/FLUX.1-schnell",
        revision=_FLUX_COMMIT,
        licence="Apache-2.0",
        size_mb=33700.0,
        facts={
            "image_size": 512,
            "steps": 1,
            "guidance": 1.0,
            "noise": (1024, 64),
            "published": "GenEval in 4 steps 0.68; from noise that ReNO found in 1 step 0.72 to 0.76",
        },
    ),
    _sana_sprint(
        "0.6B",
        commit="a7d9fc31dd5c3f5e22dbfd78360777ceed56ae97",
        size_mb=7700.0,
        published="GenEval 0.70, with ReNO 0.81",
    ),
    _sana_sprint(
        "1.6B",
        commit="19683c58b7ea290e55cedd8950ae1d86ada7ef96",
        size_mb=9700.0,
        published="GenEval 0.74",
    ),
]
