"""What a model will need of a GPU's memory, in words: before any weight is loaded."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plaudit.generators.memory_plan import CardPlan, KeptForGradient, MemoryPlan, PartSize
    from plaudit.generators.memory_settings import MemorySettings

GB, MB = 2**30, 2**20


def as_json(plan: "MemoryPlan") -> str:
    """The plan as one JSON object; bytes as numbers."""
    found = asdict(plan)
    for row, kept in zip(found["kept"], plan.kept, strict=True):
        row["total"] = kept.total
    return json.dumps(found, ensure_ascii=False)


def as_text(plan: "MemoryPlan") -> str:
    """The plan as a page for a terminal."""
    steps = f"{plan.steps} step{'s' * (plan.steps > 1)}"
    images = "1 image" if plan.batch_size == 1 else f"{plan.batch_size} images"
    lines = [
        f"{plan.model}, {plan.image_size} x {plan.image_size} pixels in {steps}, {plan.dtype}",
        "",
        f"{'network':<18}{'class':<30}{'parameters':>12}{'bytes':>10}",
        *(_part_line(part) for part in (*plan.parts, *plan.rewards)),
        "",
        "kept for the gradient of one image, without rewards",
        f"{'precision':<12}{'checkpointing':<15}{'decoder':<9}{'denoiser':>11}{'decoder':>11}{'all':>11}",
        *(_kept_line(kept) for kept in plan.kept),
        "",
        f"at most in use with {images} at once, {in_words(plan.settings)}, weights included",
        f"  drawn      {in_gigabytes(plan.peak_generate)}",
        f"  optimised  {in_gigabytes(plan.peak_optimise)}",
        "",
        "what fits a GPU when images are optimised (1 GB and a twentieth are left to driver and allocator)",
        *(_card_line(card) for card in plan.cards),
    ]
    return "\n".join(lines)


def in_words(settings: "MemorySettings") -> str:
    """What the settings do, in a phrase."""
    return ", ".join(_phrases(settings))


def in_gigabytes(count: int) -> str:
    """Bytes as "1.23 GB" """
    return f"{count / GB:.2f} GB"


def _phrases(settings: "MemorySettings") -> Iterator[str]:
    if settings.offload != "blocks":
        yield "checkpointing" if settings.checkpointing else "no checkpointing"
    if settings.slicing:
        yield "images decoded one by one"
    if settings.tiling is not None:
        yield f"in tiles of {settings.tiling} pixels"
    if settings.tiny_decoder is not None:
        yield "a tiny decoder for gradients"
    if settings.offload == "text":
        yield "text encoders on the CPU"
    if settings.offload == "blocks":
        yield "blocks of all networks on the CPU"


def _part_line(part: "PartSize") -> str:
    count = "" if part.parameters is None else f"{part.parameters / 1e6:.1f} M"
    return f"{part.name:<18}{part.kind:<30}{count:>12}{in_gigabytes(part.bytes):>10}"


def _kept_line(kept: "KeptForGradient") -> str:
    checkpointing, decoder = "on" if kept.checkpointing else "off", "lean" if kept.lean else "plain"
    sizes = (kept.denoiser, kept.decoder, kept.total)
    return f"{kept.dtype:<12}{checkpointing:<15}{decoder:<9}" + "".join(f"{size / MB:>8.0f} MB" for size in sizes)


def _card_line(card: "CardPlan") -> str:
    if card.settings is None:
        return f"  {card.gigabytes:>3g} GB  nothing that is known here"
    images = "image" if card.batch_size == 1 else "images"
    words = f"{card.batch_size} {images} at once, {card.settings.dtype}, {in_words(card.settings)}"
    return f"  {card.gigabytes:>3g} GB  {words} ({in_gigabytes(card.peak)})"
