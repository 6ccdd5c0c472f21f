"""An evaluation on disk: verdicts and scores in evaluation.json, the pictures beside it.

The file is replaced as a whole after every batch, pictures first, so that an evaluation that was stopped goes on
where it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from plaudit import __version__
from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.runs.files import finite, slug, write_json
from plaudit.runs.provenance import FORMAT, png_bytes, versions
from plaudit.suites.run import Judged, Scores

FILE = "evaluation.json"
OF_A_SEARCH = (
    "steps", "seconds", "lr", "momentum", "grad_clip", "prior_weight", "start_best_of", "patience", "guard_held_out",
)  # fmt: skip
"""settings that nothing reads where pictures are taken as they come"""


class EvaluationFolder:
    """The folder of one evaluation, new or to be continued."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings: what decides the verdicts; what of them does not, such as how many images at once, is dropped.

        Raises BadConfig if the folder holds something else.
        """
        self.path, self.settings = path, finite(_decisive(settings))
        self.judged: list[Judged] = []
        self._versions = versions()
        file = path / FILE
        if file.exists():
            self._continue(file)
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadConfig(f"{str(path)!r} is in use and holds no evaluation; choose another --out")

    def keep(self, judged: Sequence[Judged], images: Tensor) -> None:
        """Write a batch: its pictures (B, 3, H, W), then its verdicts."""
        for one, image in zip(judged, images, strict=True):
            name = f"{one.prompt_index:04d}-{one.image_index}-{slug(one.prompt)}.png"
            write_whole(self.path / "images" / name, png_bytes(image, self._provenance(one)))
        self.judged = sorted([*self.judged, *judged], key=lambda one: one.row)
        self._save(None)

    def finish(self, scores: Scores, about: Mapping[str, Any] | None = None) -> None:
        """Write the scores; `about`: what they are, as JSON types."""
        self._save(scores, about)

    def _provenance(self, one: Judged) -> dict[str, Any]:
        """What `plaudit generate --from-image` needs to draw the picture again."""
        return {
            "format": FORMAT,
            "plaudit": __version__,
            "prompt": one.prompt,
            "prompt_index": one.prompt_index,
            "image_index": one.image_index,
            "settings": {name: value for name, value in self.settings.items() if name != "sources"},
            "sources": self.settings.get("sources", {}),
            "versions": self._versions,
            "right": one.right,
            "reasons": list(one.reasons),
            "score": one.score,
        }

    def _save(self, scores: Scores | None, about: Mapping[str, Any] | None = None) -> None:
        content = {
            "settings": self.settings,
            "suite": None if about is None else dict(about),
            "scores": None if scores is None else asdict(scores),
            "judged": [asdict(one) for one in self.judged],
        }
        write_json(self.path / FILE, content)

    def _continue(self, file: Path) -> None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            # Older folders hold more than decides.
            settings, records = _decisive(content["settings"]), content["judged"]
            self.judged = [_judged(record) for record in records]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise BadConfig(f"{str(file)!r} is damaged; choose another --out, or delete it") from error
        if settings != json.loads(json.dumps(self.settings)):
            other = sorted(k for k in {*settings, *self.settings} if settings.get(k) != self.settings.get(k))
            raise BadConfig(
                f"{str(self.path)!r} holds an evaluation with another {', '.join(other)}; choose another --out"
            )


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that change no picture."""
    idle = {"batch_size", *(OF_A_SEARCH if settings.get("method") == "none" else ())}
    return {name: value for name, value in settings.items() if name not in idle}


def _judged(record: Mapping[str, Any]) -> Judged:
    """A verdict as it was kept. Older files have a task for a category, and no score."""
    known = {"category" if name == "task" else name: value for name, value in dict(record).items()}
    return Judged(**{**known, "reasons": tuple(known["reasons"])})
