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
    from plaudit.generators.plan_policy import PlanPolicy
    from plaudit.generators.token_policy import TokenPolicy
    from plaudit.generators.tuned import Chosen

_POCKET = "plaudit.generators.table:_load_pocket"
_POCKET_TOKENS = "plaudit.generators.table:_load_pocket_tokens"

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
        Entry(
            name="pocket-llamagen",
            target=_POCKET_TOKENS,
            arguments={"name": "pocket-llamagen"},
            summary="the pocket world's autoregressive model of classes, a shape in a colour each, token by token",
            facts={"kind": "tokens", "image_size": 64, "tokens": 64, "guidance": 2.0, "plays": "LlamaGen"},
        ),
        Entry(
            name="pocket-llamagen-t2i",
            target=_POCKET_TOKENS,
            arguments={"name": "pocket-llamagen-t2i"},
            summary="the pocket world's autoregressive model of prompts, with a T5 text encoder, token by token",
            facts={"kind": "tokens", "image_size": 64, "tokens": 64, "guidance": 2.0, "plays": "LlamaGen"},
        ),
        Entry(
            name="pocket-janus",
            target=_POCKET_TOKENS,
            arguments={"name": "pocket-janus"},
            summary="the pocket world's unified model: answers about pictures, plans in words, draws token by token",
            facts={
                "kind": "tokens",
                "image_size": 64,
                "tokens": 64,
                "guidance": 2.0,
                "plan": True,
                "plays": "Janus-Pro",
            },
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
    "janus": "plaudit.generators.janus_files:load_janus",
}
"""by the format, or model type, that a folder's config.json names: who loads it, as `load(folder, *, device, dtype)`"""
PLANNING_FAMILIES = ("janus",)
"""of those, whose models write plans, or may learn it"""


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
    out, in the training's, the row's, or one for a folder. A model that draws token by token comes as a TokenGenerator,
    sampled as its training or its row says, or plainly. Float32 on the CPU unless told otherwise. Raises UnknownName
    with the nearest name, or BadConfig.
    """
    from plaudit.generators.tuned import choose, lay_over, sampling_of

    chosen = choose(name_or_folder, lora=lora, scale=lora_scale, steps=steps)
    if sampling_of(chosen) is not None:
        if steps is not None:
            raise BadConfig(
                f"{chosen.model!r} draws a picture token by token and takes no sampling steps; leave them out"
            )
        policy = _load_tokens(chosen.model, device=device, dtype=dtype)
        generator: NoiseGenerator = _of_tokens(policy, chosen)
    else:
        generator = _load(chosen.model, steps=chosen.steps, device=device, dtype=dtype)
    for patch in chosen.patches:
        lay_over(generator, patch)
    if chosen.patches and (last := chosen.patches[-1]).shift is not None:
        from plaudit.generators.few_steps import FewSteps

        return FewSteps(generator, steps=chosen.steps or 1, shift=last.shift, start=last.start)
    return generator


def _of_tokens(policy: "TokenPolicy | PlanPolicy", chosen: "Chosen") -> "NoiseGenerator":
    """The policy as a generator, sampled as what is laid over it, or its row, says."""
    from plaudit.generators.plan_generator import PlanGenerator
    from plaudit.generators.plan_policy import PlanPolicy
    from plaudit.generators.token_generator import TokenGenerator
    from plaudit.generators.tuned import plan_sampling_of, sampling_of

    if isinstance(policy, PlanPolicy):
        return PlanGenerator(policy, plan_sampling_of(chosen))
    return TokenGenerator(policy, sampling_of(chosen))


def _load(
    name_or_folder: str, *, steps: int | None, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "NoiseGenerator":
    """`load_generator`'s, of a model that draws from noise, with nothing laid over it."""
    if (entry := GENERATORS.row_of(name_or_folder)) is not None:
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
    """The model that draws token by token, of a row's name, its own folder, or a training's with what it learned.

    One that may write plans draws without them here; `load_plan_policy` gives the model that writes. Float32 on the CPU
    unless told otherwise. Raises UnknownName with the nearest name, or BadConfig.
    """
    from plaudit.generators.plan_generator import PlanGenerator
    from plaudit.generators.token_generator import TokenGenerator
    from plaudit.generators.tuned import choose

    model = choose(name_or_folder).model
    if not draws_tokens(model):
        folder = Path(model).expanduser()
        if folder.is_dir():
            _refuse_original(folder)
            raise BadConfig(
                f"{folder} holds no model that draws token by token: those have a config.json whose format is "
                f"{' or '.join(TOKEN_FAMILIES)}"
            )
        known = ", ".join(row.name for row in GENERATORS if row.facts.get("kind") == "tokens")
        entry = GENERATORS.row_of(model) or GENERATORS.find(model)
        raise BadConfig(f"{entry.name!r} draws from noise, not token by token as {known} do")
    generator = load_generator(name_or_folder, device=device, dtype=dtype)
    if isinstance(generator, PlanGenerator):
        return generator.policy.direct
    assert isinstance(generator, TokenGenerator)
    return generator.policy


