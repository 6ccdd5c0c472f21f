"""A token policy as a generator: its noise decides everything, evenly."""

import pytest
import torch
from toy_tokens import Bright, ToyTokens

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.methods.search import SearchConfig, best_of_n


class Smooth(Bright):
    """Has a gradient."""

    differentiable = True


def test_the_same_noise_is_the_same_picture_alone_and_among_others():
    generator = TokenGenerator(ToyTokens())
    noise, condition = noise_for([(0, i) for i in range(4)], generator.noise_shape), generator.encode(["a", "to"] * 2)
    together = generator.sample(noise, condition)
    assert together.shape == (4, 3, 2, 2)
    for i in range(4):
        assert torch.equal(generator.sample(noise[i : i + 1], condition[[i]])[0], together[i])


def test_normal_noise_draws_tokens_as_often_as_the_policy_says():
    policy = ToyTokens(num_tokens=1, vocabulary=4)
    generator = TokenGenerator(policy)
    noise = noise_for([(0, i) for i in range(4000)], generator.noise_shape)
    greys = generator.sample(noise, generator.encode(["a"] * 4000))[:, 0, 0, 0]
    share = (greys * 3).round().long().bincount(minlength=4) / 4000
    wanted = policy.logits(policy.hidden(torch.zeros(1, 1, dtype=torch.long), policy.encode(["a"])))[0, 0].softmax(0)
    assert (share - wanted).abs().max() < 0.032


def test_sampling_options_are_applied():
    policy = ToyTokens(num_tokens=8)
    greedy = TokenGenerator(policy, Sampling(top_k=1))
    noise, condition = noise_for([(0, i) for i in range(3)], (8,)), policy.encode(["a"] * 3)
    images = greedy.sample(noise, condition)
    assert torch.equal(images[0], images[1])
    assert not torch.equal(*TokenGenerator(policy).sample(noise, condition)[:2])


def test_best_of_n_draws_with_it_and_following_gradients_is_refused():
    generator = TokenGenerator(ToyTokens())
    steps = list(best_of_n(generator, Bright(), ["a"], SearchConfig(forwards=8)))
    scores = [float(step.total.mean()) for step in steps]
    assert max(scores) > scores[0]
    with pytest.raises(BadConfig, match="follows gradients, and none reaches the noise of ToyTokens"):
        list(optimise_noise(generator, Smooth(), ["a"], RenoConfig(steps=2)))
