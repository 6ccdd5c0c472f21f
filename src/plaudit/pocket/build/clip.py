"""pocket-clip: a CLIPModel for scenes.

First its image tower learns to see (linear heads on its class token must tell the scene), then both towers learn to
agree, by CLIP's contrastive loss (Radford et al. 2021) with two near-miss prompts per picture and near-miss pictures
in the batch. In-batch prompts that happen to be true of another picture are masked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from plaudit.core.devices import fast_autocast
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.build.negatives import false_requests, near_scene
from plaudit.pocket.build.pictures import normalised, spoilt
from plaudit.pocket.build.text import WIDTH, Reader, answers_of, text_config, tokenise
from plaudit.pocket.prompts import Request, Wanted, describe, say
from plaudit.pocket.render import render
from plaudit.pocket.scenes import COLOURS, SHAPES, Scene, draw_scene, order_of
from plaudit.pocket.truth import failures

SEE_PLAN = Plan(steps=3500, batch=64, lr=1.5e-3, warmup=150, ema=0.998)
AGREE_PLAN = Plan(steps=2300, batch=64, lr=7e-4, warmup=50, ema=0.997)
NEAR_MISSES = 2


def vision_config() -> CLIPVisionConfig:
    """The configuration of every pocket CLIP's image tower: 4 layers, 128 wide, patches of 8 pixels."""
    return CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=4, num_attention_heads=4,
        image_size=64, patch_size=8, projection_dim=WIDTH,
    )  # fmt: skip


def new_clip(tokenizer: CLIPTokenizer, text: CLIPTextModel, vision: CLIPVisionModel) -> CLIPModel:
    """A CLIPModel whose towers start from the given ones."""
    config = CLIPConfig(
        text_config=text_config(tokenizer).to_dict(),
        vision_config=vision_config().to_dict(),
        projection_dim=WIDTH,
    )
    model = CLIPModel(config)
    model.text_model.load_state_dict(text.state_dict())
    model.vision_model.load_state_dict(vision.state_dict())
    return model


def whole_truth(scene: Scene) -> Request:
    """All there is to say of a scene: the things in reading order, their order, the background."""
    things = sorted(scene.things, key=lambda t: t.x)
    first = things[0]
    if len({(t.shape, t.colour) for t in things}) == 1:
        wanted: tuple[Wanted, ...] = (Wanted(shape=first.shape, colour=first.colour, count=len(things)),)
        return Request(task="counting", wanted=wanted, background=scene.background)
    if order_of(things[0], things[1]) not in ("left", "above"):
        things.reverse()
    wanted = tuple(Wanted(shape=t.shape, colour=t.colour) for t in things[:2])
    relation = order_of(things[0], things[1])
    return Request(task="position", wanted=wanted, relation=relation, background=scene.background)


class Pictures:
    """Training pictures of scenes: spoilt renders, and some from the decoder's pool."""

    def __init__(self, scenes: Sequence[Scene], decoded: Tensor, device: torch.device) -> None:
        self.scenes, self.decoded, self.device = scenes, decoded, device

    def draw(self, draws: Draws, count: int, *, from_pool: float) -> tuple[list[Scene], Tensor]:
        """Scenes and their pictures (B, 3, 64, 64) in [0, 1]."""
        pooled = int(count * from_pool)
        rows = draws.numpy.integers(len(self.scenes), size=pooled)
        scenes = [self.scenes[row] for row in rows] + [draw_scene(draws.numpy) for _ in range(count - pooled)]
        fresh = render(scenes[pooled:])
        images = torch.cat([self.decoded[torch.from_numpy(rows)].float() / 255, fresh])
        return scenes, spoilt(images, draws).to(self.device)


