"""Suites without right and wrong: prompts whose pictures are scored by rewards, each on its own scale.

A board tells something only of rewards that nobody followed while drawing or training: those that were followed go up
by construction. Its headline is therefore the held-out reward, if one is named.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.specs import parse_spec
from plaudit.rewards.table import REWARDS, load_rewards
from plaudit.suites.suite import Opinion, SuitePrompt

if TYPE_CHECKING:
    from plaudit.rewards.reward import Reward


class RewardBoard:
    """Scores by every reward, raw; the first is the headline. Keeps the Scorer contract."""

    def __init__(self, rewards: "Sequence[tuple[str, Reward]]") -> None:
        """By name, the headline first. Raises BadConfig if there is none."""
        self.rewards = WeightedSum({name: (1.0, reward) for name, reward in rewards})

    def __call__(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
        """One opinion per image (B, 3, H, W) in [0, 1]. Raises BadConfig if a reward gives no number."""
        with torch.no_grad():
            found = self.rewards.score_parts(images, [prompt.text for prompt in prompts])
        scores = {name: values.float().tolist() for name, values in found.items()}
        headline = next(iter(scores))
        for name, values in scores.items():
            for prompt, value in zip(prompts, values, strict=True):
                if not -torch.inf < value < torch.inf:
                    raise BadConfig(f"the reward {name!r} gave {value} for a picture of {prompt.text!r}; leave it out")
        return [
            Opinion(score=scores[headline][at], right=None, parts={name: scores[name][at] for name in scores})
            for at in range(len(prompts))
        ]


def load_board(specs: Sequence[str], *, device: torch.device | str | None = None) -> RewardBoard:
    """A board of the rewards that specs like "hps" or "imagereward:max=2" name; weights mean nothing on it.

    Raises as `load_rewards` does.
    """
    loaded = load_rewards(specs, device=device)
    return RewardBoard([(name, reward) for name, (_, reward) in loaded.raw_parts().items()])


def names_on(specs: Sequence[str]) -> tuple[str, ...]:
    """What a board calls the rewards of such specs. Raises BadConfig for none, or for one given twice."""
    names = tuple(parse_spec(spec, REWARDS).label for spec in specs)
    if not names:
        raise BadConfig("a reward board needs a reward to score by; name one with --reward")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadConfig(f"reward {twice[0]!r} is given twice; give it once")
    return names
