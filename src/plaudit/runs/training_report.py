"""The report of a training: one HTML file with its curves, and the fixed prompts before and after."""

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.runs.curves import curve
from plaudit.runs.looks import SAMPLES
from plaudit.runs.report import POLICY
from plaudit.runs.report_style import STYLE
from plaudit.runs.training_folder import TrainingFolder

SHOWN = {
    "reward": "reward, of each update's images",
    "look_reward": "reward, on the fixed prompts",
    "look_held_out": "held-out reward, on the fixed prompts",
    "look_diversity": "diversity: distance of a prompt's pictures",
    "distribution_distance": "distance of all pictures from real ones, by the net that is trained on",
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
    "off_policy": "distance of what is learned from what was drawn, nats a token",
    "gradient_norm": "gradient norm before the clip",
}
"""metrics with a curve of their own"""


def write_training_report(folder: TrainingFolder) -> Path:
    """Write report.html into the training's folder; returns its path."""
    write_whole(folder.report, page(folder).encode())
    return folder.report


def page(folder: TrainingFolder) -> str:
    """The report as HTML."""
    lines, settings = folder.lines(), folder.manifest["settings"]
    title = f"{settings.get('preset', 'training')} on {settings.get('model', '')}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
<p>{escape(folder.manifest["status"])}, {len([it for it in lines if it["update"] > 0])} updates,
<code>{escape(folder.manifest["command"])}</code></p>{_ended(folder.manifest)}</header>
<h2>The same prompts and noises</h2>
<div class="cards">{_pictures(folder.path)}</div>
<h2>Curves</h2>
<div class="cards">{_curves(lines)}</div>
<h2>Settings</h2>
<table>{_rows(settings)}</table>
</body>
</html>
"""


def _ended(manifest: dict[str, Any]) -> str:
    """Why it ended before its time, if it did."""
    return f"<p>{escape(manifest['ended_early'])}.</p>" if manifest.get("ended_early") else ""


def _pictures(path: Path) -> str:
    """The first, the middle and the last look."""
    files = sorted((path / SAMPLES).glob("*.png"))
    chosen = dict.fromkeys([files[0], files[len(files) // 2], files[-1]]) if files else {}
    return "\n".join(
        f'<article class="card"><h3>{_when(file)}</h3>'
        f'<img alt="{_when(file)}" style="width:100%;image-rendering:pixelated" '
        f'src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">{_said(file)}</article>'
        for file in chosen
    )


def _said(picture: Path) -> str:
    """What the model said of a look's pictures before it drew them, the first of each prompt; nothing if it says none.

    All is in the JSON file beside the picture.
    """
    file = picture.with_suffix(".json")
    if not file.is_file():
        return ""
    told: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    rows = "".join(f"<dt>{escape(it['prompt'])}</dt><dd>{escape(it['said'][0]) or '-'}</dd>" for it in told)
    return f"<dl>{rows}</dl>"


def _when(file: Path) -> str:
    done = int(file.stem)
    return "before training" if done == 0 else f"after {done} updates"


def _curves(lines: Sequence[dict[str, Any]]) -> str:
    cards = []
    for name, words in SHOWN.items():
        values = [float(line[name]) for line in lines if line.get(name) is not None]
        if len(values) > 1 and any(value != values[0] for value in values):
            drawn = curve(values, best_step=-1, label=words)
            ends = f"{values[0]:.4g} to {values[-1]:.4g}"
            cards.append(f'<article class="card"><h3>{escape(words)}</h3>{drawn}<p>{ends}</p></article>')
    return "\n".join(cards)


def _rows(settings: dict[str, Any]) -> str:
    return "\n".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in settings.items()
    )
