"""Benchmarks' prompt lists: which files, from which commit, and where this machine has them.

Nothing of theirs comes with the package. A file is looked for in a folder that the user names (--lists, or the
variable PLAUDIT_SUITES_DIR), then in the user's cache; else it is downloaded into that from its pinned address, and
kept only if it is, byte for byte, the file that was pinned. In a folder it may be another: the checksum of what was
read goes with the prompts, and whether it is the pinned one.
"""

import functools
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.whole_files import write_whole
from plaudit.pocket.folders import user_cache
from plaudit.suites import prompt_formats
from plaudit.suites.prompt_formats import Sources
from plaudit.suites.suite import SuitePrompt

FOLDER_VARIABLE = "PLAUDIT_SUITES_DIR"
PATIENCE = 15.0
"""seconds that a server has for each part of its answer"""
MOST = 2**26
"""bytes of a file; a longer answer is none of ours"""


class OutOfReach(BadConfig):
    """A list that is neither on this machine nor to be had from here."""


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """One file of a list."""

    name: str
    """in its folder, and in a user's"""
    address: str
    """with the commit in it; a page to look at where there is no checksum"""
    checksum: str | None
    """"sha256:..." of its bytes, or "git:..." as git names them; None: never downloaded, as nobody can say what is
    the right one"""
    category: str = ""
    """of its prompts, where it says none itself"""


