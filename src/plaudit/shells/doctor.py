"""`plaudit doctor`: what this machine has, what works on it, and what to do about the rest."""

import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.shells.flags import Command, WrongUsage

GOOD, NOTE, BAD = "good", "note", "bad"


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """All that `plaudit doctor` takes."""

    plan: str | None = field(default=None, metadata={"placeholder": "MODEL"})
    """instead of looking around: what this model of the table, or folder, will need of a GPU's memory, counted from
    its configs; takes about a minute and no weights"""
    memory: float | None = field(default=None, metadata={"placeholder": "GB"})
    """with --plan: of a GPU with so many gigabytes; left out: 8, 16, 24, 48 and 80"""
    reward: tuple[str, ...] = ()
    """with --plan: rewards that judge the pictures, of the table (plaudit list rewards); left out: none"""
    batch_size: int = 1
    """with --plan: images at once"""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """with --plan: the networks' precision"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    state: str
    """good, note (works, could be better) or bad (something does not work)"""
    says: str


def run(options: DoctorOptions) -> int:
    """Look at everything, or plan a model; 1 if the main job cannot run here, or no card holds the model."""
    if options.plan is not None:
        return _plan(options, options.plan)
    if (options.memory, options.reward, options.batch_size) != (None, (), 1):
        raise WrongUsage("--memory, --reward and --batch-size say more about a plan; name its model: --plan MODEL")
    found = [finding for look in LOOKS for finding in look()]
    works = all(finding.state != BAD for finding in found)
    if options.json:
        print(json.dumps({"works": works, "findings": [asdict(f) for f in found]}, ensure_ascii=False))
        return 0 if works else 1
    signs = {GOOD: "ok  ", NOTE: "note", BAD: "BAD "}
    for finding in found:
        print(f"{signs[finding.state]}  {finding.what:<20}{finding.says}")
    print("\neverything that `plaudit generate` needs works" if works else "\nsee the lines marked BAD")
    return 0 if works else 1


def _plan(options: DoctorOptions, model: str) -> int:
    if options.memory is not None and not 0 < options.memory < math.inf:
        raise BadConfig(f"--memory is a GPU's memory in gigabytes, more than 0, got {options.memory:g}")
    from plaudit.generators.memory_plan import plan_memory
    from plaudit.generators.memory_settings import PRESETS
    from plaudit.shells.planning import as_json, as_text

    plan = plan_memory(
        model,
        rewards=options.reward,
        batch_size=options.batch_size,
        dtype=options.dtype,
        gigabytes=tuple(PRESETS) if options.memory is None else (options.memory,),
    )
    print(as_json(plan) if options.json else as_text(plan))
    return 0 if any(card.settings is not None for card in plan.cards) else 1


def packages() -> Iterator[Finding]:
    """Whether each required package is there, and in a version that this release was made for."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("plaudit") or []
    except importlib.metadata.PackageNotFoundError:
        says = "runs from its sources and is not installed, so what it needs is not looked up; pip install -e ."
        yield Finding(what="plaudit", state=NOTE, says=says)
        return
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None:
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(what=requirement.name, state=BAD, says="missing; pip install plaudit again")
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        says = version if fits else f"{version}, but plaudit was made for {requirement.specifier}"
        yield Finding(what=requirement.name, state=GOOD if fits else NOTE, says=says)


def torchvision() -> Iterator[Finding]:
    """Plaudit does without torchvision, but one that does not fit torch breaks diffusers and transformers."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        says = f"does not fit this torch and breaks model libraries ({reason}); pip uninstall torchvision"
        yield Finding(what="torchvision", state=BAD, says=says)
        return
    yield Finding(what="torchvision", state=GOOD, says=importlib.metadata.version("torchvision"))


def devices() -> Iterator[Finding]:
    """What it would run on."""
    import torch

    from plaudit.core.devices import best_device, has_fast_bfloat16

    device = best_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    yield Finding(what="device", state=GOOD, says=f"{device.type}, {name}")
    words = "fast here" if has_fast_bfloat16(device) else "slow here; float32 is used"
    yield Finding(what="bfloat16", state=GOOD, says=words)


def models() -> Iterator[Finding]:
    """Which tables' rows could be loaded without a network."""
    from plaudit.pocket.folders import POCKET_MODELS, pocket_folder

    for name in POCKET_MODELS:
        try:
            folder = pocket_folder(name)
        except (PlauditError, OSError) as error:
            yield Finding(what=name, state=BAD, says=str(error))
            continue
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 2**20
        yield Finding(what=name, state=GOOD, says=f"{size:.1f} MB")
    from plaudit.core.hub import cached_folder
    from plaudit.generators.table import GENERATORS
    from plaudit.rewards.table import REWARDS

    rows = [row for table in (GENERATORS, REWARDS) for row in table if row.needs]
    here = [row.name for row in rows if all(cached_folder(files) for files in row.needs)]
    says = f"{len(here)} of {len(rows)} here" + (f": {', '.join(here)}" if here else "") + "; plaudit fetch NAME"
    yield Finding(what="published models", state=GOOD, says=says)


def room() -> Iterator[Finding]:
    """Whether there is a place to write to, with space, and where the hub's cache lies."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 2**30
    writable = os.access(here, os.W_OK)
    says = f"{here}, {free:.1f} GB free" if writable else f"{here} is not yours to write; use --out"
    state = GOOD if writable and free > 1 else NOTE
    yield Finding(what="working folder", state=state, says=says)
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = sorted(path.name[8:].replace("--", "/") for path in Path(HF_HUB_CACHE).glob("models--*"))
    says = f"{HF_HUB_CACHE}: {', '.join(cached) or 'no models yet'}"
    yield Finding(what="hub cache", state=GOOD, says=says)


LOOKS = (packages, torchvision, devices, models, room)

COMMAND = Command(
    name="doctor",
    purpose=(
        "Look at packages, devices, embedded models, cache and disk; say what works and what to do.\n"
        "Or plan a model's memory before its weights are loaded."
    ),
    examples="""
plaudit doctor
plaudit doctor --json
plaudit doctor --plan sdxl-turbo                        weights, activations, and what fits which GPU
plaudit doctor --plan flux-schnell --memory 24 --batch-size 4 --reward hpsv2.1 imagereward-v1
""",
    options=DoctorOptions,
    run=run,
)
