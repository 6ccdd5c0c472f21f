"""Where a picture comes from: written into its PNG, and read back to draw it again.

Two text chunks: "parameters", a line for people and for the many viewers that show it, and "plaudit", a JSON
object with all that repeating the picture takes.
"""

import importlib.metadata
import io
import json
import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit import __version__
from plaudit.core.checksums import sha256_of
from plaudit.core.errors import BadConfig
from plaudit.core.hub import MODEL_FILES, PIPELINE_FILES, WEIGHTS, HubFiles, cached_folder, commit_of
from plaudit.core.picture_files import open_picture
from plaudit.core.registry import Registry
from plaudit.rewards.specs import is_code
from plaudit.runs.files import finite

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.generators.tuned import Chosen, Patch

FORMAT = 1
"""of the JSON object; a change that an older reader would misread raises it"""

_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy", "pillow", "safetensors", "cma")


def png_bytes(image: "Tensor", provenance: Mapping[str, Any] | None = None) -> bytes:
    """The picture, (3, H, W) in [0, 1] or uint8, as a PNG of its own size."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    pixels = image if not image.is_floating_point() else (image.float().clamp(0, 1) * 255).round().byte()
    text = PngInfo()
    if provenance is not None:
        text.add_itxt("parameters", one_line(provenance))
        text.add_itxt("plaudit", json.dumps(finite(dict(provenance)), ensure_ascii=False))
    buffer = io.BytesIO()
    array = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    Image.fromarray(array, "RGB").save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What Plaudit wrote into the picture, None if it did not draw it. Raises BadConfig if it is none."""
    with open_picture(path) as picture:
        text = getattr(picture, "text", {}).get("plaudit")
    if text is None:
        return None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadConfig(f"{str(path)!r} carries a damaged description of how it was made") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadConfig(
            f"{str(path)!r} was described by another version of plaudit, in a format this one does not know"
        )
    return content


def one_line(provenance: Mapping[str, Any]) -> str:
    """The prompt, then the settings, in the form that image viewers for generated pictures show."""
    settings = provenance["settings"]
    shown = {
        "Steps": settings.get("steps"),
        "Seed": settings.get("seed"),
        "Model": settings.get("model"),
        "LoRA": settings.get("lora"),
        "Method": settings.get("method"),
        "Rewards": " ".join(settings.get("reward", ())),
        "Image": f"{provenance['prompt_index']}/{provenance['image_index']}",
        "Version": f"plaudit {provenance['plaudit']}",
        # In quotes, as such lines hold whatever has commas or colons.
        "Plan": json.dumps(plan, ensure_ascii=False) if (plan := provenance.get("plan")) is not None else None,
    }
    return f"{provenance['prompt']}\n" + ", ".join(f"{k}: {v}" for k, v in shown.items() if v not in (None, ""))


def check_known(table: Registry, name: str) -> None:
    """Raises UnknownName, with the nearest match, for a name of no row that cannot be a path or hub id."""
    if "/" not in name and not Path(name).is_dir() and not is_code(name):
        table.find(name)


def source_of(table: Registry, name: str) -> dict[str, Any]:
    """Which model or reward a name stands for: commit, licence and the sha256 of each file of weights.

    Ask after loading: only then does the cache know the commit of what has no pinned one. A recipe's further
    repositories are under "with". A user's own reward is the file of its code. Where environment variables say what a
    row is (never keys), their values are under "environment".
    """
    if is_code(name):
        return _of_code(name)
    entry = table.row_of(name)
    if entry is None:
        folder = Path(name)
        if (folder / "run.json").is_file():
            from plaudit.generators.tuned import choose

            if (chosen := choose(name)).patches:
                return source_of_model(table, chosen)
        if folder.is_dir() or "/" not in name:
            weights = checksums(folder) if folder.is_dir() else {}
            return {"name": name, "hub_id": None, "revision": None, "licence": None, "weights": weights}
        patterns = MODEL_FILES if table.kind == "reward" else PIPELINE_FILES
        return {"name": name, "licence": None, **_of_hub(HubFiles(hub_id=name, patterns=patterns))}
    source: dict[str, Any] = {
        "name": entry.name,
        "hub_id": entry.hub_id,
        "revision": entry.revision,
        "licence": entry.licence,
    }
    if named := str(entry.facts.get("environment", "")).split():
        source["environment"] = {variable: os.environ.get(variable) for variable in named}
    if entry.hub_id is None:
        return {**source, "weights": checksums(_embedded(entry.arguments))}
    found = [_of_hub(files) for files in entry.needs]
    own: dict[str, Any] = next((it for it in found if it["hub_id"] == entry.hub_id), {"weights": {}})
    others = [it for it in found if it is not own]
    return {**source, **own, **({"with": others} if others else {})}


