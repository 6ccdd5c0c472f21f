"""pocket-hps and pocket-pickscore: pocket-clip tuned on pairs of pictures, one preferred.

As HPSv2 and PickScore are both CLIP ViT-H tuned on people's choices, these two are one CLIP tuned on different
choices. pocket-hps sees what is drawn: the worse picture is a near miss. pocket-pickscore sees how well it is drawn
too: the worse picture is more often the right scene falling apart, and its near misses come by other rules.
The better picture wins by the Bradley-Terry loss on the scaled cosines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.clip import Pictures, Towers
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.build.negatives import false_requests, near_scene
from plaudit.pocket.build.pictures import spoilt
from plaudit.pocket.build.text import tokenise
from plaudit.pocket.prompts import Request, describe, say
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene


@dataclass(frozen=True, kw_only=True)
class Taste:
    """Which choices a preference model is tuned on."""

    name: str
    broken: float
    """the share of pairs whose worse picture is the right scene, badly drawn"""
    prompts_too: float
    """the weight of telling the prompt from a near miss of it"""
    plan: Plan


HPS = Taste(
    name="pocket-hps",
    broken=0.2,
    prompts_too=0.0,
    plan=Plan(steps=350, batch=48, lr=4e-4, warmup=30, ema=0.995),
)
PICKSCORE = Taste(
    name="pocket-pickscore", broken=0.5, prompts_too=0.5,
    plan=Plan(steps=350, batch=48, lr=4e-4, warmup=30, ema=0.995),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Pairs of pictures (B, 3, 64, 64) for B prompts, and a near miss of each prompt."""

    prompts: list[str]
    misses: list[str]
    better: Tensor
    worse: Tensor
    asked: list[Request]
    """what the prompts ask for"""
    asked_instead: list[Request]
    """what the near misses ask for"""
    shown: list[Scene]
    """in the better pictures"""
    shown_instead: list[Scene | None]
    """in the worse pictures; None where it is the right scene falling apart"""


def draw_choices(pictures: Pictures, broken: Pictures, draws: Draws, count: int, share_broken: float) -> Choices:
    """Random pairs. The first `share_broken` of them oppose the right scene well drawn to itself badly drawn."""
    rng = draws.numpy
    bad = round(count * share_broken)
    bad_scenes, bad_images = broken.draw(draws, bad, from_pool=1.0) if bad else ([], torch.empty(0, 3, 64, 64))
    good_scenes, good_images = pictures.draw(draws, count - bad, from_pool=0.5)
    scenes = bad_scenes + good_scenes
    said = [describe(scene, rng) for scene in scenes]
    better_of_bad = spoilt(render(bad_scenes), draws) if bad else torch.empty(0, 3, 64, 64)
    near = [near_scene(s, r, rng) for s, (_, r) in zip(good_scenes, said[bad:], strict=True)]
    device = pictures.device
    misses = [false_requests(s, r, rng, 1)[0] for s, (_, r) in zip(scenes, said, strict=True)]
    return Choices(
        prompts=[text for text, _ in said],
        misses=[say(miss, rng) for miss in misses],
        better=torch.cat([better_of_bad.to(device), good_images.to(device)]),
        worse=torch.cat([bad_images.to(device), spoilt(render(near), draws).to(device)]),
        asked=[request for _, request in said],
        asked_instead=misses,
        shown=scenes,
        shown_instead=[None] * bad + near,
    )


def train_preference(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    pictures: Pictures,
    broken: Pictures,
    state: Path,
    taste: Taste,
) -> Iterator[Progress]:
    """Tune a CLIP on choices; afterwards its weights are the average."""
    device = pictures.device
    towers = Towers(model.to(device).train())
    trainee = Trainee({"towers": towers}, taste.plan)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        choices = draw_choices(pictures, broken, draws, taste.plan.batch, taste.broken)
        with fast_autocast(device):
            images = towers.images(torch.cat([choices.better, choices.worse]))
            texts = towers.texts(tokenise(tokenizer, choices.prompts + choices.misses).to(device))
        better, worse = images.chunk(2)
        prompt, miss = texts.chunk(2)
        margin = towers.scale() * ((better - worse) * prompt).sum(-1)
        loss = -F.logsigmoid(margin).mean()
        if taste.prompts_too:
            loss = loss - taste.prompts_too * F.logsigmoid(towers.scale() * (better * (prompt - miss)).sum(-1)).mean()
        return loss, {"right": (margin > 0).float().mean()}

    yield from train(taste.name, trainee, loss_of, state)
    trainee.use_average()
    model.eval().requires_grad_(False)
