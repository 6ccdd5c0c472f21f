"""Builds the suites whose prompts are in lists: benchmarks with a scorer of their own, reward boards, a user's file."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from plaudit.suites.prompt_lists import load_list, own_list
from plaudit.suites.reward_board import load_board, names_on
from plaudit.suites.suite import Scorer, Suite


def scored_suite(
    *,
    name: str,
    prompts_of: str,
    scorer: str,
    about: Mapping[str, Any],
    device: torch.device | str | None = None,
    folder: Path | None = None,
) -> Suite:
    """A benchmark with a scorer of its own, "module:function", which is given the models of `about` by their roles.

    folder: where its prompts lie; None: as `load_list` looks for them.
    """
    prompts, sources = load_list(prompts_of, folder=folder)
    module, _, function = scorer.partition(":")
    models: Mapping[str, str] = about["models"]

    def build() -> Scorer:
        made: Scorer = getattr(importlib.import_module(module), function)(device=device, **models)
        return made

    return Suite(name=name, prompts=prompts, scorer=build, sources=sources, **about)


def board_suite(
    *,
    name: str,
    prompts_of: str,
    about: Mapping[str, Any],
    rewards: Sequence[str] = (),
    device: torch.device | str | None = None,
    folder: Path | None = None,
) -> Suite:
    """A benchmark's prompts, scored by the rewards that specs name, the headline first.

    Raises BadConfig if there is none.
    """
    parts = names_on(rewards)
    prompts, sources = load_list(prompts_of, folder=folder)
    return Suite(
        name=name,
        prompts=prompts,
        scorer=lambda: load_board(rewards, device=device),
        parts=parts,
        sources=sources,
        **about,
    )


def own_board(file: Path, *, rewards: Sequence[str], device: torch.device | str | None = None) -> Suite:
    """A user's own prompts, scored by the rewards that specs name, the headline first.

    Raises BadConfig if there is none, or the file cannot be read.
    """
    parts = names_on(rewards)
    prompts, sources = own_list(file)
    return Suite(
        name=file.name,
        prompts=prompts,
        scorer=lambda: load_board(rewards, device=device),
        images_per_prompt=1,
        overall="prompts",
        measures="rewards, each on its own scale",
        parts=parts,
        paper="",
        licence="",
        sources=sources,
    )
