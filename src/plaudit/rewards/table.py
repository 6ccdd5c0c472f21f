"""The table of rewards. To add one, add a row; nothing is imported until a row is built."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.hub import MODEL_FILES, HubFiles, hub_folder
from plaudit.core.registry import Entry, Registry
from plaudit.rewards.published import PUBLISHED
from plaudit.rewards.published_captions import CAPTIONS
from plaudit.rewards.published_judges import JUDGES
from plaudit.rewards.specs import Spec, is_code, parse_spec

if TYPE_CHECKING:
    import torch

    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward


def _rows(name: str, target: str, summary: str, arguments: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Entry]:
    """One pocket model under its own name and under the name of the reward whose part it plays."""
    arguments, facts = {"name": f"pocket-{name}", **arguments}, {**facts, "differentiable": True}
    return [
        Entry(name=f"pocket-{name}", target=target, summary=summary, arguments=arguments, facts=facts),
        Entry(name=name, target=target, summary=f"{summary} (pocket-{name})", arguments=arguments, facts=facts),
    ]


def _judge(name: str) -> Entry:
    return next(row for row in JUDGES if row.name == name)


def _requirements(of: str, summary: str) -> Entry:
    """That judge, asked about each thing in the prompt."""
    judge = _judge(of)
    return replace(
        judge,
        name=f"{of}-requirements",
        arguments={**judge.arguments, "protocol": "requirements"},
        summary=summary,
        facts={**judge.facts, "paper": "Hu et al. 2023, TIFA"},
    )


def _or_zero(of: str, summary: str) -> Entry:
    """That judge, but what it cannot say is a 0: the released code's way, with the released code's bias."""
    judge = _judge(of)
    return replace(judge, name=f"{of}-or-zero", arguments={**judge.arguments, "invalid_score": 0.0}, summary=summary)


# raw_scale: where scores usually lie, as a published reward's paper reports them; of the pocket models, from the lowest
# twentieth of pocket-turbo's pictures with another's prompt to the highest with their own, on PocketEval's prompts.
# default_weight: ReNO's (Eyring et al. 2024, released code; its CLIP weight of 1 is for a score in 0..1, ours is a
# hundred times that).
REWARDS = Registry(
    "reward",
    [
        *_rows(
            "clip",
            "plaudit.rewards.table:_load_towers",
            "agreement of image and prompt, CLIP score",
            {"scaled": True},
            {"raw_scale": (-5.0, 20.0), "default_weight": 0.01, "paper": "Hessel et al. 2021, CLIPScore"},
        ),
        *_rows(
            "hps",
            "plaudit.rewards.table:_load_towers",
            "human preference score",
            {"scaled": False},
            {"raw_scale": (-0.3, 0.8), "default_weight": 5.0, "paper": "Wu et al. 2023, HPSv2"},
        ),
        *_rows(
            "pickscore",
            "plaudit.rewards.table:_load_towers",
            "preference of users who picked one of two images",
            {"scaled": True},
            {"raw_scale": (-9.0, 18.0), "default_weight": 0.05, "paper": "Kirstain et al. 2023, PickScore"},
        ),
        *_rows(
            "imagereward",
            "plaudit.rewards.table:_load_image_reward",
            "preference and prompt following, BLIP",
            {},
            {"raw_scale": (-2.7, 1.5), "default_weight": 1.0, "paper": "Xu et al. 2023, ImageReward"},
        ),
        *(
            Entry(
                name=name,
                # A judge of the pocket world only, and so built above this layer.
                target="plaudit.pocket.vqa_judge:load_pocket_vqa",
                arguments={"name": "pocket-vqa", "protocol": protocol},
                summary=f"BLIP asked for each requirement of the prompt: {total}",
                facts={
                    "raw_scale": (0.0, 1.0),
                    "default_weight": 1.0,
                    "paper": paper,
                    "differentiable": protocol != "hard",
                },
            )
            for name, protocol, total, paper in (
                ("pocket-vqa", "fraction", "the share that is met", "Hu et al. 2023, TIFA"),
                ("vqa", "fraction", "the share that is met (pocket-vqa)", "Hu et al. 2023, TIFA"),
                ("pocket-vqa-product", "product", "P(all are met)", "Huang et al. 2023, T2I-CompBench"),
                ("pocket-vqa-hard", "hard", "1 if all are met, else 0; no gradient", "Zhang et al. 2025, ReasonGen-R1"),
            )
        ),
        *(
            Entry(
                name=name,
                target="plaudit.rewards.jpeg:jpeg_size",
                arguments={"sign": sign},
                summary=f"{sized} the JPEG file in kB, quality 95; no gradient",
                facts={
                    "raw_scale": scale,
                    "default_weight": 1.0,
                    "paper": "Black et al. 2023, DDPO",
                    "differentiable": False,
                },
            )
            for name, sign, sized, scale in (
                ("incompressibility", 1, "size of", (1.0, 650.0)),
                ("compressibility", -1, "minus the size of", (-650.0, -1.0)),
            )
        ),
        *PUBLISHED,
        *JUDGES,
        _requirements("qwen2.5-vl-7b", "Qwen2.5-VL 7B as judge: mean P(Yes) over the things in the prompt"),
        _requirements("qwen2.5-vl-3b", "Qwen2.5-VL 3B as judge: mean P(Yes) over the things in the prompt"),
        _requirements("http-judge", "a chat server's share of yes over the things in the prompt; no gradient"),
        _or_zero("qwen2.5-vl-7b-boxed", "as qwen2.5-vl-7b-boxed, but 0 without a verdict, as published; no gradient"),
        _or_zero("http-judge-boxed", "as http-judge-boxed, but 0 without a verdict, as published; no gradient"),
        *CAPTIONS,
    ],
)


FORMATS = {
    "clip": "plaudit.rewards.clip_towers:ClipTowers",
    "image_reward": "plaudit.rewards.image_reward:ImageReward",
    "blip": "plaudit.rewards.vqa_score:BlipVqa",
    "qwen2_5_vl": "plaudit.rewards.vlm_judge:QwenJudge",
}
"""by a folder's model_type: who loads it; each has `from_pretrained(folder, *, device)`"""


