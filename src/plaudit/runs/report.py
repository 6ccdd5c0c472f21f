"""The report of a run: one HTML file that needs nothing else, made from what the folder holds.

Pictures before and after under a slider, the plans that they were drawn after where the model writes any, the judge's
word where it understands the prompt, the reward at each step, the picture at several steps, rewards before and after,
and every setting. Its tables lie beside it as CSV and JSON.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.curves import curve
from plaudit.runs.folder import RunFolder
from plaudit.runs.records import ImageRecord, Opinion
from plaudit.runs.report_page import document
from plaudit.runs.report_tables import where_they_are, write_tables
from plaudit.runs.report_widgets import Cell, Value, change_cell, figure, slider, sortable, terms, zoomable_file

NO_WORDS = "(no words)"
"""shown in place of a plan that the model ended at once"""
LONG_PROMPT = 60
"""letters of a prompt that a table shows"""


def write_report(folder: RunFolder) -> Path:
    """Write report.html into the run's folder, and its tables beside it; returns its path."""
    write_tables(folder.path, tables(folder))
    write_whole(folder.report, page(folder).encode())
    return folder.report


def tables(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """By file name: the rewards' means over all images, and the images one by one."""
    return {"rewards": mean_rows(folder.records), "images": [_image_row(record) for record in folder.records]}


def page(folder: RunFolder) -> str:
    """The report as HTML."""
    records = folder.records
    cards = "\n".join(_card(folder.path, record) for record in records)
    body = f"""{_header(folder)}
<main>
<h2>{"Before and after" if _improves(folder) else "Pictures"}</h2>
<div class="cards">
{cards}
</div>
{_mean_table(records)}
{_image_table(records)}
{where_they_are(tables(folder))}
{_settings(folder.manifest)}
</main>"""
    return document(_title(records), body)


def _title(records: Sequence[ImageRecord]) -> str:
    prompts = list(dict.fromkeys(record.prompt for record in records))
    if not prompts:
        return "No image finished"
    others = len(prompts) - 1
    return prompts[0] + (f" and {others} other prompt{'s' if others > 1 else ''}" if others else "")


def _improves(folder: RunFolder) -> bool:
    """Whether there is a before and an after at all."""
    return bool(folder.manifest["settings"]["method"] != "none")


def _header(folder: RunFolder) -> str:
    records, manifest = folder.records, folder.manifest
    settings = manifest["settings"]
    figures = [(f"{len(records)}", "image" if len(records) == 1 else "images")]
    if records and _improves(folder):
        improved = sum(record.total > record.first_total for record in records)
        figures.append((f"{improved} of {len(records)}", "improved under the rewards"))
    judged = [(r.before, r.after) for r in records if r.before and r.after]
    if judged:
        before, after = sum(b.right for b, _ in judged), sum(a.right for _, a in judged)
        right = f"{before} → {after}" if _improves(folder) else f"{after}"
        figures.append((f"{right} of {len(judged)}", "right, says the exact judge"))
    figures.append((_duration(manifest["seconds"]), "drawing"))
    items = "".join(f"<li><strong>{escape(n)}</strong><span>{escape(w)}</span></li>" for n, w in figures)
    unfinished = "" if manifest["status"] == "finished" else f" · {escape(manifest['status'])}"
    facts = ("Plaudit", settings["model"], settings["method"], manifest["started"][:10])
    return f"""<header>
<p>{escape(" · ".join(facts))}{unfinished}</p>
<h1>{escape(_title(records))}</h1>
<ul class="figures">{items}</ul>
</header>"""


def _card(root: Path, record: ImageRecord) -> str:
    number = f" <small>· image {record.image_index + 1}</small>" if record.image_index else ""
    label = f"reward at each step for {record.prompt}"
    return f"""<section class="card">
<h3>{escape(record.prompt)}{number}</h3>
{_plans(record)}
{_pair(root, record)}
{curve(record.trace, best_step=record.best_step, label=label)}
{_strip(root, record)}
<details><summary>Rewards before and after</summary>{_rewards(record)}</details>
</section>"""


def _plans(record: ImageRecord) -> str:
    """What the pictures were drawn after: once if it is the same of both."""
    if record.plan is None:
        return ""
    plans = {"plan": record.plan}
    if record.first_plan not in (None, record.plan):
        plans = {"plan before": record.first_plan or "", f"plan of step {record.best_step}": record.plan}
    return terms({name: plan or NO_WORDS for name, plan in plans.items()}, css="plans")


def _pair(root: Path, record: ImageRecord) -> str:
    """The two pictures under a slider; the one alone if no step was taken or none was better."""
    before, after = root / record.before_file, root / record.file
    if record.best_step == 0 and after.exists():
        only = "" if len(record.trace) < 2 else "the first step is the best"
        picture = zoomable_file(after, alt=f"the picture: {record.prompt}")
        return figure(picture, f"{only}{_said(record.after)}", css="alone")
    both = (
        (zoomable_file(before, alt=f"before: {record.prompt}"), f"before{_said(record.before)}"),
        (zoomable_file(after, alt=f"after: {record.prompt}"), f"step {record.best_step}{_said(record.after)}"),
    )
    whole = before.exists() and after.exists()
    return slider(*both) if whole else f'<div class="pair">{figure(*both[0])}{figure(*both[1])}</div>'


def _word(opinion: Opinion | None) -> str | None:
    return None if opinion is None else "right" if opinion.right else "wrong"


def _said(opinion: Opinion | None) -> str:
    """The judge's word on a picture, and why."""
    word = _word(opinion)
    if opinion is None or word is None:
        return ""
    return f' <span class="verdict {word}">{word}</span> {escape("; ".join(opinion.reasons))}'


def _strip(root: Path, record: ImageRecord) -> str:
    steps = record.strip_steps
    if record.strip_file is None or len(steps) < 2:
        return ""
    alt = f"the picture at steps {', '.join(map(str, steps))}: {record.prompt}"
    image = zoomable_file(root / record.strip_file, alt=alt, columns=len(steps))
    labels = "".join(f"<span>{step}</span>" for step in steps)
    return f'<div class="strip"><div>{image}<div class="steps">{labels}</div></div></div>'


def _rewards(record: ImageRecord) -> str:
    rows = [_row(name, record.first_parts[name], value) for name, value in record.parts.items()]
    total = _row("weighted sum", record.first_total, record.total)
    return sortable(("reward", "before", "after", "change"), rows, foot=total)


def _row(name: str, before: float, after: float) -> list[Value | Cell]:
    return [name, before, after, change_cell(after - before)]


def mean_rows(records: Sequence[ImageRecord]) -> list[dict[str, Any]]:
    """Of each reward, and last of their weighted sum, the means over all images, and how many images it rose for."""
    if not records:
        return []
    pairs = {n: [(r.first_parts[n], r.parts[n]) for r in records if n in r.parts] for n in records[0].parts}
    pairs["weighted sum"] = [(r.first_total, r.total) for r in records]
    return [
        {
            "reward": name,
            "before": sum(before for before, _ in both) / len(both),
            "after": sum(after for _, after in both) / len(both),
            "improved": sum(before < after for before, after in both),
            "images": len(both),
        }
        for name, both in pairs.items()
    ]


def _image_row(record: ImageRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "row": record.row, "prompt": record.prompt, "image": record.image_index + 1, "file": record.file,
        "best step": record.best_step, "before": record.first_total, "after": record.total,
    }  # fmt: skip
    for name, value in record.parts.items():
        row |= {f"{name} before": record.first_parts[name], f"{name} after": value}
    for when, opinion in (("before", record.before), ("after", record.after)):
        if opinion is not None:
            row[f"right {when}"] = opinion.right
    return row | {"seconds": record.seconds}


def _mean_table(records: Sequence[ImageRecord]) -> str:
    if not records:
        return ""
    *rows, total = [
        [*_row(it["reward"], it["before"], it["after"]), Cell(text=f"{it['improved']} of {it['images']}",
                                                              value=it["improved"])]
        for it in mean_rows(records)
    ]  # fmt: skip
    heads = ("reward, mean of all images", "before", "after", "change", "improved")
    return f'<h2>Rewards</h2><div class="card">{sortable(heads, rows, foot=total)}</div>'


def _image_table(records: Sequence[ImageRecord]) -> str:
    """The images as rows, for those who look for the best or the worst; of one image there is nothing to sort."""
    if len(records) < 2:
        return ""
    judged = any(record.after for record in records)
    rows: list[list[Value | Cell]] = []
    for record in records:
        shown = record.prompt if len(record.prompt) <= LONG_PROMPT else record.prompt[:LONG_PROMPT] + "…"
        row: list[Value | Cell] = [Cell(text=shown, value=record.prompt), record.image_index + 1, record.best_step]
        row += _row("", record.first_total, record.total)[1:]
        if judged:
            row += [_word(record.before), _word(record.after)]
        rows.append(row)
    heads = ["prompt", "image", "best step", "before", "after", "change", *(["judged before", "after"] * judged)]
    return f'<h2>Images</h2><div class="card">{sortable(heads, rows)}</div>'


def _settings(manifest: Mapping[str, Any]) -> str:
    settings = {k: v for k, v in manifest["settings"].items() if k != "prompts" and v is not None}
    groups = {
        "Settings": {k.replace("_", " "): _text(v) for k, v in settings.items()},
        "Models": {kind: _text(source) for kind, source in _sources(manifest["sources"])},
        "Versions": manifest["versions"],
        "Hardware": {k: _text(v) for k, v in manifest["hardware"].items() if v not in (None, [], "")},
    }
    parts = [f"<h2>How it was made</h2><p><code>{escape(manifest['command'])}</code></p>"]
    for title, rows in groups.items():
        told = terms({str(k): str(v) for k, v in rows.items()})
        parts.append(f"<details><summary>{title}</summary>{told}</details>")
    return "\n".join(parts)


def _sources(sources: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rewards = [(f"reward {i + 1}", reward) for i, reward in enumerate(sources["rewards"])]
    held_out = [("held out", sources["held_out"])] if sources.get("held_out") else []
    return [("model", sources["model"]), *rewards, *held_out]


def _text(value: Any) -> str:
    """A setting in words: lists with commas, a source as name, revision and the start of each checksum."""
    if isinstance(value, Mapping):
        sums = [f"{Path(file).name} sha256 {digest[:12]}" for file, digest in value.get("weights", {}).items()]
        weight = f"weight {value['weight']:g}" if "weight" in value else None
        facts = [
            value.get("name"),
            weight,
            value.get("hub_id"),
            value.get("revision"),
            value.get("licence"),
            *sums,
        ]
        facts += [f"with {patch['path']} x {patch['scale']:g}, {_text(patch)}" for patch in value.get("patches", ())]
        return ", ".join(str(fact) for fact in facts if fact)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
