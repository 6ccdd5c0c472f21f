"""Two processes learn what one learns."""

from dataclasses import replace
from pathlib import Path

import pytest
from methods.learned_by_two import check_states, learned_by_two
from methods.toy_policy import Bright, ToyPolicy

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


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned_by_two("methods.test_rlcm_processes", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(by_two: Path, name: str) -> None:
    alone, _ = trained(CONFIGS[name])
    check_states(by_two, name, alone.state())


def test_a_process_without_a_prompt_is_refused() -> None:
    config = replace(CONFIGS["groups"], prompts_per_update=1)
    with pytest.raises(BadConfig, match="2 processes share an update's prompts, and there are 1 of them"):
        Rlcm(ToyPolicy(), Bright(), ["a"], config, team=Team(rank=0, size=2))
