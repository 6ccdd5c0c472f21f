"""The report of a training: one HTML file with the audit, the fixed prompts over time, curves and settings.

Its tables lie beside it as CSV and JSON.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.audit import RULE, Audit
from plaudit.runs.audit_sheet import audit_of, audit_table, looks_table, measure
from plaudit.runs.curves import curve
from plaudit.runs.lineage import follows_rewards
from plaudit.runs.looks import SAMPLES
from plaudit.runs.report_page import document
from plaudit.runs.report_tables import where_they_are, write_tables
from plaudit.runs.report_widgets import Cell, Value, figure, slider, sortable, terms, thumbnail, zoomable
from plaudit.runs.training_folder import TrainingFolder

SHOWN = {
    "reward": "reward, of each update's images",
    "look_reward": "reward, on the fixed prompts",
    "look_held_out": "held-out reward, on the fixed prompts",
    "look_accuracy": "share of the fixed prompts' pictures that the exact judge calls right",
    "look_diversity": "diversity: distance of a prompt's pictures",
    "look_drift": "drift: distance from the first look's pictures",
    "look_colour": "how strong colours are",
    "look_saturation": "saturation: share of the pictures' numbers that are fully off or on",
    "distribution_distance": "distance of all pictures from real ones, by the net that is trained on",
    "look_word_loss": "cross-entropy of plans that are held out, nats a word",
    "look_token_loss": "cross-entropy of pictures that are held out, nats a token",
    "word_loss": "cross-entropy of plans, nats a word",
    "token_loss": "cross-entropy of pictures, nats a token",
    "plan_words": "words of a plan",
    "word_entropy": "entropy of plans, nats a word",
    "word_coefficient": "its coefficient; below 0 it asks for more entropy",
    "token_entropy": "entropy of pictures, nats a token",
    "token_coefficient": "its coefficient",
    "cut_plans": "share of the plans that were too long and cut",
    "entropy": "entropy, as a share of the most there can be",
    "entropy_coefficient": "its coefficient; below 0 it asks for more entropy",
    "kl": "divergence from the start, nats a step or a token",
    "equal_groups": "share of the groups in which all pictures have the same reward",
    "drift": "drift of the weights, as a share of their norm",
    "agreement": "agreement of the rewards' directions: the cosine between them",
    "saturated": "saturation of each update's pictures",
    "off_policy": "distance of what is learned from what was drawn, nats a token",
    "gradient_norm": "gradient norm before the clip",
}
"""metrics with a curve of their own"""


MOST_FRAMES = 48
"""looks in the film strip; of more, so many at equal distances"""
FRAME = 384
"""pixels that a wider picture of the film strip is shrunk to, so that the page stays small"""
WIDE = 1536
"""the same of the large ones"""


def write_training_report(folder: TrainingFolder) -> Path:
    """Write report.html into the training's folder, and its tables beside it; returns its path."""
    write_tables(folder.path, tables(folder, audit_of(folder)))
    write_whole(folder.report, page(folder).encode())
    return folder.report


def tables(folder: TrainingFolder, found: Audit) -> dict[str, list[dict[str, Any]]]:
    """By file name: the changes that the verdict rests on, and every look's means."""
    return {"audit": audit_table(found), "looks": looks_table(folder)}


def page(folder: TrainingFolder) -> str:
    """The report as HTML."""
    lines, settings, found = folder.lines(), folder.manifest["settings"], audit_of(folder)
    title = f"{settings.get('preset', 'training')} on {settings.get('model', '')}"
    body = f"""<header><h1>{escape(title)}</h1>
<p>{escape(folder.manifest["status"])}, {len([it for it in lines if it["update"] > 0])} updates,
<code>{escape(folder.manifest["command"])}</code></p>{_ended(folder.manifest)}
{_verdict(found)}</header>
<main>
<h2>Audit sheet</h2>
{_audit_sheet(folder, found)}
<h2>The same prompts and noises</h2>
{_pictures(folder.path, found.done)}
<h2>Curves</h2>
<div class="cards">{_curves(lines)}</div>
{_looks(folder)}
{where_they_are(tables(folder, found))}
<details><summary>Settings</summary>{_settings(settings)}</details>
</main>"""
    return document(title, body)


def _ended(manifest: dict[str, Any]) -> str:
    """Why it ended before its time, if it did."""
    return f"<p>{escape(manifest['ended_early'])}.</p>" if manifest.get("ended_early") else ""


def _verdict(found: Audit) -> str:
    css = found.word.replace(" ", "-")
    because = found.because[:1].upper() + found.because[1:]
    return f'<p class="ruling {css}"><strong>{escape(found.word)}</strong> <span>{escape(because)}.</span></p>'


