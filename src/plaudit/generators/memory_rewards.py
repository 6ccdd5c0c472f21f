"""What a reward adds to a memory plan: its network, run without weights, or what is known of its weights alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from plaudit.core.registry import Entry
from plaudit.generators.random_rewards import random_reward
from plaudit.generators.shapes.networks import Scale
from plaudit.generators.shapes.rewards import PUBLISHED_REWARDS
from plaudit.generators.sizes_only import META
from plaudit.pocket.folders import POCKET_MODELS
from plaudit.rewards.reward import Reward
from plaudit.rewards.smoothed import Smoothed
from plaudit.rewards.specs import Spec, is_code, parse_spec
from plaudit.rewards.table import REWARDS, load_reward


@runtime_checkable
class WithNetwork(Protocol):
    """A reward whose memory can be counted."""

    model: nn.Module


@dataclass(frozen=True, kw_only=True)
class PlannedReward:
    """A reward without weights, as far as it can be run so."""

    name: str
    reward: Reward | None
    """None: it is not run, and what it uses beside its weights is not counted"""
    network: nn.Module | None
    weights: int = 0
    """bytes, where there is no network to count"""
    kind: str = ""
    """how far it is counted, where there is no network"""


def planned_reward(text: str, scale: Scale) -> PlannedReward:
    """The reward that a user names, on the "meta" device; `scale` is of published ones.

    A judge whose network is not known here counts by the weights that its row says; a user's own code, and what is on
    the hub and in no row, do not count. Raises UnknownName or BadConfig.
    """
    spec = parse_spec(text, REWARDS)
    if is_code(spec.name):
        return _not_run(spec, "not counted")
    row = REWARDS.row_of(spec.name)
    name = row.name if row is not None else spec.name
    if name in PUBLISHED_REWARDS:
        return _run(spec, *random_reward(name, device=META, scale=scale))
    if row is not None and not _is_embedded(row):
        megabytes = row.facts.get("memory_mb")
        return _not_run(spec, "weights alone", int(megabytes * 1e6)) if megabytes else _not_run(spec, "no network")
    if row is None and not Path(name).expanduser().is_dir():
        if "/" in name:
            return _not_run(spec, "not counted")
        REWARDS.find(name)
    reward = load_reward(name)
    if not isinstance(reward, WithNetwork):
        return _not_run(spec, "not counted")
    reward.model.to(META)
    return _run(spec, reward, reward.model)


def _run(spec: Spec, reward: Reward, network: nn.Module) -> PlannedReward:
    # Of the spec's options only this one takes memory.
    shown = Smoothed(reward, spec.smooth) if spec.smooth else reward
    return PlannedReward(name=spec.label, reward=shown, network=network)


def _not_run(spec: Spec, kind: str, weights: int = 0) -> PlannedReward:
    return PlannedReward(name=spec.label, reward=None, network=None, weights=weights, kind=kind)


def _is_embedded(row: Entry) -> bool:
    """Whether the row is a pocket model, whose folder is in the package."""
    return row.arguments.get("name") in POCKET_MODELS
