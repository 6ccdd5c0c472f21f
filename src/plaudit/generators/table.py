"""The table of generators. To add one, add a row; nothing is imported until a row is built."""

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
    ],
)

FAMILIES = {
    "StableDiffusionPipeline": "plaudit.generators.stable_diffusion:StableDiffusion",
}
"""by a pipeline folder's class: who loads it; each has `from_pretrained(folder, *, device, dtype, steps, guidance)`"""

# What a generator's folder needs; hub repositories hold much more.
_HUB_FILES = ["model_index.json", "*/*.json", "*/*.txt", "*/*.fp16.safetensors"]


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
) -> "NoiseGenerator":
    folder = hub_folder(hub_id)
    generator: Any = _from_folder(folder, steps=steps, guidance=guidance, device=device, dtype=dtype)
    # Real sizes need it: at 512 pixels the decoder's activations are several gigabytes per image.
    generator.use_checkpointing()
    return cast("NoiseGenerator", generator)


def hub_folder(hub_id: str) -> Path:
    """The folder of a hub model: the local cache's, else downloaded into it.

    Raises BadConfig with the command that fetches it where neither is possible.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True, allow_patterns=_HUB_FILES))
    except HFValidationError as error:
        raise BadConfig(f"{hub_id!r} is neither a folder nor a hub id") from error
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        patterns = " ".join(f"'{pattern}'" for pattern in _HUB_FILES)
        raise BadConfig(
            f"{hub_id} is not in this machine's cache and cannot be downloaded from here. On a machine with "
            f"network: hf download {hub_id} --include {patterns}"
        ) from error