def _audit_sheet(folder: TrainingFolder, found: Audit) -> str:
    """What was measured before and after, what else is to be said, and the rule."""
    followed = follows_rewards(folder.manifest)
    rows: list[list[Value | Cell]] = [
        [
            measure(row["measure"], followed=followed), row["before"], row["after"],
            Cell(text=f"{row['change']:+.3f}", value=row["change"]),
            Cell(text=f"{row['low']:+.3f} to {row['high']:+.3f}", value=row["low"]),
            row["says"], row["pairs"],
        ]
        for row in audit_table(found)
    ]  # fmt: skip
    heads = ("measure", "before", "after", "change", "95 % interval of the change", "says", "pairs")
    table = sortable(heads, rows) if rows else "<p>No two looks have numbers of each picture.</p>"
    seen = [f"{it}; what it measures of this model says little." for it in folder.manifest.get("overlaps") or ()]
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in (*found.remarks, *seen))
    said = f"<ul>{remarks}</ul>" if remarks else ""
    return f"""<div class="card">{table}{said}
<details><summary>The rule behind the verdict</summary><p>{escape(RULE)}</p></details></div>"""


def _pictures(path: Path, done: int) -> str:
    """The first look against the one that was judged; the first, the middle and the last large; all as a film strip."""
    files = sorted((path / SAMPLES).glob("*.png"))
    if not files:
        return "<p>No look was taken.</p>"
    judged = next((file for file in files if int(file.stem) == done), files[-1])
    parts = [_rows_of(files[0])]
    if judged != files[0]:
        both = [(_large(file), _when(file)) for file in (files[0], judged)]
        parts.append(f'<div class="card compare">{slider(*both)}</div>')
    chosen = dict.fromkeys([files[0], files[len(files) // 2], files[-1]])
    large = "".join(
        f'<article class="card"><h3>{_when(file)}</h3>{_large(file)}{_plans(file)}</article>' for file in chosen
    )
    parts.append(f'<div class="cards">{large}</div>')
    return "\n".join([*parts, _film(files)])


def _rows_of(picture: Path) -> str:
    """Which prompt each row of a look is; nothing for looks of before that was kept."""
    prompts = [row["prompt"] for row in _told(picture)]
    items = "".join(f"<li>{escape(prompt)}</li>" for prompt in prompts)
    said = "Each row is a prompt, each column a noise. From the top:"
    return f'<p>{said}</p><ol class="rows">{items}</ol>' if prompts else ""


def _large(file: Path) -> str:
    return zoomable(thumbnail(file, width=WIDE), alt=_when(file), columns=_columns(file))


def _film(files: Sequence[Path]) -> str:
    """Every look in order, small; of very many, some."""
    if len(files) < 3:
        return ""
    last = len(files) - 1
    shown = list(files)
    if len(files) > MOST_FRAMES:
        shown = [files[round(number * last / (MOST_FRAMES - 1))] for number in range(MOST_FRAMES)]
    frames = "".join(
        figure(
            zoomable(thumbnail(file, width=FRAME), alt=_when(file), columns=_columns(file)),
            escape(file.stem.lstrip("0") or "0"),
        )
        for file in shown
    )
    some = "" if len(shown) == len(files) else f"; {len(shown)} of {len(files)}, all are in {SAMPLES}/"
    return f'<h3 class="above">Every look, by updates{some}</h3><div class="film">{frames}</div>'


def _columns(file: Path) -> int:
    """Pictures side by side in a look: those of a prompt."""
    return max((len(row["scores"].get("reward", ())) for row in _told(file) if "scores" in row), default=4)


def _told(picture: Path) -> list[dict[str, Any]]:
    """The JSON file beside a look's picture, a row for each prompt."""
    file = picture.with_suffix(".json")
    told: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return told


def _plans(picture: Path) -> str:
    """What the model said of a look's pictures before it drew them, the first of each prompt; nothing if it says none.

    All is in the JSON file beside the picture.
    """
    said = {row["prompt"]: row["said"][0] or "-" for row in _told(picture) if row.get("said")}
    return terms(said) if said else ""


def _when(file: Path) -> str:
    done = int(file.stem)
    return "before training" if done == 0 else f"after {done} update{'' if done == 1 else 's'}"


def _curves(lines: Sequence[dict[str, Any]]) -> str:
    cards = []
    for name, words in _shown(lines).items():
        points = [(line["update"], float(line[name])) for line in lines if line.get(name) is not None]
        values = [value for _, value in points]
        if len(values) > 1 and any(value != values[0] for value in values):
            drawn = curve(values, label=words, at=[update for update, _ in points], unit="update")
            ends = f"{values[0]:.4g} to {values[-1]:.4g}"
            cards.append(f'<article class="card"><h3>{escape(words)}</h3>{drawn}<p>{ends}</p></article>')
    return "\n".join(cards)


def _shown(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The metrics with a curve: those of SHOWN, and a reward's parts on the fixed prompts."""
    parts = dict.fromkeys(name for line in lines for name in line if name.startswith("look_reward_"))
    return SHOWN | {name: f"{name.removeprefix('look_reward_')}, raw, on the fixed prompts" for name in parts}


def _looks(folder: TrainingFolder) -> str:
    """Every look's means, to be sorted: the best by each measure is a click away."""
    rows = looks_table(folder)
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = [name.replace("_", " ") for name in names]
    return (
        f'<h2>Looks</h2><div class="card">{sortable(heads, [[row.get(name) for name in names] for row in rows])}</div>'
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return terms({name.replace("_", " "): _text(value) for name, value in settings.items() if value is not None})


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
