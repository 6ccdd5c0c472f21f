"""pocket-llamagen: an autoregressive image model in LlamaGen's format, told a class or a prompt.

Its image tokenizer starts from pocket-base's autoencoder: what it has to learn is to do with 512 codes. The
transformers learn from nothing to foretell the tokens of rendered scenes: one is told a shape and its colour, the other
reads prompts of all tasks through pocket-pixart's T5. A tenth of either is left out, for classifier-free guidance.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from plaudit.core.devices import fast_autocast
from plaudit.generators.class_names import ClassLabels
from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer, from_autoencoder_kl, grid_of
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, draws_for, train
from plaudit.pocket.build.text import MAX_TOKENS
from plaudit.pocket.build.vae import LATENT_CHANNELS, loosened, missed_pixels
from plaudit.pocket.prompts import describe
from plaudit.pocket.render import render
from plaudit.pocket.scenes import COLOURS, SHAPES, Scene, draw_scene

CODES, GRID = 512, 8
TOKENIZER_SIZES = TokenizerSizes(
    channels=16, multipliers=(1, 2, 4, 8), res_blocks=1, norm_groups=8, z_channels=LATENT_CHANNELS, codebook_size=CODES,
    codebook_dim=8,
)  # fmt: skip
"""the autoencoder's, and the codes"""
TOKENIZER_PLAN = Plan(steps=2000, batch=32, lr=6e-4, warmup=100, ema=0.998, decay=0.5)
PAINT_PLAN = Plan(steps=600, batch=32, lr=6e-4, warmup=50, ema=0.998)
CLASS_PLAN = Plan(steps=6000, batch=64, lr=4e-3, warmup=200, ema=0.998, decay=0.5, muon=True)
TEXT_PLAN = Plan(steps=6000, batch=64, lr=3e-3, warmup=200, ema=0.999, decay=0.5, muon=True)
CODEBOOK_WEIGHT, COMMITMENT_WEIGHT, USAGE_WEIGHT = 1.0, 0.25, 0.01
CLASS_POOL, TEXT_POOL = 32_768, 98_304
"""pictures as tokens; prompts are drawn anew each time"""
NO_CONDITION = 0.1
CLASSES = tuple((shape, colour) for colour in COLOURS for shape in SHAPES)
CLASS_NAMES = tuple(f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}" for shape, colour in CLASSES)
"""of a class, and at once the prompt that rewards judge its pictures by"""


def new_tokenizer(vae: AutoencoderKL, device: torch.device) -> VQTokenizer:
    """The autoencoder with a codebook between: codes are places where latents of scenes lie."""
    draws = draws_for("pocket-vq-start", 0)
    tokenizer = from_autoencoder_kl(vae.float(), codebook_size=CODES, rng=draws.torch).to(device)
    images = render([draw_scene(draws.numpy) for _ in range(256)]).to(device)
    with torch.no_grad():
        latents = tokenizer.latents(images).movedim(1, -1).flatten(0, 2)
        chosen = torch.randperm(len(latents), generator=draws.torch)[:CODES]
        tokenizer.quantize.embedding.weight.copy_(F.normalize(latents[chosen.to(device)], dim=1))
    return tokenizer


