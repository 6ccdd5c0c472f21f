"""Two processes learn what one learns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from methods.toy_denoiser import toy_training
from safetensors.torch import load_file
from toys import Colour, Texture

from plaudit.core.team import Team
from plaudit.methods.r0 import R0, R0Config
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import Normalised

CONFIGS = {
    "plain": R0Config(updates=3, images_per_update=5, lr=0.01, batch_size=2),
    "pcgrad": R0Config(
        updates=3, images_per_update=4, lr=0.01, conflicts="pcgrad", ema=0.9, steps=(1, 4), detail_weight=0.5,
        truncation="all",
    ),
    "noised": R0Config(updates=3, images_per_update=3, lr=0.01, truncation="noised:2", normalise="pixels"),
}  # fmt: skip


def trained(config: R0Config, team: Team | None = None) -> tuple[R0, list[dict[str, float]]]:
    reward = WeightedSum({"colour": (1.0, Normalised(Colour())), "texture": (1.0, Texture())})
    one = toy_training(config, reward, team=team)
    return one, [{**update.metrics(), "seconds": 0.0} for update in one.updates()]


SCRIPT = """
import json
import sys
sys.path.insert(0, {tests!r})
from safetensors.torch import save_file
from methods.test_r0_processes import CONFIGS, trained
from plaudit.core.team import join_team, leave_team
team = join_team(on_cpu=True)
assert team.size == 2
for name, config in CONFIGS.items():
    one, metrics = trained(config, team)
    state = one.state()
    if team.leads:
        save_file(state, sys.argv[1] + "/" + name)
        with open(sys.argv[1] + "/" + name + ".json", "w") as file:
            json.dump(metrics, file)
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
    alone, metrics = trained(CONFIGS[name])
    expected, found = alone.state(), load_file(by_two / name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)
    for one, other in zip(json.loads((by_two / f"{name}.json").read_text()), metrics, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