def load_plan_policy(
    name_or_folder: str, *, device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "PlanPolicy":
    """The model that writes plans and draws them, of a row's name, its own folder, or a training's.

    Float32 on the CPU unless told otherwise. Raises UnknownName with the nearest name, or BadConfig.
    """
    from plaudit.generators.plan_generator import PlanGenerator
    from plaudit.generators.tuned import choose

    if draws_tokens(choose(name_or_folder).model):
        generator = load_generator(name_or_folder, device=device, dtype=dtype)
        if isinstance(generator, PlanGenerator):
            return generator.policy
    elif GENERATORS.row_of(name_or_folder) is None and not Path(name_or_folder).expanduser().is_dir():
        GENERATORS.find(name_or_folder)
    _refuse_original(Path(name_or_folder).expanduser())
    known = ", ".join(row.name for row in GENERATORS if "plan" in row.facts)
    raise BadConfig(f"{name_or_folder!r} writes no plans; models that do, or may learn it, are {known}")


def draws_tokens(name_or_folder: str) -> bool:
    """Whether a row's name, or a folder other than a training's, is of a model that draws token by token."""
    if (entry := GENERATORS.row_of(name_or_folder)) is not None:
        return entry.facts.get("kind") == "tokens"
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        return False
    from plaudit.generators.token_files import format_of

    return format_of(folder) in TOKEN_FAMILIES


def may_plan(name_or_folder: str) -> bool:
    """Whether a row's name, or a folder other than a training's, is of a model that writes plans, or may learn it."""
    if (entry := GENERATORS.row_of(name_or_folder)) is not None:
        return "plan" in entry.facts
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        return False
    from plaudit.generators.token_files import format_of

    return format_of(folder) in PLANNING_FAMILIES


def _load_tokens(
    name_or_folder: str, *, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "TokenPolicy | PlanPolicy":
    """A model that draws token by token, with nothing laid over it."""
    if (entry := GENERATORS.row_of(name_or_folder)) is not None:
        return cast("TokenPolicy | PlanPolicy", entry.build(device=device, dtype=dtype))
    return _tokens_in(Path(name_or_folder).expanduser(), device=device, dtype=dtype)


def _tokens_in(
    folder: Path, *, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "TokenPolicy | PlanPolicy":
    """The model of a folder, by the format that its config.json names. Raises BadConfig for one of none."""
    from plaudit.generators.token_files import format_of

    if (said := format_of(folder)) not in TOKEN_FAMILIES:
        raise BadConfig(f"{folder} holds no model that draws token by token: its format is {said!r}")
    module, loader = TOKEN_FAMILIES[str(said)].split(":")
    return cast("TokenPolicy | PlanPolicy", getattr(import_module(module), loader)(folder, device=device, dtype=dtype))


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


def _load_pocket_tokens(
    name: str, *, device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "TokenPolicy | PlanPolicy":
    from plaudit.pocket.folders import pocket_folder

    return _tokens_in(pocket_folder(name), device=device, dtype=dtype)


def _from_folder(
    folder: Path, *, steps: int, guidance: float, device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "NoiseGenerator":
    """The generator of a folder, by the family that its pipeline belongs to."""
    from plaudit.generators.parts import pipeline_of

    _refuse_original(folder)
    pipeline = pipeline_of(folder)
    if pipeline not in FAMILIES:
        raise BadConfig(f"{folder} is a {pipeline}; the families that can be loaded are {', '.join(FAMILIES)}")
    module, family = FAMILIES[pipeline].split(":")
    kind = getattr(import_module(module), family)
    made: NoiseGenerator = kind.from_pretrained(folder, device=device, dtype=dtype, steps=steps, guidance=guidance)
    return made


def _refuse_original(folder: Path) -> None:
    from plaudit.generators.janus_files import refuse_original

    refuse_original(folder)


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
