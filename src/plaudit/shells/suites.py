"""The suite that a command names: loaded, with who scores it, and where all that came from."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.shells.flags import WrongUsage
from plaudit.suites.table import SUITES, has_detector, load_suite

if TYPE_CHECKING:
    import torch

    from plaudit.suites.suite import Suite


def check_detector(suite: str, detector: str | None) -> None:
    """Raises WrongUsage for a detector that nobody would ask."""
    if detector is None or has_detector(suite):
        return
    known = ", ".join(row.name for row in SUITES if has_detector(row.name))
    raise WrongUsage(f"--detector is for suites that a detector scores ({known}), and {suite!r} is none")


def suite_named(
    name: str, *, rewards: Sequence[str], device: "torch.device", folder: Path | None, detector: str | None
) -> "Suite":
    """As `load_suite`; says on stderr if its prompts are not the benchmark's own."""
    suite = load_suite(name, rewards=rewards, device=device, folder=folder, detector=detector)
    if suite.sources.get("pinned") is False:
        print(
            f"plaudit: the prompts of {suite.name} are read from a file that is not the pinned one; what comes out is "
            "not the benchmark's number",
            file=sys.stderr,
        )
    return suite


def scorer_sources(suite: "Suite") -> dict[str, Any]:
    """By role, which models judge and where they come from; nothing for rules, and for boards, whose rewards are told.

    Those that no picture takes yet are told as well, so that more categories can be judged later.
    """
    from plaudit.rewards.table import REWARDS
    from plaudit.runs.provenance import source_of
    from plaudit.suites.detectors_table import DETECTORS

    found = {}
    for role, name in suite.models.items():
        table = DETECTORS if role == "detector" else REWARDS
        row, source = table.row_of(name), source_of(table, name)
        # A pinned commit says which weights, before they are here as well as after.
        pinned = row is not None and row.revision is not None
        found[role] = {key: value for key, value in source.items() if key != "weights" or not pinned}
    return found