def train_tokenizer(tokenizer: VQTokenizer, state: Path, device: torch.device) -> Iterator[Progress]:
    """Train it all; afterwards its weights are the average."""
    tokenizer.to(device).train()
    trainee = Trainee({"tokenizer": tokenizer}, TOKENIZER_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        scenes = [draw_scene(draws.numpy) for _ in range(TOKENIZER_PLAN.batch)]
        scenes = [loosened(s, draws.numpy) if i % 4 == 0 else s for i, s in enumerate(scenes)]
        images = render(scenes).to(device)
        with fast_autocast(device):
            latents = tokenizer.latents(images)
        found = tokenizer.quantize.quantise(latents.float())
        with fast_autocast(device):
            error = _error(tokenizer.paint(found.latents), images)
        loss = (
            missed_pixels(error, images * 2 - 1)
            + CODEBOOK_WEIGHT * found.codebook_loss
            + COMMITMENT_WEIGHT * found.commitment_loss
            + USAGE_WEIGHT * (found.place_entropy - found.usage_entropy)
        )
        return loss, {"mse": error.square().mean(), "codes": found.usage_entropy.exp()}

    yield from train("pocket-vq", trainee, loss_of, state)
    trainee.use_average()
    tokenizer.eval().requires_grad_(False)


def train_to_paint(tokenizer: VQTokenizer, state: Path, device: torch.device) -> Iterator[Progress]:
    """Train the decoder alone: a picture's tokens are settled, and can be painted better now that codes stand still."""
    tokenizer.to(device).requires_grad_(False)
    painter = nn.ModuleDict({"enter": tokenizer.post_quant_conv, "decoder": tokenizer.decoder})
    trainee = Trainee({"painter": painter.requires_grad_(True).train()}, PAINT_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        images = render([draw_scene(draws.numpy) for _ in range(PAINT_PLAN.batch)]).to(device)
        codes = tokenizer.quantize.look_up(tokens_of(tokenizer, images))
        with fast_autocast(device):
            error = _error(tokenizer.paint(grid_of(codes, GRID)), images)
        return missed_pixels(error, images * 2 - 1), {"mse": error.square().mean()}

    yield from train("pocket-vq-paint", trainee, loss_of, state)
    trainee.use_average()
    tokenizer.eval().requires_grad_(False)


def _error(painted: Tensor, images: Tensor) -> Tensor:
    """Of images in [0, 1], as the autoencoder counts it: in [-1, 1]."""
    return (painted.float() - images) * 2


def tokens_of(tokenizer: VQTokenizer, images: Tensor) -> Tensor:
    """(B, 64) of images; without a way back."""
    with torch.no_grad(), fast_autocast(images.device):
        latents = tokenizer.latents(images)
    rows = latents.float().movedim(1, -1).flatten(0, 2)
    return tokenizer.quantize.nearest(rows).view(-1, GRID * GRID)


def class_scenes() -> list[Scene]:
    """Scenes of one thing, from a stream of their own."""
    rng = draws_for("pocket-llamagen-classes", 0).numpy
    return [draw_scene(rng, kind="one") for _ in range(CLASS_POOL)]


def text_scenes() -> list[Scene]:
    """Scenes of all kinds."""
    rng = draws_for("pocket-llamagen-text", 0).numpy
    return [draw_scene(rng) for _ in range(TEXT_POOL)]


def class_of(scene: Scene) -> int:
    """The number of its one thing's class."""
    (thing,) = scene.things
    return CLASSES.index((thing.shape, thing.colour))


def encode_tokens(
    tokenizer: VQTokenizer, scenes: Sequence[Scene], file: Path, device: torch.device
) -> Iterator[int | Tensor]:
    """Yields how many scenes are encoded, then all tokens (N, 64) int16. Kept in `file` for a restart."""
    if file.exists():
        yield torch.from_numpy(np.load(file))
        return
    tokens = torch.empty(len(scenes), GRID * GRID, dtype=torch.int16)
    tokenizer.to(device)
    for start in range(0, len(scenes), 256):
        images = render(scenes[start : start + 256]).to(device)
        tokens[start : start + 256] = tokens_of(tokenizer, images).short().cpu()
        yield min(len(scenes), start + 256)
    np.save(file, tokens.numpy())
    yield tokens


def new_class_transformer() -> LlamaTransformer:
    """The untrained transformer that is told a class; 1.4 million parameters."""
    return LlamaTransformer(
        LlamaSizes(dim=128, layers=6, heads=4, hidden=384, vocabulary=CODES, grid=GRID, classes=len(CLASSES))
    )


def new_text_transformer(caption_dim: int) -> LlamaTransformer:
    """The untrained transformer that reads prompts; 2.2 million parameters."""
    return LlamaTransformer(
        LlamaSizes(
            dim=160, layers=6, heads=5, hidden=448, vocabulary=CODES, grid=GRID, caption_dim=caption_dim,
            prefix=MAX_TOKENS,
        )
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Pictures as tokens, and how the chosen ones are told to the policy."""

    name: str
    plan: Plan
    tokens: Tensor
    """(N, 64) int16"""
    tell: "Callable[[list[int], Draws], ClassLabels | object]"
    """the conditions of pictures, by their places"""


def class_lesson(policy: LlamaGen, tokens: Tensor, scenes: Sequence[Scene]) -> Lesson:
    """Every picture under its class."""
    labels = torch.tensor([class_of(scene) for scene in scenes])
    return Lesson(
        name="pocket-llamagen", plan=CLASS_PLAN, tokens=tokens,
        tell=lambda rows, _: ClassLabels(labels=labels[rows].to(policy.device)),
    )  # fmt: skip


def text_lesson(policy: LlamaGen, tokens: Tensor, scenes: Sequence[Scene]) -> Lesson:
    """Every picture under a prompt that describes it, another each time."""
    return Lesson(
        name="pocket-llamagen-t2i", plan=TEXT_PLAN, tokens=tokens,
        tell=lambda rows, draws: policy.encode([describe(scenes[row], draws.numpy)[0] for row in rows]),
    )  # fmt: skip


def train_to_foretell(policy: LlamaGen, lesson: Lesson, state: Path) -> Iterator[Progress]:
    """Train the policy's transformer on the next token; afterwards its weights are the average."""
    device, plan = policy.device, lesson.plan
    policy.transformer.requires_grad_(True)
    trainee = Trainee({"transformer": policy.transformer}, plan)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = draws.numpy.integers(len(lesson.tokens), size=plan.batch).tolist()
        tokens = lesson.tokens[rows].long().to(device)
        drop = torch.from_numpy(draws.numpy.random(plan.batch) < NO_CONDITION).to(device)
        condition = policy.asking_nothing(lesson.tell(rows, draws), drop)
        with fast_autocast(device):
            hidden = policy.hidden(tokens, condition)
        return F.cross_entropy(policy.logits(hidden.float()).flatten(0, 1), tokens.flatten()), {}

    yield from train(lesson.name, trainee, loss_of, state)
    trainee.use_average()
    policy.transformer.eval().requires_grad_(False)
