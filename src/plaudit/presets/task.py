"""What a preset of a training is: all it takes."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """All a training takes."""

    model: str
    """of the table, or a folder"""
    rewards: tuple[str, ...]
    """as NAME:WEIGHT"""
    held_out: str | None
    """a reward that is watched only"""
    prompts: tuple[str, ...]
    rank: int
    """of the LoRA; 0: every weight is trained"""
    alpha: float
    config: Any
    """the method's own"""
    origin: str
    """where the numbers come from"""
