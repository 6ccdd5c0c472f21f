"""What a run keeps about each image: one record, written to run.json and read by the report."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.methods.reno import Result

PlanOf = Callable[["Tensor"], str]
"""a picture's plan, of the noise (*noise_shape) that drew it"""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the exact judge says about a picture of the pocket world."""

    right: bool
    reasons: tuple[str, ...] = ()
    """why not"""


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One finished image. Paths are relative to the run folder; rewards are raw, totals weighted."""

    row: int
    prompt: str
    prompt_index: int
    image_index: int
    file: str
    """the best picture, native size, PNG"""
    before_file: str
    """the picture before any step"""
    strip_file: str | None
    """pictures at `strip_steps`, side by side"""
    strip_steps: tuple[int, ...]
    first_total: float
    total: float
    first_parts: Mapping[str, float]
    parts: Mapping[str, float]
    best_step: int
    trace: tuple[float, ...]
    """the total at each step"""
    parts_trace: Mapping[str, tuple[float, ...]]
    before: Opinion | None
    """the judge's word, if the prompt is about the pocket world"""
    after: Opinion | None
    skipped: int
    """updates left out because their gradient was not finite"""
    seconds: float
    plan: str | None = None
    """what the best picture was drawn after, of a model that writes plans; None: there was none"""
    first_plan: str | None = None
    """the same of the picture before any step"""

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types."""
        return asdict(self)


def record_from_json(content: Mapping[str, Any]) -> ImageRecord:
    """The record that `to_json` wrote. Raises BadConfig if it is not one."""
    # Runs of before there were models that plan say nothing of plans.
    missing = {field.name for field in fields(ImageRecord) if field.default is MISSING} - set(content)
    if missing:
        raise BadConfig(f"a record in run.json lacks {', '.join(sorted(missing))}; the file is damaged")
    known = {field.name: content[field.name] for field in fields(ImageRecord) if field.name in content}
    for name in ("strip_steps", "trace"):
        known[name] = tuple(_number(value) for value in known[name])
    known["parts_trace"] = {k: tuple(map(_number, v)) for k, v in known["parts_trace"].items()}
    for name in ("before", "after"):
        if known[name] is not None:
            known[name] = Opinion(right=known[name]["right"], reasons=tuple(known[name]["reasons"]))
    for name in ("first_total", "total"):
        known[name] = _number(known[name])
    return ImageRecord(**known)


def opinions(prompt: str, images: "Tensor") -> list[Opinion] | None:
    """The judge's word on each image, (B, 3, H, W) in [0, 1]; None for a prompt of another world."""
    from plaudit.pocket.prompts import parse

    request = parse(prompt)
    if request is None:
        return None
    from plaudit.pocket.judge import judge

    verdicts = judge(images, [request] * len(images))
    return [Opinion(right=verdict.right, reasons=tuple(verdict.reasons)) for verdict in verdicts]


def record_of(result: "Result", *, name: str, strip_file: str | None, plan_of: PlanOf | None = None) -> ImageRecord:
    """The record of a finished image whose files are called `name`; `plan_of`: where pictures have plans."""
    import torch

    said = opinions(result.prompt, torch.stack([result.first_image, result.image]))
    before, after = said if said else (None, None)
    return ImageRecord(
        row=result.row,
        prompt=result.prompt,
        prompt_index=result.prompt_index,
        image_index=result.image_index,
        file=f"images/{name}",
        before_file=f"before/{name}",
        strip_file=strip_file,
        strip_steps=tuple(step for step, _ in result.strip),
        first_total=result.first_total,
        total=result.total,
        first_parts=dict(result.first_parts),
        parts=dict(result.parts),
        best_step=result.best_step,
        trace=tuple(result.trace),
        parts_trace={key: tuple(values) for key, values in result.parts_trace.items()},
        before=before,
        after=after,
        skipped=result.skipped,
        seconds=result.seconds,
        plan=plan_of(result.noise) if plan_of else None,
        first_plan=plan_of(result.first_noise) if plan_of else None,
    )


def _number(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    return float("nan") if value is None else value