def source_of_model(table: Registry, chosen: "Chosen") -> dict[str, Any]:
    """`source_of` a model; what is laid over it, and in which order, is under "patches"."""
    source = source_of(table, chosen.model)
    if not chosen.patches:
        return source
    return {**source, "patches": [_of_patch(patch) for patch in chosen.patches]}


def _of_patch(patch: "Patch") -> dict[str, Any]:
    if patch.weights.is_dir():
        weights = {f"{patch.weights.name}/{name}": digest for name, digest in checksums(patch.weights).items()}
    else:
        weights = {patch.weights.name: _sha256(patch.weights)}
    return {"path": str(patch.place), "scale": patch.scale, "weights": weights}


def check_patches(made: Mapping[str, Any]) -> None:
    """Raises BadConfig if what was laid over a picture's model is not what lies there now."""
    flag = "--lora" if made["settings"].get("lora") else "--model"
    for patch in made.get("sources", {}).get("model", {}).get("patches", ()):
        place = Path(patch["path"]).expanduser()
        for name, digest in patch["weights"].items():
            file = place / name if place.is_dir() else place
            if not file.is_file():
                raise BadConfig(f"{str(place)!r} no longer holds {name}; say where that is with {flag}")
            if _sha256(file) != digest:
                raise BadConfig(
                    f"{str(place)!r} has changed since the picture was drawn with it; say {flag} {place} to draw with "
                    "what is there now"
                )


def _of_code(name: str) -> dict[str, Any]:
    from plaudit.rewards.own import file_of

    file = file_of(name)
    code = {file.name: _sha256(file)} if file is not None else {}
    return {"name": name, "hub_id": None, "revision": None, "licence": None, "weights": code}


def _of_hub(files: HubFiles) -> dict[str, Any]:
    """Where files of the hub come from; no sha256 where the cache does not hold them."""
    folder = cached_folder(files)
    if folder is None:
        return {"hub_id": files.hub_id, "revision": files.revision, "weights": {}}
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name.endswith(WEIGHTS))
    weights = {name: _sha256(folder / name) for name in names if files.match(name)}
    return {"hub_id": files.hub_id, "revision": commit_of(folder) or files.revision, "weights": weights}


@cache
def checksums(folder: Path | None) -> dict[str, str]:
    """sha256 of each safetensors file below a folder, by its path there."""
    if folder is None:
        return {}
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder)): _sha256(file) for file in files}


def versions() -> dict[str, str]:
    """What ran: Plaudit, Python, and the packages whose versions can move a number."""
    found = {"plaudit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """What it ran on."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 2**30, 1),
        "gpus": gpus,
    }


def _embedded(arguments: Mapping[str, Any]) -> Path | None:
    """The folder of a pocket model, which its table row names."""
    from plaudit.pocket.folders import pocket_folder

    for value in arguments.values():
        if isinstance(value, str) and value.startswith("pocket-"):
            return pocket_folder(value)
    return None


def _sha256(path: Path) -> str:
    """Of the file's content; the hub's cache names large files by it, which saves reading gigabytes."""
    stored = path.resolve()
    if stored.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", stored.name):
        return stored.name
    return sha256_of(path)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
