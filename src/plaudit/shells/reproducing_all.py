"""`plaudit reproduce all`: every system in turn, and one page that sets all claims beside the papers'."""

import importlib
from dataclasses import replace
from pathlib import Path

from plaudit.core.errors import PlauditError
from plaudit.shells.flags import WrongUsage
from plaudit.shells.reproduce import SYSTEMS, ReproduceOptions, as_table, say


def run(options: ReproduceOptions) -> int:
    """Measure what is not measured yet, system by system, and write every report and the page on all of them.

    A system that cannot be measured loses nothing of the others: what stood in its way is said at the end, and the exit
    code is 1.
    """
    if options.model is not None:
        raise WrongUsage("each system is reproduced on its own models; leave --model out")
    if options.json is not None and options.json.is_file():
        raise WrongUsage(f"--json of all systems is a folder, and {str(options.json)!r} is a file")
    from plaudit.claims.overview import write_overview

    failed: dict[str, str] = {}
    for system in SYSTEMS:
        one = options_of(system, options)
        if options.page_only and not one.file.exists():
            say(f"{system}: no report in {str(one.file.parent)!r}, so no page; without --page-only it is measured")
            continue
        say(f"== {system}")
        try:
            claims, written = importlib.import_module(SYSTEMS[system]).run(one)
        except PlauditError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise
            failed[system] = str(error)
            say(f"{system} is left out: {error}")
            continue
        print(f"{system}\n{as_table(claims)}\n\nwritten: " + ", ".join(str(path) for path in written) + "\n")
    page = write_overview(results_folder(options))
    print(f"written: {page}")
    for system, why in failed.items():
        say(f"{system} is not in it anew: {why}")
    return 1 if failed else 0


def options_of(system: str, options: ReproduceOptions) -> ReproduceOptions:
    """What one of the systems is asked: its own folder below --out, its report in the folder of all reports."""
    own = replace(options, system=system, out=_below(options) / f"reproduce-{system}", json=None)
    return replace(own, json=results_folder(options) / f"{system}.json")


def results_folder(options: ReproduceOptions) -> Path:
    """Where reports and pages go."""
    return options.json or _below(options) / "results"


def _below(options: ReproduceOptions) -> Path:
    return options.out or Path("runs")