@dataclass(frozen=True, kw_only=True)
class PromptList:
    """A benchmark's prompts."""

    name: str
    """also that of its folder"""
    files: tuple[ListFile, ...]
    read: Callable[[Sources], tuple[SuitePrompt, ...]]


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file that is here."""

    path: Path
    sha256: str
    pinned: bool
    """whether it is the file that was pinned; True also where none was"""


def _of_github(repository: str, commit: str, path: str) -> str:
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"


_T2I = functools.partial(_of_github, "Karine-Huang/T2I-CompBench", "1b7094991a57f3c22abdd4f6e8ba6c1a15517073")
_HPD = "https://huggingface.co/datasets/zhwang/HPDv2/resolve/main/benchmark"


def _t2i_file(category: str, sha256: str) -> ListFile:
    name = f"{category}_val.txt"
    address = _T2I(f"examples/dataset/{name}")
    return ListFile(name=name, address=address, checksum=f"sha256:{sha256}", category=category)


_LISTS = (
    PromptList(
        name="geneval",
        read=prompt_formats.geneval,
        files=(
            ListFile(
                name="evaluation_metadata.jsonl",
                address=_of_github(
                    "djghosh13/geneval",
                    "af4902f24d3ca90ebbb446dd9891a59e0f82725f",
                    "prompts/evaluation_metadata.jsonl",
                ),
                checksum="sha256:5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
            ),
        ),
    ),
    PromptList(
        name="t2i_compbench",
        read=prompt_formats.lines,
        files=(
            _t2i_file("color", "1634259756dbc77d13093d907d414480080ec9790a8c97ad09efaea7b2534f2d"),
            _t2i_file("shape", "37e1a276906c7ea9516cbd7ac8501be896006c0c17ca7344f260562834455bae"),
            _t2i_file("texture", "fbb5363515b4a28009e360afaaaf389d2dd2289e50dbb0c6ef4ea0c7fe4f3d4f"),
            _t2i_file("spatial", "8707a1d7e42ce3002d95363cf55f74bd043c843ae27108f5125aaaa7840ca988"),
            _t2i_file("non_spatial", "04c56cc9ac441dc9ea6c5157652058bd1635b5308526dd31bb29a1caab9a758d"),
            _t2i_file("complex", "1b808018b8d9916db3d47d5aa2ef18377a3549a56901a474156f799824cdf3b4"),
        ),
    ),
    PromptList(
        name="t2i_compbench_numeracy",
        read=prompt_formats.lines,
        files=(_t2i_file("numeracy", "dad8df141604b70ba7554bec724e3db0a80023680769b5c514854ea2d2527bbe"),),
    ),
    PromptList(
        name="dpg_bench",
        read=prompt_formats.dpg_bench,
        files=(
            ListFile(
                name="dpg_bench.csv",
                address=_of_github(
                    "TencentQQGYLab/ELLA", "3c228f1dc6c4d3cad0a47493816151a419f14db3", "dpg_bench/dpg_bench.csv"
                ),
                checksum="git:98457fc9901943f51ff9a30367250fc292533bed",
            ),
        ),
    ),
    PromptList(
        name="partiprompts",
        read=prompt_formats.partiprompts,
        files=(
            ListFile(
                name="PartiPrompts.tsv",
                address=_of_github(
                    "google-research/parti", "5a657978134374ce28973948331b319adef164bd", "PartiPrompts.tsv"
                ),
                checksum="sha256:fab29e41bb512a169b56acab4cf2a41dcb675e285df2efcde6640c7dd3c440eb",
            ),
        ),
    ),
    PromptList(
        name="drawbench",
        # This list has each prompt five times.
        read=prompt_formats.lines_once,
        files=(
            ListFile(
                name="test.txt",
                address=_of_github(
                    "Harahan/RTDMD", "6c3cb0309732b34313d296ca78d02b5f88a50ca0", "dataset/drawbench/test.txt"
                ),
                checksum="sha256:9006b98feabb94b28a2bc0c88de42fd4f31a9ec3c2a19e308a02c5385b7172f0",
            ),
        ),
    ),
    PromptList(
        name="hpsv2",
        read=prompt_formats.string_arrays,
        files=tuple(
            ListFile(name=f"{style}.json", address=f"{_HPD}/{style}.json", checksum=None, category=style)
            for style in ("anime", "concept-art", "paintings", "photo")
        ),
    ),
    PromptList(
        name="hpsv2_alignprop",
        read=prompt_formats.lines_once,
        files=(
            ListFile(
                name="hps_v2_all.txt",
                address=_of_github(
                    "mihirp1998/AlignProp", "b22918afd53f254f2ba66eb1233d94121aade5fc", "assets/hps_v2_all.txt"
                ),
                checksum="sha256:52f0074b2d5fe70a8ffd0ca8daf7b5ad420c9a930f03c38a97e7f2d8aa5df429",
            ),
        ),
    ),
)
LISTS: Mapping[str, PromptList] = {one.name: one for one in _LISTS}


def load_list(name: str, *, folder: Path | None = None) -> tuple[tuple[SuitePrompt, ...], dict[str, Any]]:
    """A list's prompts, and what to record of where they came from. What is not here is downloaded.

    folder: where to look, and nowhere else. Raises OutOfReach with where each file is to be had, BadConfig for what
    is damaged.
    """
    wanted = _list(name)
    found = {file.name: found_file(wanted, file, folder=folder) or download(wanted, file) for file in wanted.files}
    return _read(wanted, found)


def list_at_hand(name: str) -> tuple[SuitePrompt, ...] | None:
    """A list's prompts if all of it is on this machine, else None; nothing is downloaded."""
    wanted = _list(name)
    found = {file.name: found_file(wanted, file) for file in wanted.files}
    here = {file_name: file for file_name, file in found.items() if file is not None}
    return _read(wanted, here)[0] if len(here) == len(found) else None


