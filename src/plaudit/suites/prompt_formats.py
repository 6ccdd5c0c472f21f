"""Readers of benchmarks' own prompt files: each gives a suite's prompts, or says in which line what is wrong.

Nothing is mended silently: but for spaces around a prompt and empty lines, what a file says is what is asked for.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.core.errors import BadConfig
from plaudit.core.prompt_files import prompt_text
from plaudit.suites.suite import SuitePrompt

Sources = Sequence[tuple[Path, str]]
"""files, each with the category of its prompts; empty where the file itself says it"""

PARTI_COLUMNS = ["Prompt", "Category", "Challenge", "Note"]
DPG_COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
WHOLE = "all"
"""the one category of a list that has none"""


def geneval(sources: Sources) -> tuple[SuitePrompt, ...]:
    """GenEval's metadata: a JSON object a line with "tag", "include", perhaps "exclude", and "prompt"."""
    found = []
    for file, number, row in _json_lines(sources):
        where = f"{str(file)!r}, line {number}"
        text, tag = _text(row, "prompt", where), _text(row, "tag", where)
        for name in ("include", "exclude"):
            _check_clauses(row.get(name, []), name, where)
        if not row.get("include"):
            raise BadConfig(f"{where}: 'include' names no object; GenEval's metadata names what must be in the picture")
        found.append((text, tag, row))
    return _numbered(found)


def lines(sources: Sources) -> tuple[SuitePrompt, ...]:
    """A prompt a line, of the file's category."""
    return _numbered([(line, category or WHOLE, {}) for file, category in sources for _, line in _lines(file)])


def lines_once(sources: Sources) -> tuple[SuitePrompt, ...]:
    """A prompt a line; of lines that come again, the first."""
    found = [(line, category or WHOLE) for file, category in sources for _, line in _lines(file)]
    return _numbered([(line, category, {}) for line, category in dict.fromkeys(found)])


def partiprompts(sources: Sources) -> tuple[SuitePrompt, ...]:
    """PartiPrompts' table: columns Prompt, Category, Challenge and Note with tabs between, and no quoting."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for file, _ in sources:
        rows = [(number, line.split("\t")) for number, line in _lines(file, strip=False)]
        if rows[0][1] != PARTI_COLUMNS:
            raise BadConfig(f"{str(file)!r}, line 1: the columns are {', '.join(PARTI_COLUMNS)}, got {rows[0][1]}")
        for number, cells in rows[1:]:
            if len(cells) != len(PARTI_COLUMNS) or not cells[0].strip() or not cells[1].strip():
                raise BadConfig(
                    f"{str(file)!r}, line {number}: a prompt and its category, challenge and note have tabs between, "
                    f"got {cells}"
                )
            text, category, challenge, note = (cell.strip() for cell in cells)
            found.append((text, category, {"challenge": challenge, "note": note}))
    return _numbered(found)


def string_arrays(sources: Sources) -> tuple[SuitePrompt, ...]:
    """The HPSv2 benchmark's files: one JSON array of prompts for each style."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for file, category in sources:
        rows = _json_array(file)
        if not all(isinstance(it, str) and it.strip() for it in rows):
            raise BadConfig(f"{str(file)!r}: a list of prompts is an array of texts, none of them empty")
        found += [(row.strip(), category or WHOLE, {}) for row in rows]
    return _numbered(found)


def dpg_bench(sources: Sources) -> tuple[SuitePrompt, ...]:
    """DPG-Bench's CSV: a question a line, each with its prompt; the category is the set that a prompt came from.

    facts: "item_id", and "questions" as the CSV's rows. The release has the prompts in files of their own, so nothing
    ever looked at the column of prompts: an item's is the first that is not empty, and an item without any is left out.
    """
    texts: dict[str, str] = {}
    questions: dict[str, list[Mapping[str, str]]] = {}
    for file, _ in sources:
        # Not splitlines: a prompt may hold a line break of its own, in quotes.
        table = csv.DictReader(io.StringIO(prompt_text(file), newline=""))
        if lacking := [name for name in DPG_COLUMNS if name not in (table.fieldnames or ())]:
            raise BadConfig(f"{str(file)!r}, line 1: there is no column {lacking[0]!r}; is it DPG-Bench's CSV?")
        for row in table:
            where = f"{str(file)!r}, line {table.line_num}"
            if None in row.values():
                raise BadConfig(f"{where}: there are too few columns; is the file whole?")
            item = _text(row, "item_id", where)
            texts[item] = texts.get(item) or row["text"].strip()
            questions.setdefault(item, []).append({name: row[name] for name in DPG_COLUMNS[2:]})
    return _numbered(
        [
            (text, _origin(item), {"item_id": item, "questions": tuple(questions[item])})
            for item, text in texts.items()
            if text
        ]
    )


