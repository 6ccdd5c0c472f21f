"""The table of generators. To add one, add a row; nothing is imported until a row is built."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from plaudit.core.errors import BadConfig
from plaudit.core.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from plaudit.generators.generator import NoiseGenerator

_POCKET = "plaudit.generators.table:_load_pocket"
_HUB = "plaudit.generators.table:_load_hub"
_SDXL = "plaudit.generators.sdxl:load_recipe"

_HYPER_SDXL = "58c1cb1c39836506bbb7c8d130ba6802e71b0a1f"

# Published in full precision alone; without the network that looks for unsafe pictures.
_LCM_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
)

# Its networks come in half precision under the names of full precision.
_SD3_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "text_encoder/model.safetensors",
    "text_encoder_2/model.safetensors",
    "text_encoder_3/model-*.safetensors",
    "transformer/*.safetensors",
    "vae/*.safetensors",
)

# All weights as published, but not the copies in another layout beside the folders.
_WHOLE_FILES = ("model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors")

_PIXART_DMD = "57df7bb32daad69bc1d6c825a275935113802169"


def _sana_sprint(parameters: str, *, size_mb: float, published: str) -> Entry:
    hub_id = f"Efficient-Large-Model/Sana_Sprint_{parameters}_1024px_diffusers"
    return Entry(
        name=f"sana-sprint-{parameters.lower()}",
        target=_HUB,
        arguments={"hub_id": hub_id, "steps": 1, "guidance": 4.5, "files": _WHOLE_FILES},
        summary=f"SANA-Sprint, {parameters} parameters, one step (Chen et al. 2025)",
        hub_id=hub_id,
        licence="NVIDIA NSCL v2-custom, Gemma Terms of Use",
        size_mb=size_mb,
        facts={"image_size": 1024, "steps": 1, "guidance": 4.5, "noise": (32, 32, 32), "published": published},
    )


GENERATORS = Registry(
    "model",
    [
        Entry(
            name="pocket-turbo",
            target=_POCKET,
            arguments={"name": "pocket-turbo", "steps": 1, "guidance": 1.0},
            summary="the pocket world's one-step model, distilled from pocket-base",
            facts={"image_size": 64, "steps": 1, "guidance": 1.0, "plays": "SD-Turbo"},
        ),
        Entry(
            name="pocket-base",
            target=_POCKET,
            arguments={"name": "pocket-base", "steps": 25, "guidance": 3.0},
            summary="the pocket world's many-step model with classifier-free guidance",
            facts={"image_size": 64, "steps": 25, "guidance": 3.0, "plays": "Stable Diffusion 1.5"},
        ),
        Entry(
            name="sd-turbo",
            target=_HUB,
            arguments={"hub_id": "stabilityai/sd-turbo", "steps": 1, "guidance": 1.0},
            summary="Stable Diffusion 2.1 distilled to one step (Sauer et al. 2023)",
            hub_id="stabilityai/sd-turbo",
            licence="Stability AI Community License",
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
            name="lcm-dreamshaper",
            target=_HUB,
            arguments={
                "hub_id": "SimianLuo/LCM_Dreamshaper_v7",
                "steps": 4,
                "guidance": 8.0,
                "files": _LCM_FILES,
            },
            summary="Dreamshaper 7 as a latent consistency model, guidance embedded (Luo et al. 2023)",
            hub_id="SimianLuo/LCM_Dreamshaper_v7",
            revision="a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
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
            target="plaudit.generators.table:_load_lcm_lora",
            arguments={
                "hub_id": "latent-consistency/lcm-lora-sdv1-5",
                "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
                "steps": 4,
            },
            summary="Stable Diffusion 1.5 made a latent consistency model by a LoRA (Luo et al. 2023)",
            hub_id="latent-consistency/lcm-lora-sdv1-5",
            licence="OpenRAIL++; of Stable Diffusion 1.5: CreativeML Open RAIL-M",
            size_mb=2870.0,
            facts={"image_size": 512, "steps": 4, "guidance": 1.0, "noise": (4, 64, 64)},
        ),
        Entry(
            name="sdxl-turbo",
            target=_SDXL,
            arguments={
                "hub_id": "stabilityai/sdxl-turbo",
                "steps": 1,
                "guidance": 1.0,
                "changes": {"vae": "madebyollin/sdxl-vae-fp16-fix"},
            },
            summary="Stable Diffusion XL distilled to one step (Sauer et al. 2023)",
            hub_id="stabilityai/sdxl-turbo",
            licence="Stability AI Community License",
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
            target=_SDXL,
            arguments={
                "hub_id": "stabilityai/stable-diffusion-xl-base-1.0",
                "steps": 1,
                "guidance": 1.0,
                "changes": {
                    "unet": ("ByteDance/Hyper-SD", "Hyper-SDXL-1step-Unet.safetensors", _HYPER_SDXL),
                    "lcm_time": 800,
                },
            },
            summary="Stable Diffusion XL distilled to one step of 1024 pixels (Ren et al. 2024)",
            hub_id="ByteDance/Hyper-SD",
            revision=_HYPER_SDXL,
            licence="CreativeML Open RAIL++-M",
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
            arguments={"hub_id": "stabilityai/stable-diffusion-xl-base-1.0", "steps": 50, "guidance": 5.0},
            summary="Stable Diffusion XL, many guided steps (Podell et al. 2023)",
            hub_id="stabilityai/stable-diffusion-xl-base-1.0",
            licence="CreativeML Open RAIL++-M",
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
                "hub_id": "stabilityai/stable-diffusion-3-medium-diffusers",
                "steps": 28,
                "guidance": 7.0,
                "files": _SD3_FILES,
            },
            summary="Stable Diffusion 3 Medium, many guided steps (Esser et al. 2024)",
            hub_id="stabilityai/stable-diffusion-3-medium-diffusers",
            licence="Stability AI Community License",
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
            target="plaudit.generators.pixart_student:fetch_student",
            arguments={
                # Text encoder and autoencoder from the first, transformer and scheduler from the second.
                "hub_id": "PixArt-alpha/PixArt-XL-2-1024-MS",
                "student": ("PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512", _PIXART_DMD),
                "steps": 1,
                "guidance": 1.0,
            },
            summary="PixArt-alpha distilled to one step, from time 400 (Chen et al. 2023, Yin et al. 2024)",
            hub_id="PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512",
            revision=_PIXART_DMD,
            licence="OpenRAIL (student), OpenRAIL++-M (text encoder and autoencoder)",
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
                "hub_id": "black-forest-labs/FLUX.1-schnell",
                "steps": 1,
                "guidance": 1.0,
                "files": _WHOLE_FILES,
            },
            summary="FLUX.1 distilled to one to four steps (Black Forest Labs 2024)",
            hub_id="black-forest-labs/FLUX.1-schnell",
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
        _sana_sprint("0.6B", size_mb=7700.0, published="GenEval 0.70, with ReNO 0.81"),
        _sana_sprint("1.6B", size_mb=9700.0, published="GenEval 0.74"),
    ],
)

FAMILIES = {
    "StableDiffusionPipeline": "plaudit.generators.stable_diffusion:StableDiffusion",
    "LatentConsistencyModelPipeline": "plaudit.generators.lcm:LatentConsistency",
    "StableDiffusionXLPipeline": "plaudit.generators.sdxl:StableDiffusionXL",
    "StableDiffusion3Pipeline": "plaudit.generators.sd3:StableDiffusion3",
    "PixArtAlphaPipeline": "plaudit.generators.pixart:PixArtAlpha",
    "FluxPipeline": "plaudit.generators.flux:Flux",
    "SanaSprintPipeline": "plaudit.generators.sana:SanaSprint",
}
"""by a pipeline folder's class: who loads it; each has `from_pretrained(folder, *, device, dtype, steps, guidance)`"""

