"""The table of rewards. To add one, add a row; nothing is imported until a row is built."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from plaudit.rewards.mix import WeightedSum
    from plaudit.rewards.reward import Reward


def _rows(name: str, target: str, summary: str, arguments: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Entry]:
    """One pocket model under its own name and under the name of the reward whose part it plays."""
    arguments = {"name": f"pocket-{name}", **arguments}
    return [
        Entry(name=f"pocket-{name}", target=target, summary=summary, arguments=arguments, facts=facts),
        Entry(name=name, target=target, summary=f"{summary} (pocket-{name})", arguments=arguments, facts=facts),
    ]


# raw_scale: where scores usually lie, as the paper behind the format reports them. default_weight: ReNO's
# (Eyring et al. 2024, released code; its CLIP weight of 1 is for a score in 0..1, ours is a hundred times
# that).
REWARDS = Registry(
    "reward",
    [
        *_rows(
            "clip",
            "plaudit.rewards.table:_load_towers",
            "agreement of image and prompt, CLIP score",
            {"scaled": True},
            {"raw_scale": (0.0, 100.0), "default_weight": 0.01, "paper": "Hessel et al. 2021, CLIPScore"},
        ),
        *_rows(
            "hps",
            "plaudit.rewards.table:_load_towers",
            "human preference score",
            {"scaled": False},
            {"raw_scale": (0.2, 0.4), "default_weight": 5.0, "paper": "Wu et al. 2023, HPSv2"},
        ),
        *_rows(
            "pickscore",
            "plaudit.rewards.table:_load_towers",
            "preference of users who picked one of two images",
            {"scaled": True},
            {"raw_scale": (20.0, 30.0), "default_weight": 0.05, "paper": "Kirstain et al. 2023, PickScore"},
        ),
        *_rows(
            "imagereward",
            "plaudit.rewards.table:_load_image_reward",
            "preference and prompt following, BLIP",
            {},
            {"raw_scale": (-2.0, 2.0), "default_weight": 1.0, "paper": "Xu et al. 2023, ImageReward"},
        ),
        *(
            Entry(
                name=name,
                target="plaudit.rewards.jpeg:jpeg_size",
                arguments={"sign": sign},
                summary=f"{sized} the JPEG file in kB, quality 95; no gradient",
                facts={"raw_scale": scale, "default_weight": 1.0, "paper": "Black et al. 2023, DDPO"},
            )
            for name, sign, sized, scale in (
                ("incompressibility", 1, "size of", (1.0, 650.0)),
                ("compressibility", -1, "minus the size of", (-650.0, -1.0)),
            )
        ),
    ],
)


def load_reward(name_or_path: str, *, device: "torch.device | str | None" = None) -> "Reward":
    """The reward of a row's name, or of a folder in CLIPModel's or ImageReward's format.

    A folder's CLIP score is exp(logit_scale) times the cosine. `device` is where the model is put first (the
    CPU if not given); it follows the images afterwards. Raises UnknownName with the nearest name, or
    BadConfig.
    """
    if name_or_path in REWARDS:
        return REWARDS.find(name_or_path).build(device=device)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return _load_folder(folder, device)
    if len(folder.parts) > 1:
        raise BadConfig(f"there is no reward folder {name_or_path}")
    return REWARDS.find(name_or_path).build(device=device)


def load_rewards(specs: Sequence[str], *, device: "torch.device | str | None" = None) -> "WeightedSum":
    """The weighted sum that specs like "hps:5", "imagereward" or "./my_clip:0.01" describe.

    A part is called by its spec's name. Without a weight, a row's default_weight holds, and 1 for a folder.
    Raises BadConfig for a weight that is not a number or a name given twice, UnknownName for an unknown name.
    """
    from plaudit.rewards.mix import WeightedSum

    wanted: dict[str, float] = {}
    for spec in specs:
        name, weight = read_spec(spec)
        if name in wanted:
            raise BadConfig(f"reward {name!r} is given twice; give it once, with one weight")
        wanted[name] = weight
    return WeightedSum({name: (weight, load_reward(name, device=device)) for name, weight in wanted.items()})


def read_spec(spec: str) -> tuple[str, float]:
    """Name and weight of "name:weight" or "name"; a row's name comes back as the table writes it."""
    name, colon, number = spec.strip().rpartition(":")
    if not colon or Path(spec).is_dir():
        name, number = spec.strip(), ""
        weight = float(REWARDS.find(name).facts["default_weight"]) if name in REWARDS else 1.0
    else:
        try:
            weight = float(number)
        except ValueError:
            raise BadConfig(f"the weight in reward {spec!r} is not a number; write it like hps:5") from None
    if not name:
        raise BadConfig(f"reward {spec!r} has no name; write it like hps:5")
    return (REWARDS.find(name).name if name in REWARDS else name), weight


def _load_folder(folder: Path, device: "torch.device | str | None") -> "Reward":
    config = folder / "config.json"
    kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
    if kind == "clip":
        from plaudit.rewards.clip_towers import ClipTowers

        return ClipTowers.from_pretrained(folder, device=device)
    if kind == "image_reward":
        from plaudit.rewards.image_reward import ImageReward

        return ImageReward.from_pretrained(folder, device=device)
    raise UnknownName(
        f"{folder} holds no reward: its config.json must say model_type 'clip' or 'image_reward', got {kind!r}"
    )


def _load_towers(name: str, *, scaled: bool, device: "torch.device | str | None" = None) -> "Reward":
    from plaudit.pocket.folders import pocket_folder
    from plaudit.rewards.clip_towers import ClipTowers

    return ClipTowers.from_pretrained(pocket_folder(name), scaled=scaled, device=device)


def _load_image_reward(name: str, *, device: "torch.device | str | None" = None) -> "Reward":
    from plaudit.pocket.folders import pocket_folder
    from plaudit.rewards.image_reward import ImageReward

    return ImageReward.from_pretrained(pocket_folder(name), device=device)
