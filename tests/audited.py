"""What every training must leave of its audit, whatever its method."""

import json
from pathlib import Path

WORDS = ("improved", "hacked", "worse", "unchanged", "cannot tell")


def check_audited(folder: Path) -> None:
    """The verdict and what it rests on are in run.json, the model card, the report and its tables; prompts are kept."""
    manifest = json.loads((folder / "run.json").read_text())
    verdict, page = manifest["verdict"], (folder / "report.html").read_text()
    assert verdict["word"] in WORDS
    assert {"reward", "diversity", "drift", "saturation"} <= {change["name"] for change in verdict["changes"]}
    assert f"**Verdict: {verdict['word']}.**" in (folder / "README.md").read_text()
    assert f"<strong>{verdict['word']}</strong>" in page
    assert "<h2>Audit sheet</h2>" in page
    assert verdict["rule"] in page
    for name in ("audit", "looks"):
        assert len((folder / f"{name}.csv").read_text().splitlines()) > 1
    assert (folder / "training_prompts.txt").read_text().strip()
    assert {"overlaps", "held_against", "follows"} <= set(manifest)
