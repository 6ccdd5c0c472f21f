"""Settings from a YAML file, in the shapes that the options of a command take.

YAML decides by itself what is a number, a date, true or nothing, also among prompts, and it nests. So shapes are judged
here, where file and key can be named; what a single number or choice may be is left to the flags' own parser.
"""

import os
import reprlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from plaudit.shells.flags import WrongUsage, flag_of, in_words, nearest, without_none

BRING_SETTINGS = ("resume", "from_image")
"""options that bring settings of their own: only typed, for what a file says counts as typed beside them"""
LIST_ENDINGS = (".txt", ".jsonl", ".json", ".csv")
"""of files that hold prompts; no prompt ends so"""


def read_settings(path: str, options: type) -> dict[str, Any]:
    """The file's settings by the names of the options' fields. Raises WrongUsage, which names file and key."""
    known, hints = {field.name: field for field in fields(options)}, get_type_hints(options)
    settings = {str(key).replace("-", "_"): value for key, value in _content(path).items()}
    for name, value in settings.items():
        if name not in known:
            raise WrongUsage(f"{path!r} sets {name!r}, which is no setting of this command.{nearest(name, known)}")
        if name in BRING_SETTINGS:
            flag = flag_of(known[name])
            raise WrongUsage(f"{path!r} sets {name!r}, which brings settings of its own; type {flag} instead")
        if name == "prompts" and "prompts_file" in known and _names_a_file(value):
            raise WrongUsage(
                f"{path!r} sets 'prompts' to {value!r}, the name of a file; for the prompts in it write: "
                f"prompts_file: {value}"
            )
        settings[name] = _fitting(value, hints[name], where=f"{path!r} sets {name!r}")
    return settings


def less_of_the_run(said: Mapping[str, Any], own: Mapping[str, Any], *, folder: Path) -> dict[str, Any]:
    """What a file says, but for what no run records and the file says of this one: its folder, and whence its prompts.

    Raises BadConfig if the file with prompts cannot be read.
    """
    from plaudit.shells.generate import read_prompts

    other = dict(said)
    if "out" in said and Path(said["out"]).expanduser().resolve() == folder.expanduser().resolve():
        del other["out"]
    if said.get("prompts_file") is not None:
        prompts = (*said.get("prompts", ()), *read_prompts(Path(said["prompts_file"])))
        if [prompt.strip() for prompt in prompts] == list(own.get("prompts", ())):
            other = {name: value for name, value in other.items() if name not in ("prompts", "prompts_file")}
    return other


def _content(path: str) -> Mapping[Any, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not YAML text"
        raise WrongUsage(f"cannot read the settings in {path!r}: {reason}") from error
    if not isinstance(content, dict):
        raise WrongUsage(f"{path!r} holds no settings: write one 'name: value' a line, for example 'steps: 30'")
    return content


def _names_a_file(value: Any) -> bool:
    return isinstance(value, str) and (value.lower().endswith(LIST_ENDINGS) or os.path.isfile(value))


def _fitting(value: Any, hint: Any, *, where: str) -> Any:
    """The value as an option of this type takes it: one alone as a list where several may be, a number as a text."""
    wanted = without_none(hint)
    if value is None:
        if wanted is not hint:
            return None
        raise WrongUsage(f"{where} to null; give it {in_words(wanted)}, or leave it out")
    if get_origin(wanted) is not tuple:
        return _single(value, wanted, got=f"{where} to", takes=f"one value, {in_words(wanted)}")
    if isinstance(value, list):
        return [_single(it, str, got=f"{where} to a list with", takes="a list of texts") for it in value]
    return [_single(value, str, got=f"{where} to", takes="a list of texts")]


def _single(value: Any, wanted: Any, *, got: str, takes: str) -> Any:
    fits = isinstance(value, bool) if wanted is bool else type(value) in (str, int, float)
    if not fits:
        hint = "; put a text in quotes" if wanted is str and not isinstance(value, list) else ""
        raise WrongUsage(f"{got} {_as_written(value)}, and it takes {takes}{hint}")
    return str(value) if wanted in (str, Path) else value


def _as_written(value: Any) -> str:
    """As YAML spells it, and not at length."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return reprlib.repr(value)
