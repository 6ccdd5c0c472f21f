"""pocket-pixart: another architecture that draws in one step, in PixArt-alpha-DMD's format.

A T5 encoder reads the prompt and a transformer turns noise into latents, called once at time 400 like the published
student (Chen et al. 2023; Yin et al. 2024). Nothing of it starts from pocket-base, which is its teacher only. Like the
published student it is a diffusion model first (denoising). Of scenes alone it learns how pictures look long before it
learns to read, as a prompt says little about the next bit of noise; so it then learns to see what its teacher sees
under guidance, where the prompt says much (imitation). Then it learns where the teacher takes noises (regression), and
at last its distribution is matched with the teacher's (matching.py), while the
regression goes on: a student that starts far from its teacher else draws one picture for all noises.
All live in pocket-base's latents, so that the second network of the matching is a copy of pocket-base.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, PixArtTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from plaudit.core.devices import fast_autocast
from plaudit.generators.pixart import STUDENT_TIME
from plaudit.pocket.build.base import Batches, new_scheduler, new_unet, training_times, with_plain_attention
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.build.matching import at_times, follow, matched
from plaudit.pocket.build.text import MAX_TOKENS, Reader, answers_of
from plaudit.pocket.build.turbo import GUIDANCE, Pairs, Teacher, predict
from plaudit.pocket.build.vae import LATENT_CHANNELS
from plaudit.pocket.prompts import describe
from plaudit.pocket.scenes import draw_scene

WIDTH = 128
READ_PLAN = Plan(steps=2400, batch=128, lr=2e-3, warmup=60, ema=0.99)
DENOISE_PLAN = Plan(steps=5000, batch=64, lr=1e-3, warmup=200, ema=0.998, decay=0.3)
IMITATE_PLAN = Plan(steps=3000, batch=64, lr=8e-4, warmup=100, ema=0.998, decay=0.3)
REGRESS_PLAN = Plan(steps=1200, batch=64, lr=6e-4, warmup=100, ema=0.995, decay=0.3)
MATCH_PLAN = Plan(steps=1800, batch=64, lr=1.5e-4, warmup=50, ema=0.99, betas=(0.5, 0.99), decay=0.4)
PAIRS = 24_576
PAIRS_SHARE = 0.5
"""pairs seen beside each batch that is matched, in its size"""
PAIRS_WEIGHT = 0.5
"""of the regression while matching"""
FOLLOW_FASTER = 2.5
"""the follower's learning rate, in the student's"""

_SPECIAL = ("<pad>", "</s>", "<unk>")


def new_t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer in whose vocabulary every word of the pocket world is one piece; any other word is spelt."""
    rng = np.random.default_rng(0)
    said = " ".join(describe(draw_scene(rng), rng)[0].lower() for _ in range(20_000))
    words = [f"▁{word}" for word in sorted(set(said.split()))]
    letters = ["▁", *(chr(code) for code in range(33, 127) if not chr(code).isupper())]
    pieces = list(dict.fromkeys([*words, *letters]))
    # The most likely reading of a word is the one with the fewest pieces.
    vocabulary = [(piece, 0.0) for piece in _SPECIAL] + [(piece, -3.0) for piece in pieces]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=MAX_TOKENS)


