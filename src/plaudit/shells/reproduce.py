"""`plaudit reproduce`: a paper's headline claims, in miniature, measured."""

from dataclasses import dataclass, field
from pathlib import Path

from plaudit.shells.flags import Command, WrongUsage, nearest

SYSTEMS = ("reno",)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """All that `plaudit reproduce` takes."""

    system: str = field(metadata={"positional": 1, "placeholder": "SYSTEM"})
    """reno: reward-based noise optimisation"""
    quick: bool = False
    """a small version in about three minutes; its intervals are too wide to decide a claim"""
    out: Path = field(default=Path("runs/reproduce-reno"), metadata={"placeholder": "DIR"})
    """folder for everything measured; a second call with it goes on where the first stopped"""
    json: Path | None = field(default=None, metadata={"placeholder": "FILE"})
    """write the claims, measured against their bars, to this file"""


def run(options: ReproduceOptions) -> int:
    """Measure; the claims' own code says what it does and what came out."""
    if options.system not in SYSTEMS:
        hint = nearest(options.system, SYSTEMS) or f" Known: {', '.join(SYSTEMS)}."
        raise WrongUsage(f"no system named {options.system!r} can be reproduced.{hint}")
    from plaudit.claims.reno import reproduce

    return reproduce(options.out, quick=options.quick, json=options.json)


COMMAND = Command(
    name="reproduce",
    purpose=(
        "Measure a paper's claims on the pocket world, with seeds and intervals; say which bars are met.\n"
        "Shows its plan and the time left; may be stopped and started again."
    ),
    examples="""
plaudit reproduce reno --quick                          a look, in three minutes
plaudit reproduce reno --json reno.json                 the full measurement
""",
    options=ReproduceOptions,
    run=run,
)
