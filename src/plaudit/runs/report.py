"""The report of a run: one HTML file that needs nothing else, made from what the folder holds.

Pictures before and after, the plans that they were drawn after where the model writes any, the judge's word where it
understands the prompt, the reward at each step, the picture at several steps, rewards before and after, and every
setting.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.curves import curve
from plaudit.runs.folder import RunFolder
from plaudit.runs.records import ImageRecord, Opinion
from plaudit.runs.report_style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""the browser itself refuses anything from outside the file"""

NO_WORDS = "(no words)"
"""shown in place of a plan that the model ended at once"""

SMALL = 256
"""pictures up to this width are enlarged with hard pixel edges"""


def write_report(folder: RunFolder) -> Path:
    """Write report.html into the run's folder; returns its path."""
    write_whole(folder.report, page(folder).encode())
    return folder.report


def page(folder: RunFolder) -> str:
    """The report as HTML."""
    records = folder.records
    cards = "\n".join(_card(folder.path, record) for record in records)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(_title(records))}</title>
<style>{STYLE}</style>
</head>
<body>
{_header(folder)}
<h2>Before and after</h2>
<div class="cards">
{cards}
</div>
{_mean_table(records)}
{_settings(folder.manifest)}
</body>
</html>
"""


def _title(records: Sequence[ImageRecord]) -> str:
    prompts = list(dict.fromkeys(record.prompt for record in records))
    if not prompts:
        return "No image finished"
    others = len(prompts) - 1
    return prompts[0] + (f" and {others} other prompt{'s' if others > 1 else ''}" if others else "")


def _header(folder: RunFolder) -> str:
    records, manifest = folder.records, folder.manifest
    settings = manifest["settings"]
    figures = [(f"{len(records)}", "image" if len(records) == 1 else "images")]
    if records and settings["method"] != "none":
        improved = sum(record.total > record.first_total for record in records)
        figures.append((f"{improved} of {len(records)}", "improved under the rewards"))
    judged = [(r.before, r.after) for r in records if r.before and r.after]
    if judged:
        before, after = sum(b.right for b, _ in judged), sum(a.right for _, a in judged)
        figures.append((f"{before} → {after} of {len(judged)}", "right, says the exact judge"))
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
    before = _picture(root / record.before_file, "before", record.before, alt=f"before: {record.prompt}")
    after = _picture(root / record.file, f"step {record.best_step}", record.after, alt=f"after: {record.prompt}")
    label = f"reward at each step for {record.prompt}"
    return f"""<section class="card">
<h3>{escape(record.prompt)}{number}</h3>
{_plans(record)}
<div class="pair">{before}{after}</div>
{curve(record.trace, best_step=record.best_step, label=label)}
{_strip(root, record)}
<details><summary>Rewards before and after</summary><div class="wide">{_rewards(record)}</div></details>
</section>"""


def _plans(record: ImageRecord) -> str:
    """What the pictures were drawn after: once if it is the same of both."""
    if record.plan is None:
        return ""
    plans = {"plan": record.plan}
    if record.first_plan not in (None, record.plan):
        plans = {"plan before": record.first_plan or "", f"plan of step {record.best_step}": record.plan}
    items = "".join(f"<dt>{name}</dt><dd>{escape(plan) or NO_WORDS}</dd>" for name, plan in plans.items())
    return f'<dl class="plans">{items}</dl>'


def _picture(path: Path, caption: str, opinion: Opinion | None, *, alt: str) -> str:
    verdict = ""
    if opinion is not None:
        word = "right" if opinion.right else "wrong"
        reasons = "; ".join(opinion.reasons)
        verdict = f' <span class="verdict {word}">{word}</span> {escape(reasons)}'
    return f"<figure>{_image(path, alt=alt)}<figcaption>{escape(caption)}{verdict}</figcaption></figure>"


def _image(path: Path, *, alt: str, columns: int = 1) -> str:
    """The file itself, inside the page; a picture that is gone is said to be."""
    if not path.exists():
        return f"<p>{escape(path.name)} is no longer in the run's folder.</p>"
    content = path.read_bytes()
    # A PNG's header holds width and height at bytes 16 to 24.
    width, height = struct.unpack(">II", content[16:24])
    small = ' class="small"' if width <= SMALL * columns else ""
    data = base64.b64encode(content).decode()
    size = f'width="{width}" height="{height}"'
    return f'<img{small} {size} alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _strip(root: Path, record: ImageRecord) -> str:
    steps = record.strip_steps
    if record.strip_file is None or len(steps) < 2:
        return ""
    image = _image(root / record.strip_file, alt=f"the picture at several steps: {record.prompt}", columns=len(steps))
    labels = "".join(f"<span>{step}</span>" for step in steps)
    return f'<div class="strip"><div>{image}<div class="steps">{labels}</div></div></div>'


def _rewards(record: ImageRecord) -> str:
    rows = [_row(name, record.first_parts[name], value) for name, value in record.parts.items()]
    rows.append(_row("weighted sum", record.first_total, record.total, css="total"))
    return _table(("reward", "before", "after", "change"), rows)


def _row(name: str, before: float, after: float, *, extra: str = "", css: str = "") -> str:
    change = after - before
    direction = "up" if change > 0 else "down" if change < 0 else ""
    cells = f"<td>{escape(name)}</td><td>{before:.3f}</td><td>{after:.3f}</td>"
    return f'<tr class="{css}">{cells}<td class="{direction}">{change:+.3f}</td>{extra}</tr>'


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _mean_table(records: Sequence[ImageRecord]) -> str:
    if not records:
        return ""
    pairs = {n: [(r.first_parts[n], r.parts[n]) for r in records if n in r.parts] for n in records[0].parts}
    rows = [_mean_row(name, values) for name, values in pairs.items()]
    rows.append(_mean_row("weighted sum", [(r.first_total, r.total) for r in records], css="total"))
    table = _table(("reward, mean of all images", "before", "after", "change", "improved"), rows)
    return f'<h2>Rewards</h2><div class="card wide">{table}</div>'


def _mean_row(name: str, pairs: Sequence[tuple[float, float]], *, css: str = "") -> str:
    before, after = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    improved = sum(b < a for b, a in pairs)
    return _row(name, before, after, extra=f"<td>{improved} of {len(pairs)}</td>", css=css)


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
        items = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
        parts.append(f"<details><summary>{title}</summary><dl>{items}</dl></details>")
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
