import pytest

from plaudit.methods.reno import RenoConfig
from plaudit.presets import reno
from plaudit.rewards.table import REWARDS, read_spec


@pytest.mark.parametrize(("preset", "lr"), [
    (reno.sd_turbo, 5.0), (reno.hyper_sd, 10.0), (reno.demo, 2.5), (reno.pocket, None),
])  # fmt: skip
def test_every_preset_is_the_published_setting_but_for_its_step(preset, lr):
    assert preset() == RenoConfig(steps=50, lr=lr, momentum=0.9, grad_clip=0.1, prior_weight=0.01)


def test_the_published_rewards_are_the_table_s_defaults():
    weights = reno.published_rewards()
    assert dict(read_spec(spec) for spec in reno.reward_specs()) == weights
    assert {name: REWARDS.find(name).facts["default_weight"] for name in weights} == weights
