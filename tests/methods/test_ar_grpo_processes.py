"""Two processes learn what one learns: gradients, the distribution reward and the controller are shared."""

from dataclasses import replace
from pathlib import Path

import pytest
from methods.learned_by_two import check_states, learned_by_two
from toy_tokens import Bright, ToyTokens, Wide

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.ar_grpo import ArGrpo, Judges
from plaudit.methods.ar_grpo_config import ArGrpoConfig

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


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned_by_two("methods.test_ar_grpo_processes", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(by_two: Path, name: str) -> None:
    alone, _ = trained(CONFIGS[name])
    check_states(by_two, name, alone.state())


def test_a_process_without_a_prompt_is_refused() -> None:
    with pytest.raises(BadConfig, match="2 processes share an update's prompts, and there are 1 of them"):
        ArGrpo(
            ToyTokens(),
            Judges(pictures=Bright()),
            ["a"],
            replace(_PLAIN, prompts_per_update=1),
            team=Team(rank=0, size=2),
        )
