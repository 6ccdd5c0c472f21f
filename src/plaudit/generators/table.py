"""The table of generators. To add one, add a row; nothing is imported until a row is built."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from plaudit.core.errors import BadConfig
from plaudit.core.hub import HubFiles, hub_folder
from plaudit.core.registry import Entry, Registry
from plaudit.generators.published import PUBLISHED
from plaudit.generators.published_tokens import TOKEN_MODELS

if TYPE_CHECKING:
    import torch

    from plaudit.generators.generator import NoiseGenerator
    from plaudit.generators.token_policy import TokenPolicy

_POCKET = "plaudit.generators.table:_load_pocket"

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
            name="pocket-lcm",
            target=_POCKET,
            arguments={"name": "pocket-lcm", "steps": 4, "guidance": 4.0},
            summary="the pocket world's latent consistency model, good in 1 to 8 steps, distilled from pocket-base",
            facts={"image_size": 64, "steps": 4, "guidance": 4.0, "plays": "LCM-Dreamshaper"},
        ),
        Entry(
            name="pocket-pixart",
            target=_POCKET,
            arguments={"name": "pocket-pixart", "steps": 1, "guidance": 1.0},
            summary="the pocket world's one-step transformer with a T5 text encoder, distilled from pocket-base",
            facts={"image_size": 64, "steps": 1, "guidance": 1.0, "plays": "PixArt-alpha-DMD"},
        ),
        *PUBLISHED,
        *TOKEN_MODELS,
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


TOKEN_FAMILIES = {
    "llamagen": "plaudit.generators.llamagen_files:load_llamagen",
    "vqgan": "plaudit.generators.vqgan:load_vqgan",
}
"""by the format that a folder's config.json names: who loads it, as `load(folder, *, device, dtype)`"""


def load_generator(
    name_or_folder: str,
    *,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    steps: int | None = None,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
) -> "NoiseGenerator":
    """The generator of a row's name or hub id, of a published pipeline's folder (unguided), or of a training's folder.

    A training's folder is the model that it began with, in the training's steps, with what it learned. `lora`: such a
    folder, or a LoRA's folder or file (safetensors), added to the weights `lora_scale` times. In `steps` steps; left
    out, in the training's, the row's, or one for a folder. Float32 on the CPU unless told otherwise. Raises
    UnknownName with the nearest name, or BadConfig.
    """
    from plaudit.generators.tuned import choose, lay_over

    chosen = choose(name_or_folder, lora=lora, scale=lora_scale, steps=steps)
    generator = _load(chosen.model, steps=chosen.steps, device=device, dtype=dtype)
    for patch in chosen.patches:
        lay_over(generator, patch)
    if chosen.patches and (last := chosen.patches[-1]).shift is not None:
        from plaudit.generators.few_steps import FewSteps

        return FewSteps(generator, steps=chosen.steps or 1, shift=last.shift, start=last.start)
    return generator


def _load(
    name_or_folder: str, *, steps: int | None, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "NoiseGenerator":
    """`load_generator`'s, with nothing laid over it."""
    if (entry := GENERATORS.row_of(name_or_folder)) is not None:
        check_draws_from_noise(entry)
        chosen = {} if steps is None else {"steps": steps}
        made: NoiseGenerator = entry.build(device=device, dtype=dtype, **chosen)
        return made
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return _from_folder(folder, steps=steps or 1, guidance=1.0, device=device, dtype=dtype)
    if len(folder.parts) == 2 and name_or_folder[0] not in "./~":
        place = hub_folder(HubFiles(hub_id=name_or_folder))
        return load_published(place, steps=steps or 1, guidance=1.0, device=device, dtype=dtype)
    if len(folder.parts) > 1:
        raise BadConfig(f"there is no generator folder {name_or_folder}")
    return GENERATORS.find(name_or_folder).build(device=device, dtype=dtype)


def load_token_policy(
    name_or_folder: str, *, device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "TokenPolicy":
    """The model that draws token by token, of a row's name, or of a folder that a training left.

    Float32 on the CPU unless told otherwise. Raises UnknownName with the nearest name, or BadConfig.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        from plaudit.generators.token_files import format_of

        if (kind := format_of(folder)) not in TOKEN_FAMILIES:
            raise BadConfig(
                f"{folder} holds no model that draws token by token: those have a config.json whose format is "
                f"{' or '.join(TOKEN_FAMILIES)}"
            )
        module, loader = TOKEN_FAMILIES[kind].split(":")
        return cast("TokenPolicy", getattr(import_module(module), loader)(folder, device=device, dtype=dtype))
    entry = GENERATORS.row_of(name_or_folder) or GENERATORS.find(name_or_folder)
    if entry.facts.get("kind") != "tokens":
        known = ", ".join(row.name for row in GENERATORS if row.facts.get("kind") == "tokens")
        raise BadConfig(f"{entry.name!r} draws from noise, not token by token as {known} do")
    return cast("TokenPolicy", entry.build(device=device, dtype=dtype))


def check_draws_from_noise(entry: Entry) -> None:
    """Raises BadConfig for the row of a model that draws token by token."""
    if entry.facts.get("kind") == "tokens":
        raise BadConfig(
            f"{entry.name!r} draws a picture token by token and not from noise, so what is done to noise, or in "
            "sampling steps, cannot be done with it; choose another model"
        )


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


def load_published(
    folder: Path,
    *,
    steps: int,
    guidance: float,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> "NoiseGenerator":
    """A row's generator, of a published pipeline's folder. Raises BadConfig if it is of no family here."""
    generator: Any = _from_folder(folder, steps=steps, guidance=guidance, device=device, dtype=dtype)
    # Real sizes need it: at 512 pixels the decoder's activations are several gigabytes per image.
    generator.use_checkpointing()
    return cast("NoiseGenerator", generator)


def load_lcm_lora(
    folder: Path,
    *,
    lora: Path,
    steps: int,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
) -> "NoiseGenerator":
    """A row's generator: a LoRA's file, merged into the Stable Diffusion that it is made for."""
    from plaudit.generators.lcm import LatentConsistency

    generator = LatentConsistency.from_lora(folder, lora, device=device, dtype=dtype, steps=steps)
    generator.use_checkpointing()
    return generator