# What a generator's folder needs; hub repositories hold much more.
_HUB_FILES = ("model_index.json", "*/*.json", "*/*.txt", "*/*.fp16.safetensors")


def load_generator(
    name_or_folder: str, *, device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "NoiseGenerator":
    """The generator of a row's name or hub id, or of a published pipeline's folder (run in one step, unguided).

    Float32 on the CPU unless told otherwise. Raises UnknownName with the nearest name, or BadConfig.
    """
    for entry in GENERATORS:
        if name_or_folder.lower() in (entry.name, (entry.hub_id or "").lower()):
            return entry.build(device=device, dtype=dtype)
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return _from_folder(folder, steps=1, guidance=1.0, device=device, dtype=dtype)
    if len(folder.parts) == 2 and name_or_folder[0] not in "./~":
        return _load_hub(name_or_folder, steps=1, guidance=1.0, device=device, dtype=dtype)
    if len(folder.parts) > 1:
        raise BadConfig(f"there is no generator folder {name_or_folder}")
    return GENERATORS.find(name_or_folder).build(device=device, dtype=dtype)


def _load_pocket(
    name: str,
    *,
    steps: int,
    guidance: float,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> "NoiseGenerator":
    from plaudit.pocket.folders import pocket_folder

    return _from_folder(pocket_folder(name), steps=steps, guidance=guidance, device=device, dtype=dtype)


def _from_folder(
    folder: Path, *, steps: int, guidance: float, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "NoiseGenerator":
    """The generator of a folder, by the family that its pipeline belongs to."""
    from plaudit.generators.parts import pipeline_of

    pipeline = pipeline_of(folder)
    if pipeline not in FAMILIES:
        raise BadConfig(f"{folder} is a {pipeline}; the families that can be loaded are {', '.join(FAMILIES)}")
    module, family = FAMILIES[pipeline].split(":")
    kind = getattr(import_module(module), family)
    made: NoiseGenerator = kind.from_pretrained(folder, device=device, dtype=dtype, steps=steps, guidance=guidance)
    return made


def _load_hub(
    hub_id: str,
    *,
    steps: int,
    guidance: float,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    files: Sequence[str] = _HUB_FILES,
) -> "NoiseGenerator":
    folder = hub_folder(hub_id, files)
    generator: Any = _from_folder(folder, steps=steps, guidance=guidance, device=device, dtype=dtype)
    # Real sizes need it: at 512 pixels the decoder's activations are several gigabytes per image.
    generator.use_checkpointing()
    return cast("NoiseGenerator", generator)


def _load_lcm_lora(
    hub_id: str,
    *,
    base: str,
    steps: int,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> "NoiseGenerator":
    """A LoRA's repository on the hub, merged into the Stable Diffusion that it is made for."""
    from plaudit.generators.lcm import LatentConsistency

    name = "pytorch_lora_weights.safetensors"
    lora = hub_folder(hub_id, [name]) / name
    generator = LatentConsistency.from_lora(hub_folder(base), lora, device=device, dtype=dtype, steps=steps)
    generator.use_checkpointing()
    return generator


def hub_folder(hub_id: str, files: Sequence[str] = _HUB_FILES, *, revision: str | None = None) -> Path:
    """The folder of a hub repository's files: the local cache's, else downloaded into it.

    `files` are names or patterns; `revision` a commit, the newest unless given. Raises BadConfig with the command
    that fetches them where neither is possible.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": list(files), "revision": revision}
    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True, **wanted))
        # The cache also answers with a folder that holds other files of the repository.
        if all((folder / name).is_file() for name in files if "*" not in name):
            return folder
    except HFValidationError as error:
        raise BadConfig(f"{hub_id!r} is neither a folder nor a hub id") from error
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(hub_id, **wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        patterns = " ".join(f"'{pattern}'" for pattern in files) + (f" --revision {revision}" if revision else "")
        raise BadConfig(
            f"{hub_id} is not in this machine's cache and cannot be downloaded from here. On a machine with "
            f"network: hf download {hub_id} --include {patterns}"
        ) from error
