"""Several processes learn what one learns, also where rounds leave some of them without a prompt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from methods.learned_by_two import check_states, learned_by_two, metrics_in
from toy_plans import ToyPlans

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.plan_sft import Lessons, PlanSft, PlanSftConfig
from plaudit.methods.reasongen import ReasonGen
from plaudit.methods.reasongen_config import ReasonGenConfig

_PLAIN = ReasonGenConfig(
    updates=4, prompts_per_update=3, images_per_prompt=4, rounds=4, lr=0.02, batch_size=5, steps_per_pass=1,
    entropy_control="published", entropy_rate=0.1, entropy_limit=1.0, word_entropy=1.0, token_entropy=1.0,
)  # fmt: skip
CONFIGS = {
    "one step": _PLAIN,
    "many steps": replace(_PLAIN, passes=2, steps_per_pass=3, balance="segments", entropy_control="pi"),
    "guided": replace(_PLAIN, guidance=2.0, importance_cap=2.0, balance="images"),
    "lessons": PlanSftConfig(updates=4, lessons_per_update=3, held_out_share=0.0, drop=0.3, lr=0.02, warmup=0),
}
LESSONS = Lessons(
    prompts=("dark", "light", "very dark"), plans=("very dark", "light light", ""),
    tokens=torch.tensor([[0, 0, 0], [4, 4, 4], [0, 1, 0]]),
)  # fmt: skip


class Half:
    """1 for the lighter half of pictures: groups of equals come often."""

    differentiable = False

    def __call__(self, images, prompts):
        return (images.mean(dim=(1, 2, 3)) > 0.5).float()


def trained(
    config: ReasonGenConfig | PlanSftConfig, team: Team | None = None
) -> tuple[ReasonGen | PlanSft, list[dict[str, float]]]:
    one: ReasonGen | PlanSft
    if isinstance(config, PlanSftConfig):
        one = PlanSft(ToyPlans(), LESSONS, config, team=team)
    else:
        one = ReasonGen(ToyPlans(), Half(), ["dark", "light grey", "very dark", "not"], config, team=team)
    return one, [update.metrics() for update in one.updates()]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned_by_two("methods.test_reasongen_processes", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(by_two: Path, name: str) -> None:
    alone, metrics = trained(CONFIGS[name])
    if name != "lessons":
        assert max(one["rounds"] for one in metrics) > 1, "or no process is ever without a prompt"
    check_states(by_two, name, alone.state())
    for found, one in zip(metrics_in(by_two, name), metrics, strict=True):
        assert {**found, "seconds": 0.0} == pytest.approx({**one, "seconds": 0.0}, rel=1e-4, abs=1e-5)


def test_a_process_without_a_prompt_is_refused() -> None:
    with pytest.raises(BadConfig, match="2 processes share an update's prompts, and there are 1 of them"):
        ReasonGen(ToyPlans(), Half(), ["dark"], replace(_PLAIN, prompts_per_update=1), team=Team(rank=0, size=2))