def load_reward(name_or_path: str, *, device: "torch.device | str | None" = None) -> "Reward":
    """The reward of a row's name or hub id, of a folder or hub id in a format of FORMATS, or of a user's own code.

    Options may follow, as in "hps:smooth=4" (plaudit/rewards/specs.py has them all). A folder's CLIP score is
    exp(logit_scale) times the cosine. `device` is where the model is put first (the CPU if not given); it follows the
    images afterwards. Raises UnknownName with the nearest name, or BadConfig.
    """
    spec = parse_spec(name_or_path, REWARDS)
    if spec.weight_said:
        raise BadConfig(f"{name_or_path!r}: a weight means nothing for a reward alone; leave it out")
    return _load(spec, device)[0]


def load_rewards(specs: Sequence[str], *, device: "torch.device | str | None" = None) -> "WeightedSum":
    """The weighted sum that specs like "hps:5", "imagereward:1:max=2" or "./my_clip:0.01" describe.

    A part is called by its spec's name, and the options that change its number. Without a weight, a row's
    default_weight holds, and 1 for a folder, for code, and for what is normalised. Raises BadConfig for a weight that
    is not a number, an option that cannot work or a part given twice, UnknownName for an unknown name.
    """
    from plaudit.rewards.mix import WeightedSum

    wanted = {}
    for spec in (parse_spec(text, REWARDS) for text in specs):
        if spec.label in wanted:
            raise BadConfig(f"reward {spec.label!r} is given twice; give it once, with one weight")
        wanted[spec.label] = spec
    loaded = {label: _load(spec, device) for label, spec in wanted.items()}
    parts = {label: (wanted[label].weight, reward) for label, (reward, _) in loaded.items()}
    return WeightedSum(parts, scales={label: scale for label, (_, scale) in loaded.items() if scale})


def read_spec(spec: str) -> tuple[str, float]:
    """Name and weight of a spec; a row's name comes back as the table writes it. Raises BadConfig."""
    found = parse_spec(spec, REWARDS)
    return found.name, found.weight


def _load(spec: Spec, device: "torch.device | str | None") -> "tuple[Reward, tuple[float, float] | None]":
    """The reward with its options around it, and its typical raw scale if anybody says it."""
    from plaudit.rewards.composed import composed, scale_of

    reward = _load_code(spec.name) if is_code(spec.name) else _load_named(spec.name, device)
    return composed(reward, spec, REWARDS), scale_of(spec.name, reward, REWARDS)


def _load_code(name: str) -> "Reward":
    from plaudit.rewards.own import load_own

    try:
        return load_own(name)
    except UnknownName as error:
        source, _, rest = name.partition(":")
        close = difflib.get_close_matches(source.lower(), [row.name for row in REWARDS], n=1)
        hint = f" Did you mean the reward {close[0]!r}, with {rest!r} for its weight or option?" if close else ""
        raise UnknownName(f"{str(error).rstrip('.')}.{hint}") from error


def _load_named(name_or_path: str, device: "torch.device | str | None") -> "Reward":
    if (entry := REWARDS.row_of(name_or_path)) is not None:
        made: Reward = entry.build(device=device)
        return made
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return _load_folder(folder, device)
    if len(folder.parts) == 2 and name_or_path[0] not in "./~":
        return _load_folder(hub_folder(HubFiles(hub_id=name_or_path, patterns=MODEL_FILES)), device)
    if len(folder.parts) > 1:
        raise BadConfig(f"there is no reward folder {name_or_path}")
    return REWARDS.find(name_or_path).build(device=device)


def _load_folder(folder: Path, device: "torch.device | str | None") -> "Reward":
    from plaudit.rewards.published_folders import load_published_folder

    if (published := load_published_folder(folder, device=device)) is not None:
        return published
    config = folder / "config.json"
    kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
    if kind not in FORMATS:
        known = " or ".join(map(repr, FORMATS))
        raise UnknownName(f"{folder} holds no reward: its config.json must say model_type {known}, got {kind!r}")
    module, family = FORMATS[kind].split(":")
    made: Reward = getattr(import_module(module), family).from_pretrained(folder, device=device)
    return made


def _load_towers(name: str, *, scaled: bool, device: "torch.device | str | None" = None) -> "Reward":
    from plaudit.pocket.folders import pocket_folder
    from plaudit.rewards.clip_towers import ClipTowers

    return ClipTowers.from_pretrained(pocket_folder(name), scaled=scaled, device=device)


def _load_image_reward(name: str, *, device: "torch.device | str | None" = None) -> "Reward":
    from plaudit.pocket.folders import pocket_folder
    from plaudit.rewards.image_reward import ImageReward

    return ImageReward.from_pretrained(pocket_folder(name), device=device)
