"""Plaudit: reward-driven text-to-image generation.

The names below are the library's front door. Each is imported when it is first used, so that `import
plaudit`, and with it every help page, does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit.core.errors import PlauditError
    from plaudit.generators.check import check_generator
    from plaudit.generators.generator import NoiseGenerator
    from plaudit.generators.table import load_generator, load_token_policy
    from plaudit.methods.ar_grpo import ArGrpo
    from plaudit.methods.ar_grpo_config import ArGrpoConfig
    from plaudit.methods.reno import BestSoFar, RenoConfig, Result, Step, optimise_noise
    from plaudit.methods.search import SearchConfig, best_of_n, evolve
    from plaudit.rewards.check import check_reward
    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward
    from plaudit.rewards.table import load_reward, load_rewards

__version__ = "0.1.0"

_HOMES = {
    "ArGrpo": "plaudit.methods.ar_grpo",
    "ArGrpoConfig": "plaudit.methods.ar_grpo_config",
    "BestSoFar": "plaudit.methods.reno",
    "NoiseGenerator": "plaudit.generators.generator",
    "PlauditError": "plaudit.core.errors",
    "RenoConfig": "plaudit.methods.reno",
    "Result": "plaudit.methods.reno",
    "Reward": "plaudit.rewards.reward",
    "SearchConfig": "plaudit.methods.search",
    "Step": "plaudit.methods.reno",
    "WeightedSum": "plaudit.rewards.mix",
    "best_of_n": "plaudit.methods.search",
    "check_generator": "plaudit.generators.check",
    "check_reward": "plaudit.rewards.check",
    "evolve": "plaudit.methods.search",
    "load_generator": "plaudit.generators.table",
    "load_reward": "plaudit.rewards.table",
    "load_rewards": "plaudit.rewards.table",
    "load_token_policy": "plaudit.generators.table",
    "optimise_noise": "plaudit.methods.reno",
}

__all__ = [
    "ArGrpo",
    "ArGrpoConfig",
    "BestSoFar",
    "NoiseGenerator",
    "PlauditError",
    "RenoConfig",
    "Result",
    "Reward",
    "SearchConfig",
    "Step",
    "WeightedSum",
    "__version__",
    "best_of_n",
    "check_generator",
    "check_reward",
    "evolve",
    "load_generator",
    "load_reward",
    "load_rewards",
    "load_token_policy",
    "optimise_noise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'plaudit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
