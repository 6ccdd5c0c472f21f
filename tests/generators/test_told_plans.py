"""What was drawn is remembered by its noise, with the plan that was written for it."""

import pytest
import torch
from tiny_janus import load_tiny

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.told_plans import ToldPlans
from plaudit.methods.reno import RenoConfig, optimise_noise

PROMPTS = ["a red circle", "two blue squares left of a white ring", "a star"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_tiny(tmp_path_factory.mktemp("janus") / "tiny")


def noise(generator, *key):
    return noise_for([(*key, row) for row in range(len(PROMPTS))], generator.noise_shape)


def test_it_draws_what_the_generator_draws_and_tells_its_plans(policy):
    generator = PlanGenerator(policy)
    told = ToldPlans(generator)
    assert isinstance(told, NoiseGenerator)
    condition = told.encode(PROMPTS)
    one, other = noise(told, 1), noise(told, 2)
    assert torch.equal(told.sample(one, condition), generator.sample(one, condition))
    told.sample(other, condition)
    assert [told.plan_of(row) for row in one] == generator.plans(one, condition)
    assert [told.plan_of(row) for row in other] == generator.plans(other, condition)
    assert len({told.plan_of(row) for row in (*one, *other)}) > 3


def test_a_plan_is_found_by_the_bits_of_its_noise_alone(policy):
    told = ToldPlans(PlanGenerator(policy))
    drawn = noise(told, 1)
    told.sample(drawn, told.encode(PROMPTS))
    assert told.plan_of(drawn.t().contiguous().t()[1]) == told.plan_of(drawn[1].clone())
    with pytest.raises(KeyError):
        told.plan_of(drawn[1].nextafter(torch.tensor(9.0)))


def test_what_is_forgotten_is_all_but_the_last_calls(policy):
    told = ToldPlans(PlanGenerator(policy))
    condition = told.encode(PROMPTS)
    one, other = noise(told, 1), noise(told, 2)
    told.sample(one, condition)
    told.sample(other, condition)
    told.forget_older()
    assert told.plan_of(other[0])
    with pytest.raises(KeyError):
        told.plan_of(one[0])
    told.sample(one, condition)
    assert told.plan_of(other[0])


def test_a_generator_knows_whether_it_draws_after_plans(policy):
    direct = PlanSampling(plan=False)
    assert PlanGenerator(policy).planned
    assert not PlanGenerator(policy, direct).planned
    assert PlanGenerator(policy, direct, plan="a red star").planned


def test_following_a_gradient_is_refused_as_of_the_generator_itself(policy):
    class Bright:
        differentiable = True

        def __call__(self, images, prompts):
            return images.mean(dim=(1, 2, 3))

    with pytest.raises(BadConfig, match="none reaches the noise of Janus"):
        optimise_noise(ToldPlans(PlanGenerator(policy)), Bright(), PROMPTS, RenoConfig(steps=2))
