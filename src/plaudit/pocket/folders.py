"""Where the pocket models lie: each a complete folder in its published layout.

Parts that two models share (pocket-turbo has pocket-base's autoencoder, text encoder and tokenizer) are stored once
in the package; a folder that borrows parts is put together from links in the user's cache at first use, and so is one
whose weights are packed, with plain files in their place.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from plaudit.core.errors import BadConfig
from plaudit.pocket.packed import PACKED, PLAIN, unpack

WEIGHTS = Path(__file__).parent / "weights"

POCKET_MODELS = (
    "pocket-base", "pocket-turbo", "pocket-lcm", "pocket-pixart", "pocket-clip", "pocket-hps", "pocket-pickscore",
    "pocket-imagereward", "pocket-vqa", "pocket-llamagen", "pocket-llamagen-t2i", "pocket-janus",
)  # fmt: skip

BORROWED = {
    "pocket-turbo": ("pocket-base", ("vae", "text_encoder", "tokenizer")),
    "pocket-lcm": ("pocket-base", ("vae", "text_encoder", "tokenizer")),
    "pocket-pixart": ("pocket-base", ("vae",)),
    "pocket-llamagen-t2i": ("pocket-llamagen", ("tokenizer.safetensors",)),
}
"""model: whose parts it shares, and which"""


def pocket_folder(name: str, *, root: Path | None = None) -> Path:
    """The folder of a pocket model, in the package or under `root`.

    Raises BadConfig if the model is not built into this installation.
    """
    root = root or WEIGHTS
    own = root / name
    if name not in POCKET_MODELS or not own.is_dir():
        raise BadConfig(f"{name!r} is not in this installation; build it with: plaudit pocket build {name}")
    if name not in BORROWED and next(own.rglob(f"*{PACKED}"), None) is None:
        return own
    lender, parts = BORROWED.get(name, ("", ()))
    sources = {child.name: child for child in own.iterdir()}
    sources |= {place.name: place for place in (_as_stored(root / lender / part) for part in parts)}
    missing = [place for place in sources.values() if not place.exists()]
    if missing:
        raise BadConfig(f"{name} shares {lender}'s {missing[0].name}, which is not in {root}: build {lender} there too")
    return _assembled(name, sources)


def _as_stored(part: Path) -> Path:
    """A model's part, packed if that is how it is kept."""
    packed = part.with_name(part.name.removesuffix(PLAIN) + PACKED)
    return packed if packed.exists() else part


def files_of(name: str) -> list[Path]:
    """Every file of the model, in a fixed order: what its hash is made of."""
    return sorted(path for path in pocket_folder(name).rglob("*") if path.is_file())


def _assembled(name: str, sources: dict[str, Path]) -> Path:
    """A folder in the cache with links to the sources; made anew when any of them changes."""
    files = [p for s in sources.values() for p in ([s] if s.is_file() else sorted(s.rglob("*"))) if p.is_file()]
    stamp = "|".join(f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files)
    folder = _cache() / f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent))
    for child, source in sources.items():
        _link(source, part / child)
    try:
        part.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(part)
    return folder


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
        for child in source.iterdir():
            _link(child, target / child.name)
        return
    if source.name.endswith(PACKED):
        unpack(source, target.with_name(source.name.removesuffix(PACKED) + PLAIN))
        return
    try:
        target.symlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def user_cache() -> Path:
    """Where what can be made again is kept for this user: PLAUDIT_CACHE, else plaudit below XDG_CACHE_HOME."""
    root = os.environ.get("PLAUDIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "plaudit"
    return Path(root)


def _cache() -> Path:
    return user_cache() / "pocket"
