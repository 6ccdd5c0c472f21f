"""R0's settings: what is refused, in one sentence and before anything is learned."""

import math
from dataclasses import replace

import pytest
import torch
from methods.toy_denoiser import SMALL, Brightness, ToyDenoising, toy_training, weights_of
from toys import Colour, Rounded

from plaudit.core.errors import BadConfig
from plaudit.core.team import Team
from plaudit.methods.r0 import R0Config
from plaudit.rewards.mix import WeightedSum


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"updates": 0}, "updates must be at least 1, got 0"),
        ({"images_per_update": 0}, "images_per_update must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"steps": ()}, r"steps are one or more counts of at least 1, got \[\]"),
        ({"steps": (4, 0)}, r"steps are one or more counts of at least 1, got \[4, 0\]"),
        ({"shift": 0.0}, "shift must be a positive number"),
        ({"eta": -0.1}, "eta is a share between 0"),
        ({"eta": 1.1}, "eta is a share between 0"),
        ({"eta": math.nan}, "eta is a share between 0"),
        ({"guidance_weight": -1.0}, "guidance_weight must be at least 0, got -1"),
        ({"detail_weight": math.inf}, "detail_weight must be at least 0"),
        ({"pull": math.nan}, "pull must be at least 0"),
        ({"drift_limit": -0.1}, "drift_limit must be at least 0"),
        ({"guidance_low": 0.0}, "guidance_low and guidance_high must rise between 0 and 1, got 0.0 and 0.98"),
        ({"guidance_low": 0.5}, "guidance_low and detail_high must rise"),
        ({"guidance_high": 1.5}, "guidance_low and guidance_high must rise"),
        ({"truncation": "first"}, "a truncation is one, all"),
        ({"normalise": "image"}, "normalise is latents, pixels or none, got 'image'"),
        ({"conflicts": "mgda"}, "conflicts is sum or pcgrad, got 'mgda'"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"grad_clip": -1.0}, "grad_clip must be a positive number"),
        ({"decay": "exponential"}, "decay is constant, linear or cosine"),
        ({"ema": 1.0}, "ema must be at least 0"),
    ],
)
def test_bad_settings_are_one_sentence(settings, says):
    with pytest.raises(BadConfig, match=says):
        replace(SMALL, **settings)


def test_the_learner_is_told_every_setting_of_its_own():
    config = R0Config(updates=7, lr=0.3, grad_clip=2.0, warmup=3, decay="linear", decay_to=0.2, ema=0.5)
    learning = config.learning()
    for name in ("updates", "lr", "grad_clip", "warmup", "decay", "decay_to", "ema"):
        assert getattr(learning, name) == getattr(config, name)
    assert learning.weight_decay == 0


class Nan(Brightness):
    def __call__(self, images, prompts):
        return super().__call__(images, prompts) * torch.tensor([math.nan if p == "ccc" else 1.0 for p in prompts])


def test_a_score_that_is_not_finite_is_said_before_anything_is_learned():
    one = toy_training(replace(SMALL, images_per_update=12, truncation="noised:2"), Nan())
    with pytest.raises(BadConfig, match="reward 'reward' is not finite for a picture of 'ccc'"):
        list(one.updates())
    assert torch.equal(weights_of(one), torch.zeros(13, 12))


def test_what_cannot_be_trained_is_said():
    with pytest.raises(BadConfig, match="R0 follows gradients, and the reward 'bytes' has none; use a differentiable"):
        toy_training(SMALL, WeightedSum({"colour": (1.0, Colour()), "bytes": (0.1, Rounded())}))
    with pytest.raises(BadConfig, match="R0 follows gradients, and the reward 'reward' has none"):
        toy_training(SMALL, Rounded())
    with pytest.raises(BadConfig, match="nothing to follow: every reward and guidance_weight is 0"):
        toy_training(replace(SMALL, guidance_weight=0.0), WeightedSum({"colour": (0.0, Colour())}))
    with pytest.raises(BadConfig, match="no prompt to learn from"):
        toy_training(SMALL, Colour(), prompts=[])
    with pytest.raises(BadConfig, match="'guidance' is what R0 calls a direction of its own"):
        toy_training(SMALL, WeightedSum({"guidance": (1.0, Colour())}))
    with pytest.raises(BadConfig, match="2 processes share an update's images, and there are 1 of them"):
        toy_training(replace(SMALL, images_per_update=1), Colour(), team=Team(rank=0, size=2))
    with pytest.raises(BadConfig, match="DDIM's rule is for models that preserve variance"):
        toy_training(replace(SMALL, rule="ddim"), Colour())
    frozen = ToyDenoising()
    frozen.denoiser.requires_grad_(False)
    with pytest.raises(BadConfig, match="its denoiser's parameters are all frozen"):
        toy_training(SMALL, Colour(), denoising=frozen)