def new_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """The untrained encoder: 2 layers, 128 wide."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=WIDTH, d_kv=32, d_ff=2 * WIDTH, num_layers=2, num_heads=4,
            feed_forward_proj="gated-gelu", dropout_rate=0.0,
        )
    )  # fmt: skip


def new_transformer() -> PixArtTransformer2DModel:
    """The untrained transformer: 8 layers, 128 wide, a token for each place of the latents.

    Half of what it puts out is the variance that PixArt-alpha learns besides, and that nobody uses.
    """
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=32, in_channels=LATENT_CHANNELS, out_channels=2 * LATENT_CHANNELS,
        num_layers=8, cross_attention_dim=WIDTH, caption_channels=WIDTH, sample_size=8, patch_size=1,
    )  # fmt: skip
    transformer.set_attn_processor(AttnProcessor())
    return transformer


def new_student_scheduler() -> DDPMScheduler:
    """The scheduler that marks a folder as a one-step student's; its network predicts the clean latents."""
    base = new_scheduler().config
    kept = ("num_train_timesteps", "beta_schedule", "rescale_betas_zero_snr")
    return DDPMScheduler(prediction_type="sample", clip_sample=False, **{name: base[name] for name in kept})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Prompts as T5 read them."""

    states: Tensor
    """(B, 32, 128)"""
    mask: Tensor
    """(B, 32), 1 a token to read, 0 padding"""


@dataclass(frozen=True, kw_only=True)
class Words:
    """The tokenizer with its encoder."""

    tokenizer: T5Tokenizer
    encoder: T5EncoderModel

    def read(self, prompts: Sequence[str]) -> Reading:
        """What the frozen encoder makes of the prompts."""
        with torch.no_grad():
            return self.see(prompts)

    def see(self, prompts: Sequence[str]) -> Reading:
        """The same, with a gradient."""
        texts = [prompt.lower().strip() for prompt in prompts]
        found = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self.encoder.device)
        states = self.encoder(found["input_ids"], attention_mask=found["attention_mask"]).last_hidden_state
        return Reading(states=states, mask=found["attention_mask"])


def train_words(words: Words, state: Path) -> Iterator[Progress]:
    """Train the encoder to tell from the mean of its states what a prompt asks for; it is frozen afterwards."""
    encoder = words.encoder.train()
    reader = Reader(WIDTH).to(encoder.device)
    trainee = Trainee({"encoder": encoder, "reader": reader}, READ_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        said = [describe(draw_scene(draws.numpy), draws.numpy) for _ in range(READ_PLAN.batch)]
        with fast_autocast(encoder.device):
            read = words.see([text for text, _ in said])
            kept = read.mask[..., None]
            mean = (read.states * kept).sum(1) / kept.sum(1)
            loss, right = reader(mean, answers_of([request for _, request in said]).to(encoder.device))
        return loss, {"right": right}

    yield from train("pocket-pixart-words", trainee, loss_of, state)
    trainee.use_average()
    encoder.eval().requires_grad_(False)


def one_step(transformer: PixArtTransformer2DModel, noise: Tensor, read: Reading) -> Tensor:
    """The student's clean latents (B, 8, 8, 8) from noise."""
    return clean(transformer, noise, torch.full((len(noise),), STUDENT_TIME, device=noise.device), read)


