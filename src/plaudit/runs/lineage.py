"""What all the trainings behind a model were taught and followed: its own, and those of the models it began with.

A training writes down the prompts that it learns from, so that any suite can be held against them later, also one whose
prompts came to this machine after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.core.whole_files import write_whole
from plaudit.rewards.same_reward import identity
from plaudit.runs.files import read_json
from plaudit.suites.prompt_overlap import overlaps

PROMPTS = "training_prompts.txt"
LESSONS = "plans"
"""the method that follows no reward, but watches some"""


def write_training_prompts(folder: Path, prompts: Iterable[str]) -> None:
    """Write the prompts that a training learns from, each once, one a line."""
    lines = dict.fromkeys(" ".join(prompt.split()) for prompt in prompts)
    write_whole(folder / PROMPTS, "".join(f"{line}\n" for line in lines).encode())


def trainings_behind(model: str | Path | None) -> tuple[Path, ...]:
    """The folders of the trainings that made a model, the last first; none for one that is no training's."""
    return tuple(_manifests_behind(model))


def follows_rewards(manifest: Mapping[str, Any]) -> bool:
    """Whether a training's rewards were trained on, and not only watched."""
    # Trainings of before it was written down all followed them, but for lessons.
    return bool(manifest.get("follows", manifest.get("method") != LESSONS))


def followed_by_training(model: str | Path | None, rewards: Sequence[str]) -> tuple[str, ...]:
    """Those of the rewards that any training behind the model followed, whatever names it gave them."""
    followed: set[str] = set()
    for manifest in _manifests_behind(model).values():
        # What was loaded is there whether a preset or a flag named it.
        loaded = (manifest.get("sources") or {}).get("rewards") or ()
        if follows_rewards(manifest):
            followed |= {identity(str(one.get("name"))) for one in loaded}
    return tuple(name for name in rewards if identity(name) in followed)


def trained_on(model: str | Path | None, suite: str, prompts: Sequence[str]) -> list[str]:
    """What the trainings behind the model learned from of a suite's prompts, a sentence each; nothing if of none.

    Of a training that wrote no prompts down, what it noted of the suite when it began.
    """
    said = []
    for folder, manifest in _manifests_behind(model).items():
        try:
            learned = (folder / PROMPTS).read_text(encoding="utf-8").splitlines()
        except OSError:
            said += _noted(manifest, suite)
            continue
        said += [str(one) for one in overlaps(learned, {suite: prompts}) if one.any]
    return list(dict.fromkeys(said))


def overlaps_in_markdown(manifest: Mapping[str, Any]) -> str:
    """Which benchmarks' prompts are among a training's; nothing for trainings of before that was looked at."""
    if "overlaps" not in manifest:
        return ""
    found = "\n".join(f"- {said}" for said in manifest["overlaps"])
    if found:
        return f"\n\nBenchmarks that they overlap with:\n\n{found}"
    # Older trainings were held against PocketEval at least.
    known = dict.fromkeys(str(name).split(",")[0] for name in manifest.get("held_against", ["PocketEval"]))
    return f"\n\nNone of them is a prompt of {', '.join(known)}; others were not at hand."


def _noted(manifest: Mapping[str, Any], suite: str) -> list[str]:
    wanted = "PocketEval" if suite == "pocket" else f"{suite}:"
    return [said for said in manifest.get("overlaps") or () if str(said).startswith(wanted)]


def _manifests_behind(model: str | Path | None) -> dict[Path, dict[str, Any]]:
    """What each of the trainings behind a model says of itself, by its folder, the last first."""
    found: dict[Path, dict[str, Any]] = {}
    while model is not None:
        folder = Path(model).expanduser()
        if folder.resolve() in [one.resolve() for one in found] or (manifest := _manifest(folder)) is None:
            break
        found[folder] = manifest
        model = (manifest.get("settings") or {}).get("model")
    return found


def _manifest(folder: Path) -> dict[str, Any] | None:
    """What the folder's run.json says of a training; None if it holds none, or is no folder."""
    content = read_json(folder / "run.json") if folder.is_dir() else None
    return content if isinstance(content, dict) and content.get("kind") == "training" else None