def own(sources: Sources) -> tuple[SuitePrompt, ...]:
    """A user's file: a prompt a line, or objects with "prompt" and perhaps "category".

    Objects are a .jsonl's lines, or elements of a .json's one array, which may be plain texts as well.
    """
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for file, category in sources:
        for where, row in _own_rows(file):
            text = _text(row, "prompt", where)
            named = _text(row, "category", where) if "category" in row else category or WHOLE
            found.append((text, named, {k: v for k, v in row.items() if k not in ("prompt", "category")}))
    return _numbered(found)


def _own_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each prompt stands, and what is said of it. Raises BadConfig for a table."""
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        raise BadConfig(
            f"{str(file)!r} is a table, and nothing says which column has the prompts; write them one a line into a "
            '.txt, or as objects with "prompt" and "category" into a .jsonl'
        )
    if kind in (".jsonl", ".ndjson"):
        yield from ((f"{str(file)!r}, line {number}", row) for _, number, row in _json_lines([(file, "")]))
    elif kind == ".json":
        for number, row in enumerate(_json_array(file), start=1):
            where = f"{str(file)!r}, element {number}"
            if not isinstance(row, str | dict):
                raise BadConfig(f"{where}: a text or an object with 'prompt' is wanted, got {str(row)[:60]}")
            yield where, {"prompt": row} if isinstance(row, str) else row
    else:
        yield from ((f"{str(file)!r}, line {number}", {"prompt": line}) for number, line in _lines(file))


def _numbered(found: Sequence[tuple[str, str, Mapping[str, Any]]]) -> tuple[SuitePrompt, ...]:
    if not found:
        raise BadConfig("the list has a heading and no prompt below it")
    return tuple(
        SuitePrompt(index=index, text=text, category=category, facts=facts)
        for index, (text, category, facts) in enumerate(found)
    )


def _lines(file: Path, *, strip: bool = True) -> list[tuple[int, str]]:
    """The lines that hold anything, with their numbers from 1. Raises BadConfig if there are none."""
    # Not splitlines, which also breaks at signs that prompts may hold.
    every = [(number, line.rstrip("\r")) for number, line in enumerate(prompt_text(file).split("\n"), start=1)]
    kept = [(number, line.strip() if strip else line) for number, line in every if line.strip()]
    if not kept:
        raise BadConfig(f"the prompts file {str(file)!r} holds no prompt; write one a line")
    return kept


def _json_array(file: Path) -> list[Any]:
    """Raises BadConfig for what is no JSON, or another kind of it."""
    try:
        rows = json.loads(prompt_text(file))
    except json.JSONDecodeError as error:
        raise BadConfig(f"{str(file)!r}, line {error.lineno}: no JSON ({error.msg})") from error
    if not isinstance(rows, list) or not rows:
        raise BadConfig(f'{str(file)!r}: a list of prompts is an array of texts, as in ["a cat", "two dogs"]')
    return rows


def _json_lines(sources: Sources) -> Iterator[tuple[Path, int, Mapping[str, Any]]]:
    for file, _ in sources:
        for number, line in _lines(file):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise BadConfig(f"{str(file)!r}, line {number}: no JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise BadConfig(f"{str(file)!r}, line {number}: an object is wanted, as in {{...}}, got {line[:60]!r}")
            yield file, number, row


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    said = row.get(name)
    if not isinstance(said, str) or not said.strip():
        raise BadConfig(f"{where}: {name!r} is a text that is not empty, got {said!r}")
    return said.strip()


def _check_clauses(clauses: Any, name: str, where: str) -> None:
    """Raises BadConfig if they are not GenEval's: [{"class": text, "count": at least 1, perhaps more}]."""
    good = isinstance(clauses, list) and all(
        isinstance(it, dict)
        and isinstance(it.get("class"), str)
        and isinstance(it.get("count"), int)
        and it["count"] >= 1
        for it in clauses
    )
    if not good:
        raise BadConfig(f"{where}: {name!r} is a list of objects, each with 'class' and 'count', got {clauses!r}")


def _origin(item: str) -> str:
    """The set that a DPG-Bench prompt came from, as its id begins; "numbered" for those that are numbers only."""
    found = re.match(r"[A-Za-z]+", item)
    return found.group().lower() if found else "numbered"
