"""Files of the Hugging Face hub: which a row needs, where this machine's cache has them, how they get there.

A row names its files once. Loading and `plaudit fetch` read the same names, so what is fetched is what is loaded.
Cache, address, offline mode and credentials are the hub client's own: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
HF_HUB_OFFLINE, HF_TOKEN.
"""

import errno
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig, PlauditError

PIPELINE_FILES = ("model_index.json", "*/*.json", "*/*.txt", "*/*.fp16.safetensors")
"""what a pipeline's folder needs, in half precision; hub repositories hold much more"""
MODEL_FILES = ("config.json", "*.json", "*.txt", "model*.safetensors")
"""what a single model's folder needs, with its tokenizer"""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
"""how names of files with weights end; of pickles, whoever loads one checks it first"""

PATIENCE = 10.0
"""seconds that the hub has for its first answer"""

_COMMIT = re.compile(r"[0-9a-f]{40}")


class OutOfReach(BadConfig):
    """A file of the hub that is neither in this machine's cache nor to be had from here."""


class NoWeights(BadConfig):
    """A repository of the hub without weights among the files that were asked for."""


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Some files of one hub repository."""

    hub_id: str
    """as in "stabilityai/sd-turbo" """
    patterns: tuple[str, ...] = PIPELINE_FILES
    """names, or patterns in which * is any text, slashes too"""
    revision: str | None = None
    """a commit; None is the newest when they are downloaded, which the cache remembers"""

    def match(self, name: str) -> bool:
        """Whether the file of that name, seen from the repository, is one of them."""
        return any(fnmatch(name, pattern) for pattern in self.patterns)

    def within(self, folder: Path) -> Path:
        """What whoever asked for them opens: the file, if they are a single one, else the folder."""
        only = self.patterns[0]
        return folder / only if len(self.patterns) == 1 and "*" not in only else folder


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a repository."""

    name: str
    """as seen from the repository"""
    size: int
    """bytes"""
    here: bool
    """whether the cache has it"""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a download would bring."""

    revision: str | None
    """the commit"""
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes, of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes that the cache lacks."""
        return sum(file.size for file in self.files if not file.here)


def files_in(arguments: Any) -> tuple[HubFiles, ...]:
    """All that a row's arguments name of the hub, in their order, those inside mappings too."""
    if isinstance(arguments, HubFiles):
        return (arguments,)
    if isinstance(arguments, Mapping):
        return tuple(files for value in arguments.values() for files in files_in(value))
    return ()


def located(arguments: Any, *, asked_as: str) -> Any:
    """The arguments with paths for what they name of the hub; what the cache lacks is downloaded.

    `asked_as` is the name that a user knows them by. Raises as `hub_folder`.
    """
    if isinstance(arguments, HubFiles):
        return arguments.within(hub_folder(arguments, asked_as=asked_as))
    if isinstance(arguments, Mapping):
        return {key: located(value, asked_as=asked_as) for key, value in arguments.items()}
    return arguments


def hub_folder(files: HubFiles, *, asked_as: str | None = None) -> Path:
    """The folder of the files' repository: the local cache's, else downloaded into it.

    Raises OutOfReach with the command that fetches them if neither is possible, BadConfig if the hub refuses.
    """
    return cached_folder(files) or download(files, asked_as=asked_as)


def cached_folder(files: HubFiles) -> Path | None:
    """The folder of the files' repository in the local cache; None if it lacks any of them, as far as it knows."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": list(files.patterns), "revision": files.revision}
    try:
        folder = Path(snapshot_download(files.hub_id, local_files_only=True, **wanted))
    except HFValidationError as error:
        raise BadConfig(f"{files.hub_id!r} is neither a folder nor a hub id") from error
    except LocalEntryNotFoundError:
        return None
    # The cache also answers with a folder that holds other files of the repository.
    needed = [pattern for pattern in files.patterns if "*" not in pattern or pattern.endswith(WEIGHTS)]
    return folder if all(any(folder.glob(pattern)) for pattern in needed) else None


def download(files: HubFiles, *, asked_as: str | None = None) -> Path:
    """The folder of the files' repository, completed from the hub; whole files of an earlier try are kept.

    Without a network, the cache's. With a bar on stderr if that is a terminal. Raises as `hub_folder`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    wanted: dict[str, Any] = {"allow_patterns": list(files.patterns), "revision": files.revision}
    try:
        ask(files)
        return Path(snapshot_download(files.hub_id, tqdm_class=_bar(), **wanted))
    except (HTTPError, OSError, RuntimeError) as error:
        # RuntimeError is what the hub's faster protocol raises for all that it does not tell apart.
        if (folder := cached_folder(files)) is None:
            raise explained(error, files, asked_as=asked_as) from error
        return folder


