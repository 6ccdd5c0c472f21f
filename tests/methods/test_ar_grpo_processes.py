"""Two processes learn what one learns: gradients, the distribution reward and the controller are shared."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_tokens import Bright, ToyTokens, Wide

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.ar_grpo import ArGrpo, ArGrpoConfig, Judges

_PLAIN = ArGrpoConfig(
    updates=3, prompts_per_update=3, images_per_prompt=4, lr=0.02, batch_size=5, entropy_target=0.7, entropy_rate=0.1
)
CONFIGS = {
    "one step": _PLAIN,
    "many steps": replace(_PLAIN, passes=2, steps_per_pass=3, ratio="sequence", clip=0.01),
    "guided": replace(_PLAIN, guidance=2.0, importance_cap=2.0),
}


def trained(config: ArGrpoConfig, team: Team | None = None) -> tuple[ArGrpo, list[dict[str, float]]]:
    judges = Judges(pictures=Bright(), together=Wide())
    one = ArGrpo(ToyTokens(), judges, ["a", "to", "the", "fore"], config, team=team)
    return one, [update.metrics() for update in one.updates()]


SCRIPT = """
import json, sys
sys.path.insert(0, {tests!r})
from safetensors.torch import save_file
from methods.test_ar_grpo_processes import CONFIGS, trained
from plaudit.core.team import join_team, leave_team
team = join_team()
assert team.size == 2
for name, config in CONFIGS.items():
    one, metrics = trained(config, team)
    state = one.state()
    save_file(state, sys.argv[1] + "/" + name + str(team.rank))
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
    expected = alone.state()
    for rank in range(2):
        found = load_file(by_two / f"{name}{rank}")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_a_process_without_a_prompt_is_refused() -> None:
    with pytest.raises(BadConfig, match="2 processes share an update's prompts, and there are 1 of them"):
        ArGrpo(
            ToyTokens(),
            Judges(pictures=Bright()),
            ["a"],
            replace(_PLAIN, prompts_per_update=1),
            team=Team(rank=0, size=2),
        )
