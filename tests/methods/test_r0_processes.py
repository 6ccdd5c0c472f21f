"""Two processes learn what one learns."""

from pathlib import Path

import pytest
from methods.learned_by_two import check_states, learned_by_two, metrics_in
from methods.toy_denoiser import toy_training
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


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned_by_two("methods.test_r0_processes", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(by_two: Path, name: str) -> None:
    alone, metrics = trained(CONFIGS[name])
    check_states(by_two, name, alone.state())
    for one, other in zip(metrics_in(by_two, name), metrics, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
