"""Two processes learn what one learns."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from methods.toy_policy import Bright, ToyPolicy
from safetensors.torch import load_file

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.rlcm import PUBLISHED_NUMBERS, Rlcm, RlcmConfig

CONFIGS = {
    "groups": RlcmConfig(updates=3, prompts_per_update=3, images_per_prompt=2, lr=0.01, steps_per_pass=2),
    "running": RlcmConfig(
        updates=3, prompts_per_update=5, images_per_prompt=1, lr=0.01, comparison="running", min_count=2, batch_size=2
    ),
    "rebel": RlcmConfig(
        updates=3, prompts_per_update=3, images_per_prompt=2, lr=0.01, objective="rebel", rebel_scale=PUBLISHED_NUMBERS
    ),
}


def trained(config: RlcmConfig, team: Team | None = None) -> tuple[Rlcm, list[dict[str, float]]]:
    one = Rlcm(ToyPolicy(), Bright(), ["a", "bb", "ccc"], config, team=team)
    return one, [update.metrics() for update in one.updates()]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from safetensors.torch import save_file
from methods.test_rlcm_processes import CONFIGS, trained
from plaudit.core.team import join_team, leave_team
team = join_team()
assert team.size == 2
for name, config in CONFIGS.items():
    one, metrics = trained(config, team)
    state = one.state()
    if team.leads:
        save_file(state, sys.argv[1] + "/" + name)
team.wait()
leave_team()
"""


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(script)]
    done = subprocess.run([*launch, str(folder)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(by_two: Path, name: str) -> None:
    alone, _ = trained(CONFIGS[name])
    expected, found = alone.state(), load_file(by_two / name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_a_process_without_a_prompt_is_refused() -> None:
    config = replace(CONFIGS["groups"], prompts_per_update=1)
    with pytest.raises(BadConfig, match="2 processes share an update's prompts, and there are 1 of them"):
        Rlcm(ToyPolicy(), Bright(), ["a"], config, team=Team(rank=0, size=2))