def clean(transformer: PixArtTransformer2DModel, noisy: Tensor, times: Tensor, read: Reading) -> Tensor:
    """The clean latents (B, 8, 8, 8) that it sees in noisy ones at times (B,)."""
    with fast_autocast(noisy.device):
        made = transformer(
            noisy, timestep=times, encoder_hidden_states=read.states, encoder_attention_mask=read.mask,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample  # fmt: skip
    latents: Tensor = made[:, : noisy.shape[1]].float()
    return latents


def denoise(student: PixArtTransformer2DModel, words: Words, batches: Batches, state: Path) -> Iterator[Progress]:
    """Teach it to denoise the pool's scenes by their prompts, at all times."""
    device, alphas = batches.device, new_scheduler().alphas_cumprod.to(batches.device)
    trainee = Trainee({"transformer": student.to(device).train()}, DENOISE_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = draws.numpy.integers(len(batches.pool.scenes), size=DENOISE_PLAN.batch)
        latents = batches.pool.latents[torch.from_numpy(rows)].float().to(device)
        read = words.read(batches.prompts(rows, draws, 0.0))
        times = training_times(draws, DENOISE_PLAN.batch).to(device)
        noisy = at_times(latents, draws.normal(*latents.shape).to(device), alphas, times)
        missed = (clean(student, noisy, times, read) - latents).square().mean((1, 2, 3))
        # The error of the v-prediction that this amounts to, but for the last steps, where it would be everything.
        return (missed / (1 - alphas[times]).clamp_min(0.1)).mean(), {}

    yield from train("pocket-pixart-denoise", trainee, loss_of, state)
    trainee.use_average()


def imitate(
    student: PixArtTransformer2DModel, words: Words, teacher: Teacher, batches: Batches, state: Path
) -> Iterator[Progress]:
    """Teach it to see the clean latents that the guided teacher sees, at all times."""
    device, alphas = batches.device, teacher.alphas
    trainee = Trainee({"transformer": student.to(device).train()}, IMITATE_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = draws.numpy.integers(len(batches.pool.scenes), size=IMITATE_PLAN.batch)
        latents = batches.pool.latents[torch.from_numpy(rows)].float().to(device)
        prompts = batches.prompts(rows, draws, 0.0)
        times = training_times(draws, IMITATE_PLAN.batch).to(device)
        noisy = at_times(latents, draws.normal(*latents.shape).to(device), alphas, times)
        wanted = teacher.clean(noisy, times, batches.read(prompts), guidance=GUIDANCE)
        missed = (clean(student, noisy, times, words.read(prompts)) - wanted).square().mean((1, 2, 3))
        return (missed / (1 - alphas[times]).clamp_min(0.1)).mean(), {}

    yield from train("pocket-pixart-imitate", trainee, loss_of, state)
    trainee.use_average()


def missed_pairs(student: PixArtTransformer2DModel, words: Words, pairs: Pairs, rows: Sequence[int]) -> Tensor:
    """How far from where the teacher takes these noises the student takes them, squared."""
    device = words.encoder.device
    made = one_step(student, pairs.noise[rows].to(device), words.read([pairs.prompts[row] for row in rows]))
    return (made - pairs.latents[rows].to(device)).square().mean()


def regress(student: PixArtTransformer2DModel, words: Words, pairs: Pairs, state: Path) -> Iterator[Progress]:
    """Teach the student where the teacher takes each noise."""
    trainee = Trainee({"transformer": student.to(words.encoder.device).train()}, REGRESS_PLAN)

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = draws.numpy.integers(len(pairs.noise), size=REGRESS_PLAN.batch).tolist()
        return missed_pairs(student, words, pairs, rows), {}

    yield from train("pocket-pixart-regress", trainee, loss_of, state)
    trainee.use_average()


def match(
    student: PixArtTransformer2DModel,
    words: Words,
    teacher: Teacher,
    pairs: Pairs,
    batches: Batches,
    state: Path,
) -> Iterator[Progress]:
    """Move the student's distribution onto the teacher's; afterwards its weights are the average."""
    device, alphas = batches.device, teacher.alphas
    follower = with_plain_attention(new_unet().to(device).train())
    follower.load_state_dict(teacher.unet.state_dict())
    modules = {"student": student.to(device).train().requires_grad_(True), "follower": follower}
    trainee = Trainee(modules, MATCH_PLAN, faster={"follower": FOLLOW_FASTER})

    def loss_of(draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = draws.numpy.integers(len(batches.pool.scenes), size=MATCH_PLAN.batch)
        prompts = batches.prompts(rows, draws, 0.0)
        states = batches.read(prompts)
        noise = draws.normal(len(prompts), *batches.pool.latents.shape[1:]).to(device)
        made = one_step(student, noise, words.read(prompts))

        def real(noisy: Tensor, times: Tensor) -> Tensor:
            return teacher.clean(noisy, times, states, guidance=GUIDANCE)

        def fake(noisy: Tensor, times: Tensor) -> Tensor:
            return predict(follower, noisy, times, states)

        moved, distance = matched(made, real, fake, alphas, draws)
        following = follow(made.detach(), fake, alphas, draws)
        paired = draws.numpy.integers(len(pairs.noise), size=round(PAIRS_SHARE * MATCH_PLAN.batch)).tolist()
        missed = missed_pairs(student, words, pairs, paired)
        parts = {"follow": following, "distance": distance, "pairs": missed}
        return moved + following + PAIRS_WEIGHT * missed, parts

    yield from train("pocket-pixart-match", trainee, loss_of, state)
    trainee.use_average()
    student.eval().requires_grad_(False)