def listing_of(files: HubFiles, *, asked_as: str | None = None) -> Listing:
    """The files with their sizes, without downloading any; from the cache, if the hub is out of reach.

    Raises as `hub_folder`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

    wanted: dict[str, Any] = {"allow_patterns": list(files.patterns), "revision": files.revision}
    try:
        ask(files)
        found = snapshot_download(files.hub_id, dry_run=True, tqdm_class=_bar(), **wanted)
    except HFValidationError as error:
        raise BadConfig(f"{files.hub_id!r} is neither a name of the tables nor a hub id") from error
    except (HTTPError, OSError) as error:
        if (folder := cached_folder(files)) is None:
            raise explained(error, files, asked_as=asked_as) from error
        return _cached_listing(files, folder)
    asked = any(pattern.endswith(WEIGHTS) for pattern in files.patterns)
    if not found or (asked and not any(file.filename.endswith(WEIGHTS) for file in found)):
        raise NoWeights(f"{files.hub_id} holds no weights that can be loaded, as {', '.join(files.patterns)}")
    sizes = [HubFile(name=file.filename, size=file.file_size or 0, here=file.is_cached) for file in found]
    return Listing(revision=found[0].commit_hash, files=tuple(sorted(sizes, key=lambda file: file.name)))


def ask(files: HubFiles) -> None:
    """Ask the hub, once, whether it has the repository: raises what its client raises.

    Downloading asks too, but tries an unreachable hub for half a minute, aloud, before it gives up.
    """
    from huggingface_hub import HfApi

    HfApi().model_info(files.hub_id, revision=files.revision, timeout=PATIENCE)


def commit_of(folder: Path) -> str | None:
    """The commit of a folder of the hub's cache, which is named after it; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name) else None


def free_bytes(folder: Path) -> int:
    """How many bytes fit where the folder is, or will be."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def explained(error: Exception, files: HubFiles, *, asked_as: str | None = None) -> PlauditError | Exception:
    """An error of the hub's client as one sentence; as it is, if it is none of its usual ones."""
    from huggingface_hub import constants, errors

    # "Cannot be found" and "cannot be listed" hide why.
    hidden = isinstance(error, errors.DryRunError | errors.LocalEntryNotFoundError)
    cause = error.__cause__ if hidden and isinstance(error.__cause__, Exception) else error
    name = asked_as or files.hub_id
    page = f"{constants.ENDPOINT}/{files.hub_id}"
    if (refusal := _refusal(cause, files, page)) is not None:
        return refusal
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return BadConfig(
            f"the disk of the hub's cache, {constants.HF_HUB_CACHE}, is full; free some of it, or set HF_HOME to "
            f"another place, and the download goes on with: plaudit fetch {name}"
        )
    if isinstance(cause, RuntimeError):
        reason = " ".join(str(cause).split())
        return BadConfig(f"the download of {files.hub_id} broke off ({reason}); it goes on with: plaudit fetch {name}")
    unanswered = (ConnectionError, TimeoutError, errors.HTTPError)  # type: ignore[attr-defined]
    if not hidden and not isinstance(cause, unanswered):
        return error
    why = "HF_HUB_OFFLINE is set" if isinstance(cause, errors.OfflineModeIsEnabled) else "no network"
    where = name if name == files.hub_id else f"{name} ({files.hub_id})"
    return OutOfReach(
        f"{where} is not in this machine's cache and cannot be downloaded from here ({why}). "
        f"Where there is a network: plaudit fetch {name}"
    )


def _refusal(error: Exception, files: HubFiles, page: str) -> BadConfig | None:
    """The sentence about an answer of the hub that is a no; None if it did not answer."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return BadConfig(
            f"{files.hub_id} is given only to who accepted its licence: accept it at {page}, then log in here with: "
            "hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BadConfig(f"{files.hub_id} has no revision {files.revision}; see {page}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return BadConfig(f"the hub knows no {files.hub_id}, or it is private and you are not logged in (hf auth login)")
    if not isinstance(error, errors.HfHubHTTPError):
        return None
    status = error.response.status_code
    if status in (401, 403):
        return BadConfig(f"the hub lets nobody read {files.hub_id} who is not logged in (hf auth login); see {page}")
    return BadConfig(f"the hub answered {status} when asked for {files.hub_id}; try again later")


def _cached_listing(files: HubFiles, folder: Path) -> Listing:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sizes = [HubFile(name=name, size=(folder / name).stat().st_size, here=True) for name in names if files.match(name)]
    return Listing(revision=commit_of(folder), files=tuple(sizes))


def _bar() -> type:
    """A progress bar that shows on a terminal only.

    The hub's own follows HF_HUB_DISABLE_PROGRESS_BARS, which the command line sets to silence the model libraries.
    """
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        """tqdm's, unless nobody is looking."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            # None asks whether the output is a terminal.
            super().__init__(*arguments, **{**settings, "disable": settings.get("disable") or None})

    return Bar
