"""From a dataclass of options to flags and a help page: a field's name is its flag, its docstring its help.

jsonargparse reads the values. Three things are stricter here than there: an abbreviated flag is refused, an
unknown flag or settings key is answered with the nearest match, and a wrong value gets one sentence.
"""

import argparse
import ast
import difflib
import inspect
import itertools
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jsonargparse

from plaudit.core.errors import PlauditError

HELP_FLAGS = ("-h", "--help")
SETTINGS_FLAG = "--config"


class WrongUsage(PlauditError):
    """The command line itself is wrong; the exit code is 2."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: what its help page says, what it takes, what it does."""

    name: str
    """as typed after `plaudit`; may be two words"""
    purpose: str
    """what the help page opens with"""
    examples: str
    """lines to copy, each with a word on what it does"""
    options: type
    """a dataclass; a field with metadata {"positional": "*", "+" or "?" or 1} is not a flag"""
    run: Callable[[Any], int]
    """the exit code for the options"""
    recorded: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """settings to start from, given what was typed: those of an image or of a run to repeat"""
    sections: Mapping[str, Sequence[str]] | None = None
    """titles on the help page, in their order, each with its fields; without any, flags stand in one row"""


class _Help(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the examples' line breaks; as wide as the terminal, 110 at most."""

    def __init__(self, prog: str) -> None:
        width = min(110, shutil.get_terminal_size().columns)
        super().__init__(prog, max_help_position=30, width=width)  # type: ignore[no-untyped-call]

    def _get_help_string(self, action: argparse.Action) -> str:
        """The docstring and the default; no types, which the placeholder already tells."""
        text = action.help or ""
        shown = action.default is not None and action.default is not False and action.default != []
        if action.option_strings and shown and action.default != argparse.SUPPRESS:
            text += " (default: %(default)s)"
        return text


def help_page(command: Command) -> str:
    """All that `plaudit COMMAND --help` prints."""
    return _parser(command).format_help()


def parse(command: Command, arguments: Sequence[str]) -> Any:
    """The command's options from its arguments. Raises WrongUsage."""
    _refuse_unknown_flags(command, arguments)
    typed = _values(command, arguments, {})
    said: dict[str, Any] = {}
    if typed.get("config") is not None:
        # Not at the top: the settings' reader builds on this module, and most command lines have no such file.
        from plaudit.shells.settings_files import read_settings

        said = read_settings(typed["config"], command.options)
    settings = _settings(command, arguments, typed, said)
    values = _values(command, arguments, settings) if settings else typed
    values.pop("config", None)
    return command.options(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def nearest(name: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" with the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def flag_of(field: "Field[Any]") -> str:
    """The flag of an options field: "batch_size" gives "--batch-size", unless its metadata names another."""
    return str(field.metadata.get("flag", "--" + field.name.replace("_", "-")))


def field_docs(options: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and of those it extends, as one line each."""
    docs: dict[str, str] = {}
    for owner in reversed(options.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, doc in itertools.pairwise(statements):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = doc.value.value if _is_text(doc) else ""  # type: ignore[attr-defined]
                docs[field.target.id] = " ".join(text.split())
    return docs


def _is_text(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return False
    return isinstance(statement.value.value, str)


def _values(command: Command, arguments: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments say, over the settings, over the defaults."""
    names = {field.name for field in _flag_fields(command)}
    try:
        # Defaults are taken as they are; only what is parsed is checked against its type.
        checked = _parser(command, flags_only=True).parse_object(
            {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items() if k in names}
        )
        parser = _parser(command)
        parser.set_defaults({k: v for k, v in vars(checked).items() if k in settings})
        values = dict(vars(parser.parse_args(list(arguments))))
    except argparse.ArgumentError as error:
        raise WrongUsage(_sentence(command, str(error))) from error
    for field in fields(command.options):
        if "positional" in field.metadata and not values[field.name] and field.name in settings:
            values[field.name] = settings[field.name]
    return values


def _typed_names(command: Command, arguments: Sequence[str]) -> set[str]:
    """The options that the arguments name, be it at their default; arguments that parse."""
    typed = _parser(command).parse_args(list(arguments), defaults=False)
    return {name for name, value in vars(typed).items() if value != []} - {"config"}


def _settings(
    command: Command, arguments: Sequence[str], typed: Mapping[str, Any], said: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What a file says, over the settings of a run or an image to repeat, for which it counts as typed.

    Raises WrongUsage.
    """
    if command.recorded is None:
        return said
    if typed.get("resume"):
        return _continued(command, arguments, typed, said)
    return {**command.recorded(_values(command, arguments, said)), **said}


def _continued(
    command: Command, arguments: Sequence[str], typed: Mapping[str, Any], said: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The settings of a run to go on with, and what a file says over them. Raises WrongUsage.

    A file may also say what the run says: it is often the file that the run was begun with.
    """
    assert command.recorded is not None
    own = command.recorded(typed)
    if said:
        from plaudit.shells.settings_files import less_of_the_run

        said = less_of_the_run(said, own, folder=Path(typed["resume"]))
    given = _values(command, arguments, said)
    names = {*said, *_typed_names(command, arguments)}
    changed = {name: given[name] for name in names if given[name] != own.get(name, typed[name])}
    # `recorded` takes an option at its default for one that nobody said. One that was said, and changes the run, it is
    # shown as the run has it, which then is no default.
    shown = {name: own[name] if value == typed[name] else value for name, value in changed.items()}
    try:
        return {**command.recorded({**typed, **shown}), **said}
    except WrongUsage as error:
        raise WrongUsage(f"{error}, of {typed['config']!r} too" if said else str(error)) from error


def _parser(command: Command, *, flags_only: bool = False) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(
        prog=f"plaudit {command.name}",
        description=f"{command.purpose}\n\nexamples:\n{textwrap.indent(command.examples.strip(), '  ')}",
        formatter_class=_Help,
        exit_on_error=False,
        default_env=False,
    )
    docs, hints = field_docs(command.options), get_type_hints(command.options)
    for place, option in _places(command, parser, _flag_fields(command) if flags_only else fields(command.options)):
        _add(place, option, docs[option.name], hints[option.name])
    if _flag_fields(command):
        parser.add_argument(SETTINGS_FLAG, metavar="FILE", help="YAML file of settings; flags go over it")
    return parser


def _places(command: Command, parser: Any, options: "Iterable[Field[Any]]") -> "Iterator[tuple[Any, Field[Any]]]":
    """Where on the help page each option stands, in the page's order."""
    known = {option.name: option for option in options}
    for title, names in (command.sections or {}).items():
        group = parser.add_argument_group(title)
        yield from ((group, known.pop(name)) for name in names if name in known)
    yield from ((parser, option) for option in known.values())


def _add(parser: Any, field: "Field[Any]", doc: str, hint: Any) -> None:
    count = field.metadata.get("positional")
    many = get_origin(hint) is tuple
    placeholder = field.metadata.get("placeholder", _placeholder(hint))
    if count:
        extra = {} if count == 1 else {"nargs": count}
        parser.add_argument(field.name, metavar=placeholder, type=str, help=doc, **extra)
        return
    default = _default(field)
    if hint is bool:
        parser.add_argument(flag_of(field), dest=field.name, action="store_true", help=doc)
    elif many:
        parser.add_argument(
            flag_of(field), dest=field.name, nargs="+", type=str, default=list(default), metavar=placeholder, help=doc
        )
    else:
        parser.add_argument(flag_of(field), dest=field.name, type=hint, default=default, metavar=placeholder, help=doc)


def without_none(hint: Any) -> Any:
    """The type of an option that may be left out."""
    plain = [it for it in get_args(hint) if it is not type(None)]
    return plain[0] if get_origin(hint) is not Literal and len(plain) == 1 and type(None) in get_args(hint) else hint


def _default(field: "Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _placeholder(hint: Any) -> str:
    hint = without_none(hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    plain = [t for t in get_args(hint) or (hint,) if t is not type(None)]
    names = {int: "N", float: "X", str: "NAME", Path: "PATH"}
    return names.get(plain[0], "VALUE")


def _flag_fields(command: Command) -> list["Field[Any]"]:
    return [f for f in fields(command.options) if "positional" not in f.metadata]


def _refuse_unknown_flags(command: Command, arguments: Sequence[str]) -> None:
    """Also refuses abbreviations, which jsonargparse would accept."""
    flags = [flag_of(f) for f in _flag_fields(command)]
    known = {*flags, *HELP_FLAGS, *([SETTINGS_FLAG] if flags else [])}
    for argument in arguments:
        if argument == "--":
            return
        name = argument.split("=", 1)[0]
        looks_like_flag = name.startswith("-") and len(name) > 1 and " " not in name and not _is_number(name)
        if looks_like_flag and name not in known:
            hint = nearest(name, known) or f" See: plaudit {command.name} --help"
            raise WrongUsage(f"'plaudit {command.name}' has no flag {name!r}.{hint}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sentence(command: Command, message: str) -> str:
    """jsonargparse's paragraph about a wrong value as one sentence."""
    key = re.search(r'Parser key "(\w+)"', message)
    given = re.search(r"(?:Given value|Got value|value): (.*)", message)
    if key and given:
        hint = without_none(get_type_hints(command.options)[key[1]])
        options = get_args(hint) if get_origin(hint) is Literal else ()
        value = given[1].strip()
        field = next(f for f in fields(command.options) if f.name == key[1])
        return f"{flag_of(field)} takes {in_words(hint)}, got {value!r}.{nearest(value, options)}"
    flat = " ".join(message.split()).removeprefix("argument ")
    return f"{flat}. See: plaudit {command.name} --help"


def in_words(hint: Any) -> str:
    """What an option of this type takes, as an error says it."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    plain = [t for t in get_args(hint) or (hint,) if t is not type(None)]
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    return words.get(plain[0], "a value")