def place_patches(positions: Tensor) -> None:
    """Start an image tower's learnt positions (65, D), class token first, from sines and cosines of row and column.

    The libraries' start is so small beside the patches' content that neighbours find each other late, and shapes,
    which lie across patches, are learnt later still.
    """
    side, width = 8, positions.shape[1]
    rates = 0.5 ** torch.linspace(0, 4, width // 4)
    angles = (torch.arange(side) * torch.pi / 2)[:, None] * rates
    one = torch.cat([angles.sin(), angles.cos()], dim=1)
    grid = torch.cat([one[:, None].expand(-1, side, -1), one[None].expand(side, -1, -1)], dim=2)
    with torch.no_grad():
        positions[1:] = 0.3 * grid.flatten(0, 1)


class PatchReader(nn.Module):
    """Linear heads that tell from a patch's token which shape and colour lie there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.shape = nn.Linear(width, len(SHAPES) + 1)
        self.colour = nn.Linear(width, len(COLOURS) + 1)

    def forward(self, tokens: Tensor, answers: Tensor) -> Tensor:
        """Cross entropy of tokens (B, N, D) against answers (B, N, 2); shapes and colours summed."""
        tokens = self.norm(tokens)
        shape, colour = self.shape(tokens).float(), self.colour(tokens).float()
        loss = F.cross_entropy(shape.flatten(0, 1), answers[..., 0].flatten())
        return loss + F.cross_entropy(colour.flatten(0, 1), answers[..., 1].flatten())


def patch_answers(scenes: Sequence[Scene]) -> Tensor:
    """Shape and colour numbers of what lies at each 8 x 8 patch, (B, 64, 2); 0 for the background."""
    answers = np.zeros((len(scenes), 8, 8, 2), dtype=np.int64)
    centres = np.arange(8) * 8 + 4
    for index, scene in enumerate(scenes):
        for thing in scene.things:
            rows = np.abs(centres - thing.y) < thing.radius + 1
            columns = np.abs(centres - thing.x) < thing.radius + 1
            value = (1 + SHAPES.index(thing.shape), 1 + list(COLOURS).index(thing.colour))
            answers[index][np.ix_(rows, columns)] = value
    return torch.from_numpy(answers).flatten(1, 2)


def train_to_see(
    name: str, vision: CLIPVisionModel, pictures: Pictures, state: Path, *, plan: Plan = SEE_PLAN
) -> Iterator[Progress]:
    """Train an image tower to tell scenes from its class token, and what lies where from its patches' tokens.

    The patches learn shapes several times sooner than the class token alone would.
    """
    device = pictures.device
    reader, patches = Reader(WIDTH).to(device), PatchReader(WIDTH).to(device)
    trainee = Trainee({"vision": vision.to(device).train(), "reader": reader, "patches": patches}, plan)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes, images = pictures.draw(draws, plan.batch, from_pool=0.4)
        with fast_autocast(device):
            seen = vision(pixel_values=normalised(images))
            loss, right = reader(seen.pooler_output, answers_of([whole_truth(s) for s in scenes]).to(device))
            local = patches(seen.last_hidden_state[:, 1:], patch_answers(scenes).to(device))
        return loss + 4 * local, {"right": right, "whole": loss, "local": local}

    yield from train(name, trainee, loss_of, state)
    trainee.use_average()


class Towers(nn.Module):
    """The parts of a CLIPModel that training runs, without its forward's extras."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def images(self, pictures: Tensor) -> Tensor:
        pooled = self.model.vision_model(pixel_values=normalised(pictures)).pooler_output
        return F.normalize(self.model.visual_projection(pooled).float(), dim=-1)

    def texts(self, ids: Tensor) -> Tensor:
        # The towers are causal and read the first end token: columns that are padding for all change nothing.
        longest = int((ids != ids[0, -1]).sum(1).max()) + 1
        pooled = self.model.text_model(ids[:, :longest]).pooler_output
        return F.normalize(self.model.text_projection(pooled).float(), dim=-1)

    def scale(self) -> Tensor:
        return self.model.logit_scale.exp().clamp(max=100)


def train_to_agree(
    model: CLIPModel, tokenizer: CLIPTokenizer, pictures: Pictures, state: Path, *, plan: Plan = AGREE_PLAN
) -> Iterator[Progress]:
    """Contrastive training with near misses; afterwards the model's weights are the average."""
    device = pictures.device
    towers = Towers(model.to(device).train())
    trainee = Trainee({"towers": towers}, plan)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes, images = pictures.draw(draws, plan.batch * 3 // 4, from_pool=0.5)
        said = [describe(scene, draws.numpy) for scene in scenes]
        scenes, images, said = _with_siblings(scenes, images, said, draws, plan.batch)
        misses = [false_requests(s, r, draws.numpy, NEAR_MISSES) for s, (_, r) in zip(scenes, said, strict=True)]
        texts = [text for text, _ in said] + [say(m, draws.numpy) for many in misses for m in many]
        false = torch.tensor([[bool(failures(s, r)) for _, r in said] for s in scenes], device=device)
        with fast_autocast(device):
            image = towers.images(images)
            text = towers.texts(tokenise(tokenizer, texts).to(device))
        loss, right = contrast(image, text, false, towers.scale())
        return loss, {"right": right}

    yield from train("pocket-clip", trainee, loss_of, state)
    trainee.use_average()
    model.eval().requires_grad_(False)


def contrast(image_BD: Tensor, text_ND: Tensor, false_BB: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric contrastive loss; text rows are the B prompts, then each picture's near misses in turn.

    `false_BB[i, j]`: prompt j is false of picture i. True pairs off the diagonal count neither way. Also returned:
    the share of pictures that prefer their own prompt to its near misses.
    """
    count = len(image_BD)
    between = scale * image_BD @ text_ND[:count].T
    allowed = false_BB | torch.eye(count, dtype=torch.bool, device=image_BD.device)
    between = between.masked_fill(~allowed, -1e4)
    misses = scale * torch.einsum("bd,bkd->bk", image_BD, text_ND[count:].view(count, -1, image_BD.shape[1]))
    target = torch.arange(count, device=image_BD.device)
    own = between.diagonal()
    right = (own[:, None] > misses).all(1).float().mean()
    to_text = F.cross_entropy(torch.cat([between, misses], dim=1), target)
    # The near misses alone as well: among so many easy prompts they would hardly count.
    to_misses = F.cross_entropy(torch.cat([own[:, None], misses], dim=1), torch.zeros_like(target))
    return 0.5 * (to_text + F.cross_entropy(between.T, target)) + to_misses, right


def _with_siblings(
    scenes: list[Scene], images: Tensor, said: list[tuple[str, Request]], draws: Draws, count: int
) -> tuple[list[Scene], Tensor, list[tuple[str, Request]]]:
    """The batch filled up to `count` with near misses of its first pictures, each with a prompt of its own."""
    siblings = [
        near_scene(s, r, draws.numpy) for s, (_, r) in zip(scenes, said, strict=True)
    ][: count - len(scenes)]  # fmt: skip
    kept = [s for s in siblings if describable(s)]
    pictures = spoilt(render(kept), draws).to(images.device)
    return scenes + kept, torch.cat([images, pictures]), said + [describe(s, draws.numpy) for s in kept]


def describable(scene: Scene) -> bool:
    """Whether one of the six tasks can put the scene into words: one thing, equal things, or two."""
    return len(scene.things) <= 2 or len({(t.shape, t.colour) for t in scene.things}) == 1
