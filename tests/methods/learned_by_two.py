"""Trainings by two processes of one team, to be compared with what one process learns."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from two_processes import run_by_two

SCRIPT = """
import json
import sys
sys.path.insert(0, {tests!r})
from safetensors.torch import save_file
from MODULE import CONFIGS, trained
from plaudit.core.team import join_team, leave_team
team = join_team(on_cpu=True)
assert team.size == 2
for name, config in CONFIGS.items():
    one, metrics = trained(config, team)
    save_file(one.state(), f"{{sys.argv[1]}}/{{name}}{{team.rank}}")
    with open(f"{{sys.argv[1]}}/{{name}}{{team.rank}}.json", "w") as file:
        json.dump(metrics, file)
team.wait()
leave_team()
"""


def learned_by_two(module: str, folder: Path) -> Path:
    """Where two processes left what they learned, by each of the module's CONFIGS with its `trained`."""
    return run_by_two(SCRIPT.replace("MODULE", module), folder)


def check_states(folder: Path, name: str, expected: dict[str, torch.Tensor]) -> None:
    """Fail unless both processes ended with this state."""
    for rank in range(2):
        found = load_file(folder / f"{name}{rank}")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


def metrics_in(folder: Path, name: str) -> list[dict[str, float]]:
    """What the leader said of each update."""
    return json.loads((folder / f"{name}0.json").read_text())
