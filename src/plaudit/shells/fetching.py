"""`plaudit fetch`: download what a model, a reward or a suite needs, before it is needed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig, PlauditError, UnknownName
from plaudit.core.hub import MODEL_FILES, HubFiles, Listing, NoWeights, download, free_bytes, listing_of
from plaudit.core.registry import Registry
from plaudit.shells.fetching_lists import ListPart, list_parts
from plaudit.shells.flags import Command, nearest
from plaudit.shells.licences import tell_licences


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """All that `plaudit fetch` takes."""

    names: tuple[str, ...] = field(metadata={"positional": "+", "placeholder": "NAME"})
    """models, rewards, feature nets, detectors and suites of the tables, or hub ids of pipelines and of CLIP models"""
    dry_run: bool = False
    """show files and sizes; download nothing"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One thing to fetch."""

    name: str
    """a row's, or a hub id"""
    licence: str | None
    """None for a hub id of no row"""
    needs: tuple[HubFiles, ...]
    """nothing for what comes with the package"""
    prompts_of: str | None = None
    """the list of a suite's prompts"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One repository of a thing to fetch."""

    files: HubFiles
    listing: Listing
    """as it was before"""
    folder: Path | None = None
    """None if nothing was downloaded"""


def run(options: FetchOptions) -> int:
    """List everything first: a misspelt name or a full disk shows before anything is downloaded."""
    wanted = [wanted_of(name) for name in dict.fromkeys(options.names)]
    for table in _tables():
        tell_licences(table, options.names)
    # Prompts come first: they are small, and one that cannot be had shows at once.
    lists = [[] if one.prompts_of is None else list_parts(one.prompts_of, fetch=not options.dry_run) for one in wanted]
    found = [[_found(one, it) for it in one.needs] for one in wanted]
    if not options.dry_run:
        _check_room([it.listing for repositories in found for it in repositories])
    for number, one in enumerate(wanted):
        if not options.dry_run:
            found[number] = [_fetched(one, it) for it in found[number]]
        if not options.json:
            print("\n".join(_lines(one, found[number], lists[number])))
    if options.json:
        rows = [_row(*there) for there in zip(wanted, found, lists, strict=True)]
        print(json.dumps({"cache": str(_cache()), "fetched": rows}, ensure_ascii=False))
    return 0


def wanted_of(name: str) -> Wanted:
    """What a name asks for. Raises UnknownName with the nearest of all tables' names."""
    for table in _tables():
        if (row := table.row_of(name)) is not None:
            models = [wanted_of(model).needs for model in row.facts.get("models", ())]
            needs = dict.fromkeys(files for each in (row.needs, *models) for files in each)
            prompts_of = row.facts.get("folder") if table.kind == "suite" else None
            return Wanted(name=row.name, licence=row.licence, needs=tuple(needs), prompts_of=prompts_of)
    if name.count("/") == 1 and not Path(name).is_dir():
        return Wanted(name=name, licence=None, needs=(HubFiles(hub_id=name),))
    known = [row.name for table in _tables() for row in table]
    hint = nearest(name.lower(), known) or " See: plaudit list models"
    raise UnknownName(f"no model, reward or suite named {name!r}.{hint}")


def size_in_words(size: float) -> str:
    """Bytes as people read them: "2.6 GB", "335 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}" if size < 10 * scale else f"{size / scale:.0f} {unit}"
    return f"{size:.0f} bytes"


def _tables() -> tuple[Registry, ...]:
    from plaudit.generators.table import GENERATORS
    from plaudit.rewards.feature_table import FEATURE_NETS
    from plaudit.rewards.table import REWARDS
    from plaudit.suites.detectors_table import DETECTORS
    from plaudit.suites.table import SUITES

    return GENERATORS, REWARDS, FEATURE_NETS, DETECTORS, SUITES


def _check_room(listings: Sequence[Listing]) -> None:
    missing, free = sum(listing.missing for listing in listings), free_bytes(_cache())
    if missing > free:
        raise BadConfig(
            f"{size_in_words(missing)} are to be downloaded and {size_in_words(free)} are free where the hub's cache "
            f"is, {str(_cache())!r}; free some, or set HF_HOME to another place"
        )


def _found(one: Wanted, files: HubFiles) -> Found:
    """What a repository holds; one of no row may be a single model instead of a pipeline."""
    try:
        return Found(files=files, listing=listing_of(files, asked_as=one.name))
    except NoWeights:
        if one.licence is not None:
            raise
        single = replace(files, patterns=MODEL_FILES)
        return Found(files=single, listing=listing_of(single, asked_as=one.name))


def _fetched(one: Wanted, found: Found) -> Found:
    try:
        # Also where nothing is missing: the hub's client then remembers which commit is the newest.
        folder = download(found.files, asked_as=one.name)
    except KeyboardInterrupt as error:
        raise PlauditError(
            f"stopped by Ctrl-C; finished files are kept, and it goes on with: plaudit fetch {one.name}"
        ) from error
    return replace(found, folder=folder)


def _lines(one: Wanted, found: Sequence[Found], parts: Sequence[ListPart]) -> list[str]:
    """What is printed about one name: each repository, its commit, how much of it was there, and where it is."""
    prompts = [f"  {part.in_words}" for part in parts]
    if not found:
        if prompts:
            return [f"{one.name}  prompts only; licence {one.licence}", *prompts]
        return [f"{one.name}  comes with plaudit; there is nothing to fetch"]
    size, missing = (sum(getattr(it.listing, what) for it in found) for what in ("size", "missing"))
    here = f"{size_in_words(size - missing)} here already" if missing else "all here already"
    lines = [f"{one.name}  {size_in_words(size)}, {here}" + (f"; licence {one.licence}" if one.licence else "")]
    for it in found:
        lines.append(f"  {it.files.hub_id} at {it.listing.revision}")
        if it.folder is None:
            files = [(size_in_words(file.size), "here" if file.here else "", file.name) for file in it.listing.files]
            lines += [f"    {file_size:>10}  {state:<4}  {name}" for file_size, state, name in files]
        else:
            lines.append(f"    {len(it.listing.files)} files in {it.folder}")
    return lines + prompts


def _row(one: Wanted, found: Sequence[Found], parts: Sequence[ListPart]) -> dict[str, Any]:
    repositories = [
        {
            "hub_id": it.files.hub_id,
            "revision": it.listing.revision,
            "folder": str(it.folder) if it.folder else None,
            "bytes": it.listing.size,
            "bytes_downloaded": it.listing.missing if it.folder else 0,
            "files": [asdict(file) for file in it.listing.files],
        }
        for it in found
    ]
    prompts = {"prompts": [asdict(part) for part in parts]} if parts else {}
    return {"name": one.name, "licence": one.licence, "repositories": repositories, **prompts}


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


COMMAND = Command(
    name="fetch",
    purpose=(
        "Download all that models and rewards need into the hub's cache, so that they load without a network; of a\n"
        "suite its list of prompts, and what scores it.\n"
        "What is there already is not downloaded again; what was interrupted goes on with the files that lack.\n"
        "HF_HOME says where the cache is, HF_ENDPOINT which hub, HF_TOKEN who you are."
    ),
    examples="""
plaudit fetch sd-turbo
plaudit fetch sd-turbo hyper-sdxl --dry-run             files and sizes, and which are here
plaudit fetch hpsv2.1 imagereward-v1                    rewards too
plaudit fetch geneval                                   a suite's prompts, its detector, its CLIP
plaudit fetch someone/some-pipeline                     half-precision safetensors of any known family
""",
    options=FetchOptions,
    run=run,
)
