"""The table of suites. To add one, add a row; nothing is imported until a row is built."""

from plaudit.core.registry import Entry, Registry

SUITES = Registry(
    "suite",
    [
        Entry(
            name="pocket",
            target="plaudit.suites.run:pocket",
            summary="PocketEval: GenEval's six tasks on the pocket world, scored by the exact judge",
            facts={"prompts": 553, "images_per_prompt": 4, "after": "GenEval, Ghosh et al. 2023"},
        ),
    ],
)
