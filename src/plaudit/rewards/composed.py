"""A reward with the options of its spec around it, innermost first: smoothing, cache, cap, normalisation."""

import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from plaudit.core.hub import MODEL_FILES, HubFiles, cached_folder
from plaudit.core.registry import Registry
from plaudit.pocket.folders import POCKET_MODELS, pocket_folder, user_cache
from plaudit.rewards.own import OwnReward, file_of
from plaudit.rewards.reward import Reward
from plaudit.rewards.specs import Spec, is_code

STORE = "scores.sqlite"
"""below the user's cache"""


@runtime_checkable
class Identified(Protocol):
    """A reward with settings that its row does not hold, such as the address that it asks."""

    identity: str
    """all of them that decide a score, as text"""


def composed(reward: Reward, spec: Spec, rows: Registry) -> Reward:
    """The reward as the spec wants it; itself, if it wants nothing. `rows` say the typical scale."""
    if spec.smooth:
        from plaudit.rewards.smoothed import Smoothed

        inner, reward = reward, Smoothed(reward, spec.smooth)
    else:
        inner = reward
    if spec.cache:
        from plaudit.rewards.cached import Cached
        from plaudit.rewards.score_store import ScoreStore

        own = inner.identity if isinstance(inner, Identified) else ""
        identity = f"{identity_of(spec.name, rows)}|{own}|smooth={spec.smooth}"
        reward = Cached(reward, ScoreStore(user_cache() / STORE), identity=identity)
    if spec.maximum is not None:
        from plaudit.rewards.capped import Capped

        reward = Capped(reward, spec.maximum)
    if spec.normalise is not None:
        from plaudit.rewards.normalised import Normalised

        reward = Normalised(reward, by=spec.normalise, scale=scale_of(spec.name, inner, rows))
    return reward


def scale_of(name: str, reward: Reward, rows: Registry) -> tuple[float, float] | None:
    """Where raw scores usually lie, by the row or by the reward of a user; None if nobody says."""
    if isinstance(reward, OwnReward):
        return reward.scale
    row = rows.row_of(name)
    if row is None:
        return None
    low, high = row.facts["raw_scale"]
    return float(low), float(high)


def identity_of(name: str, rows: Registry) -> str:
    """What tells a reward from all others, another version of the same one too."""
    row = rows.row_of(name)
    if row is not None:
        own = [value for value in row.arguments.values() if isinstance(value, str) and value in POCKET_MODELS]
        folders = [pocket_folder(value) for value in own]
        return "|".join([row.name, row.target, repr(sorted(row.arguments.items())), *map(_stamp, folders)])
    path = Path(name).expanduser()
    if path.is_dir():
        return f"{name}|{_stamp(path)}"
    # A folder of the hub's cache is named after its commit.
    place = file_of(name) if is_code(name) else cached_folder(HubFiles(hub_id=name, patterns=MODEL_FILES))
    return f"{name}|{_stamp(place) if place is not None else ''}"


def _stamp(path: Path) -> str:
    """Changes with any file at or below the path; reading gigabytes to know would take longer than a score."""
    files = [path] if path.is_file() else sorted(it for it in path.rglob("*") if it.is_file())
    found = [(os.path.realpath(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return repr(found)