def own_list(file: Path) -> tuple[tuple[SuitePrompt, ...], dict[str, Any]]:
    """A user's own prompts, and what to record. Raises BadConfig if they cannot be read."""
    prompts = prompt_formats.own([(file, "")])
    return prompts, {"files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}, "pinned": None}


def found_file(wanted: PromptList, file: ListFile, *, folder: Path | None = None) -> FoundFile | None:
    """A list's file in `folder`; if that is None, in the variable's folder or the cache. None if it is not there.

    Raises BadConfig if `folder` is given and has no such file.
    """
    if folder is not None:
        if (here := _in_folder(wanted, file, folder)) is None:
            raise BadConfig(f"{str(folder)!r} has no {wanted.name}/{file.name}; it is at {file.address}")
        return here
    if (named := os.environ.get(FOLDER_VARIABLE)) and (here := _in_folder(wanted, file, Path(named).expanduser())):
        return here
    cached = _cached(wanted, file)
    # One that was cut short or changed is downloaded anew.
    found = _seen(file, cached) if cached.is_file() else None
    return found if found is not None and found.pinned else None


def download(wanted: PromptList, file: ListFile) -> FoundFile:
    """Put the file into the cache, if it is the one that was pinned. Raises OutOfReach or BadConfig."""
    if file.checksum is None:
        raise OutOfReach(
            f"the prompts of {wanted.name} are not on this machine, and not downloaded for you, as nobody has pinned "
            f"which they are: {_what_to_do(wanted)}"
        )
    content = _fetched(wanted, file)
    if not _is_pinned(file, content):
        raise BadConfig(
            f"{file.address} gave another file than was pinned ({len(content)} bytes, sha256 "
            f"{hashlib.sha256(content).hexdigest()[:12]}...), so it is not used; try again, or name a folder that has "
            f"it with --lists"
        )
    cached = _cached(wanted, file)
    write_whole(cached, content)
    return FoundFile(path=cached, sha256=hashlib.sha256(content).hexdigest(), pinned=True)


def _list(name: str) -> PromptList:
    if name not in LISTS:
        raise UnknownName(f"no list of prompts named {name!r}. Known: {', '.join(LISTS)}.")
    return LISTS[name]


def _read(wanted: PromptList, found: Mapping[str, FoundFile]) -> tuple[tuple[SuitePrompt, ...], dict[str, Any]]:
    prompts = wanted.read([(found[file.name].path, file.category) for file in wanted.files])
    nobody_knows = all(file.checksum is None for file in wanted.files)
    pinned = None if nobody_knows else all(it.pinned for it in found.values())
    return prompts, {"files": {name: it.sha256 for name, it in found.items()}, "pinned": pinned}


def _in_folder(wanted: PromptList, file: ListFile, folder: Path) -> FoundFile | None:
    """Below a folder of the list's name, or right there. Lists that share files may share a folder."""
    places = (folder / wanted.name, *(folder / name for name in LISTS if wanted.name.startswith(name)), folder)
    here = next((place / file.name for place in places if (place / file.name).is_file()), None)
    return None if here is None else _seen(file, here)


def _cached(wanted: PromptList, file: ListFile) -> Path:
    return user_cache() / "suites" / wanted.name / file.name


def _seen(file: ListFile, path: Path) -> FoundFile:
    content = path.read_bytes()
    pinned = file.checksum is None or _is_pinned(file, content)
    return FoundFile(path=path, sha256=hashlib.sha256(content).hexdigest(), pinned=pinned)


def _is_pinned(file: ListFile, content: bytes) -> bool:
    kind, _, expected = (file.checksum or "").partition(":")
    if kind == "git":
        # git's name for a file: of its length and its bytes.
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == expected
    return hashlib.sha256(content).hexdigest() == expected


def _fetched(wanted: PromptList, file: ListFile) -> bytes:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise _unreachable(wanted, "HF_HUB_OFFLINE is set")
    try:
        with urllib.request.urlopen(file.address, timeout=PATIENCE) as answer:
            content: bytes = answer.read(MOST + 1)
    except urllib.error.HTTPError as error:
        raise _unreachable(wanted, f"the server answered {error.code}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _unreachable(wanted, "no network") from error
    if len(content) > MOST:
        raise BadConfig(f"{file.address} gave more than {MOST} bytes, which is no list of prompts")
    return content


def _unreachable(wanted: PromptList, why: str) -> OutOfReach:
    return OutOfReach(
        f"the prompts of {wanted.name} are not on this machine and cannot be downloaded from here ({why}): "
        f"{_what_to_do(wanted)}"
    )


def _what_to_do(wanted: PromptList) -> str:
    first, others = wanted.files[0], [file.name for file in wanted.files[1:]]
    beside = f" and, from beside it, {', '.join(others)}" if others else ""
    return (
        f"put {first.address}{beside} into a folder {wanted.name!r}, and name the folder above it with --lists or "
        f"{FOLDER_VARIABLE}"
    )
