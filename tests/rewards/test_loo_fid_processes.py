"""Two processes score as one does, and fail together."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rewards.class_clouds import as_images
from rewards.test_loo_fid import DATA, WAYS, reward_of
from safetensors.torch import load_file
from torch import Tensor

from plaudit.core.errors import PlauditError
from plaudit.core.team import Team
from plaudit.rewards.loo_fid import LeaveOneOutFID

PARTS = ((40, 104), (144, 0), (0, 144))
"""pictures of the first and of the second process, batch by batch"""


def scored(name: str, team: Team) -> tuple[LeaveOneOutFID, list[Tensor]]:
    reward, found = reward_of(WAYS[name], started=name != "window"), []
    for number, (first, _) in enumerate(PARTS):
        images = as_images(DATA.before[144 * number : 144 * (number + 1)].float())
        own = images if team.size == 1 else (images[:first], images[first:])[team.rank]
        found.append(reward(own, [""] * len(own), team))
    return reward, found


def breaks_at_second(team: Team) -> str:
    """What it says where only the second process's pictures are broken."""
    images = as_images(DATA.batch.float())[:4].clone()
    images[1] = torch.nan if team.rank == 1 else 0.0
    try:
        reward_of(WAYS["potential"])(images, [""] * 4, team)
    except PlauditError as error:
        return str(error)
    return "nothing"


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from rewards.test_loo_fid import WAYS
from rewards.test_loo_fid_processes import breaks_at_second, scored
from plaudit.core.team import Team
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{{folder}}/meeting", rank=rank, world_size=2)
team = Team(rank=rank, size=2)
for name in WAYS:
    reward, found = scored(name, team)
    state = {{f"state {{key}}": value for key, value in reward.state().items()}}
    scores = {{f"scores {{number}}": part for number, part in enumerate(found)}}
    save_file(scores | state, f"{{folder}}/{{name}} {{rank}}")
with open(f"{{folder}}/said {{rank}}", "w") as file:
    file.write(breaks_at_second(team))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]))
    launch = [sys.executable, "-c", script, str(folder)]
    running = [subprocess.Popen([*launch, str(rank)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    return folder


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_score_as_one(by_two, name) -> None:
    reward, expected = scored(name, Team())
    found = [load_file(by_two / f"{name} {rank}") for rank in (0, 1)]
    for number, (first, second) in enumerate(PARTS):
        parts = [one[f"scores {number}"] for one in found]
        assert [len(part) for part in parts] == [first, second]
        torch.testing.assert_close(torch.cat(parts), expected[number], rtol=1e-5, atol=1e-5)
    for key, value in reward.state().items():
        # Both processes go on from the very same numbers.
        assert torch.equal(found[0][f"state {key}"], found[1][f"state {key}"])
        if key not in ("directions", "basis"):
            torch.testing.assert_close(found[0][f"state {key}"], value, rtol=1e-9, atol=1e-9)


def test_broken_pictures_of_one_process_stop_both(by_two) -> None:
    for rank in (0, 1):
        assert "no finite features in 1 of 4 pictures" in (by_two / f"said {rank}").read_text()


def test_a_part_alone_scores_otherwise() -> None:
    alone = reward_of(replace(WAYS["potential"]))(as_images(DATA.before[:40].float()), [""] * 40)
    assert not torch.allclose(alone, scored("potential", Team())[1][0][:40], atol=1e-3)
