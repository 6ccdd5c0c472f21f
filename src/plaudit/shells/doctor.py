"""`plaudit doctor`: what this machine has, what works on it, and what to do about the rest."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import Command

GOOD, NOTE, BAD = "good", "note", "bad"


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """All that `plaudit doctor` takes."""

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
    """Look at everything; 1 if the main job cannot run here."""
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
    purpose="Look at packages, devices, embedded models, cache and disk; say what works and what to do.",
    examples="""
plaudit doctor
plaudit doctor --json
""",
    options=DoctorOptions,
    run=run,
)
