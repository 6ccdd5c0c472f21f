"""Policy gradient on few steps, ours against the published way, on the same model in one run.

The published way, in rlcm_published.py: prompts again for every batch, steps image by image, updates from 2 images and
one step of each at a time.

Ours: prompts once per training, steps and images of different times in batches of `--batch-size`, the schedule looked
up for a whole batch. Counted is what makes an update: drawing the images (rollout) and learning from them, with a
reward that costs nothing. The ways take turns, and a ratio is the median of the pairs', by the clock and in seconds of
a CPU. "ours, same steps" trains the last step too, so that both take equally many; the default leaves it out.
"published, our batch" takes as many images, and steps, at a time as ours: what the size of the batches alone does.

Before the clock runs, both ways get the same images and actions: they must draw the same and have the same gradient.

    python benchmarks/rlcm.py
    python benchmarks/rlcm.py --model pocket-base --objective rebel --json -
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rlcm_published import CLIP, SAMPLE_BATCH, TRAIN_BATCH, PublishedSampler, Rolls, published_gradient
from torch import Tensor

from plaudit.core.devices import best_device
from plaudit.core.errors import PlauditError
from plaudit.core.random_streams import stream
from plaudit.generators.parts import load_parts
from plaudit.generators.policies import policy_of
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora
from plaudit.methods.rlcm import PUBLISHED_NUMBERS, Rlcm, RlcmConfig
from plaudit.pocket.folders import pocket_folder

BAR, SAME = 2.0, 0.99
DEFAULT_MODELS = ("pocket-base", "pocket-lcm")
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "star")
PROMPTS = tuple(f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES)


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_options(arguments)
    report = compare(options)
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return 0
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(as_table(report))
    return 0


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", help="models of `plaudit list models` that come with it, or folders")
    parser.add_argument("--objective", choices=("ppo", "rebel"), default="ppo")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps")
    parser.add_argument("--images", type=int, default=16, help="images an update; an even number")
    parser.add_argument("--batch-size", type=int, default=64, help="ours: images, or steps of images, at a time")
    parser.add_argument("--repeats", type=int, default=2, help="updates of each way, in turns")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - prints it")
    parser.add_argument("--device", help="cpu or cuda; the best there is if not given")
    options = parser.parse_args(arguments)
    if options.steps < 2 or options.images < 2 or options.images % 2 or options.batch_size < 1 or options.repeats < 1:
        parser.error("give at least 2 steps, an even number of images, 1 image at a time and 1 repeat")
    return options


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and what they come to."""
    device = torch.device(options.device) if options.device else best_device()
    rows, missing = [], []
    for name in options.model or DEFAULT_MODELS:
        try:
            rows.append(measure(name, options, device))
        except PlauditError as error:
            if options.model:
                raise
            missing.append(f"{name}: {error}")
    return {
        "objective": options.objective,
        "steps": options.steps,
        "images": options.images,
        "batch_size": options.batch_size,
        "repeats": options.repeats,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "bar": BAR,
        "models": rows,
        "left_out": missing,
    }


def measure(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One model's ratio, and whether both ways make the same images and gradient."""
    bench = open_bench(name, options, device)
    agreement = agree(bench)  # and both ways are warm
    ways: dict[str, Callable[[int], Timed]] = {
        "published": lambda update: published_update(bench, update, TRAIN_BATCH),
        "published, our batch": lambda update: published_update(bench, update, options.batch_size),
        "ours, same steps": lambda update: our_update(bench, update, keep_last=True),
        "ours": lambda update: our_update(bench, update, keep_last=False),
    }
    timed: dict[str, list[Timed]] = {way: [] for way in ways}
    for number in range(options.repeats):
        for way, run in ways.items():
            timed[way].append(run(1 + number))

    def ratio(way: str, clock: str = "total") -> float:
        pairs = zip(timed["published"], timed[way], strict=True)
        return round(statistics.median(getattr(slow, clock) / getattr(fast, clock) for slow, fast in pairs), 2)

    as_shipped = ratio("ours")
    return {
        "model": name,
        "policy": type(bench.policy).__name__,
        "speed_ratio": as_shipped,
        "speed_ratio_same_steps": ratio("ours, same steps"),
        "speed_ratio_published_our_batch": ratio("published, our batch"),
        "cpu_ratio": ratio("ours", "cpu"),
        "cpu_ratio_same_steps": ratio("ours, same steps", "cpu"),
        "cpu_ratio_published_our_batch": ratio("published, our batch", "cpu"),
        "met": as_shipped >= BAR,
        **agreement,
        "runs": {way: summary(runs, options.images) for way, runs in timed.items()},
    }


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Seconds of one update, by the clock; and those that this process had a CPU for."""

    rollout: float
    learning: float
    cpu: float

    @property
    def total(self) -> float:
        return self.rollout + self.learning


class Watch:
    """Started when it is made; looks at both clocks when the device has done all it was given."""

    def __init__(self, bench: "Bench") -> None:
        self._cuda = bench.policy.device.type == "cuda"
        self._begun, self._rolled, self._cpu = time.perf_counter(), 0.0, time.process_time()

    def rolled_out(self) -> None:
        self._rolled = self._now()

    def learned(self) -> Timed:
        now = self._now()
        cpu = time.process_time() - self._cpu
        return Timed(rollout=self._rolled - self._begun, learning=now - self._rolled, cpu=cpu)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def summary(runs: Sequence[Timed], images: int) -> dict[str, float]:
    total = statistics.median(it.total for it in runs)
    return {
        "samples_per_second": round(images / total, 3),
        "rollout_seconds": round(statistics.median(it.rollout for it in runs), 3),
        "learning_seconds": round(statistics.median(it.learning for it in runs), 3),
        "cpu_seconds": round(statistics.median(it.cpu for it in runs), 3),
    }


class Brightness:
    """Costs nothing."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A model with a LoRA, and both ways to train it."""

    policy: Any
    sampler: PublishedSampler
    config: RlcmConfig

    def trainer(self, *, keep_last: bool) -> Rlcm:
        return Rlcm(self.policy, Brightness(), PROMPTS, replace(self.config, keep_last_step=keep_last))

    @property
    def weights(self) -> list[Tensor]:
        return [it for it in self.policy.denoiser.parameters() if it.requires_grad]


def open_bench(name: str, options: argparse.Namespace, device: torch.device) -> Bench:
    policy = policy_of(load_generator(name, device=device, steps=options.steps))
    folder = Path(name) if Path(name).is_dir() else pocket_folder(name)
    add_lora(policy.denoiser, rank=16)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # Away from the start, where half of a LoRA has no gradient yet.
        for part, weights in policy.denoiser.named_parameters():
            if "lora_B" in part:
                weights += 0.01 * torch.randn(weights.shape, generator=rng).to(weights)
    config = RlcmConfig(
        updates=1 + options.repeats,
        prompts_per_update=options.images // 2,
        images_per_prompt=2,
        objective=options.objective,
        # Both objectives per number of an action, as published, at these latents' size.
        clip=CLIP * math.prod(policy.noise_shape),
        rebel_scale=PUBLISHED_NUMBERS / math.prod(policy.noise_shape),
        lr=1e-6,
        batch_size=options.batch_size,
    )
    sampler = PublishedSampler(policy, load_parts(folder, ["scheduler"])["scheduler"])
    return Bench(policy=policy, sampler=sampler, config=config)


def our_update(bench: Bench, update: int, *, keep_last: bool) -> Timed:
    trainer = bench.trainer(keep_last=keep_last)
    watch = Watch(bench)
    batch = trainer.act(update)
    watch.rolled_out()
    scores, _ = trainer.judge(batch)
    trainer.learn(batch, trainer.compare(scores, batch.numbers), update)
    return watch.learned()


def published_update(bench: Bench, update: int, train_batch: int) -> Timed:
    """`train_batch`: images, one step of each, at a time."""
    config, sampler = bench.config, bench.sampler
    images = config.prompts_per_update * config.images_per_prompt
    rng = stream(0, "published", update)
    prompts = [PROMPTS[i] for i in torch.randint(len(PROMPTS), (images // 2,), generator=rng).tolist() for _ in "12"]
    optimiser = torch.optim.Adam(bench.weights, lr=config.lr)
    watch = Watch(bench)
    sample_batch = SAMPLE_BATCH if train_batch == TRAIN_BATCH else config.batch_size
    rolled_out = [
        sampler.rollout(prompts[first : first + sample_batch], lambda shape: torch.randn(shape, generator=rng))
        for first in range(0, images, sample_batch)
    ]
    rolls = Rolls(*(torch.cat(column) for column in zip(*rolled_out, strict=True)))
    watch.rolled_out()
    scores = Brightness()(rolls.images, prompts).view(-1, 2)
    advantages = (scores - scores.mean(dim=1, keepdim=True)) / (scores.std(dim=1, keepdim=True, correction=0) + 1e-6)
    optimiser.zero_grad()
    published_gradient(sampler, rolls, advantages.flatten(), config.objective, train_batch, rng=rng)
    torch.nn.utils.clip_grad_norm_(bench.weights, config.grad_clip)
    optimiser.step()
    return watch.learned()


def agree(bench: Bench) -> dict[str, Any]:
    """Both ways on the same noises, actions and advantages: the images and the gradients beside each other."""
    trainer = bench.trainer(keep_last=True)
    begun = trainer.state()
    batch = trainer.act(0)
    scores, _ = trainer.judge(batch)
    advantages = trainer.compare(scores, batch.numbers)
    noises = iter(noises_of(batch.states, bench))
    rolls = bench.sampler.rollout(list(batch.prompts), lambda _: next(noises))
    trainer.learn(batch, advantages, 0)
    ours = torch.cat([it.grad.flatten() for it in bench.weights if it.grad is not None])
    trainer.load(begun)
    given = Rolls(batch.states, batch.log_probs / math.prod(bench.policy.noise_shape), rolls.text, rolls.images)
    for weights in bench.weights:
        weights.grad = None
    published_gradient(
        bench.sampler, given, advantages, bench.config.objective, TRAIN_BATCH, rng=stream(0, "published order")
    )
    theirs = torch.cat([it.grad.flatten() for it in bench.weights if it.grad is not None])
    # Ours was clipped to the configured norm.
    norm = min(float(theirs.norm()), bench.config.grad_clip)
    cosine = float(torch.nn.functional.cosine_similarity(ours, theirs, dim=0))
    return {
        "image_difference": float((rolls.images - batch.images).abs().max()),
        "gradient_cosine": cosine,
        "gradient_norm_ratio": float(ours.norm()) / max(norm, 1e-30),
        "same_gradient": cosine > SAME,
    }


def noises_of(states: Tensor, bench: Bench) -> list[Tensor]:
    """The start and the noise of each action (B, ...) of ours, so that the published way can draw the same."""
    found = [states[:, 0]]
    trainer = bench.trainer(keep_last=True)
    condition = trainer.act(0).condition
    with torch.no_grad():
        for step in range(bench.policy.num_steps):
            index = torch.full((len(states),), step, device=states.device)
            transition = trainer.walk.step(states[:, step], index, condition)
            spread = transition.spread.view(-1, *(1 for _ in states.shape[2:]))
            found.append((states[:, step + 1] - transition.mean) / spread.clamp_min(1e-12))
    return found


def as_table(report: dict[str, Any]) -> str:
    head = f"{report['objective']}, {report['images']} images in {report['steps']} steps an update, {report['device']}"
    lines = [f"{head}, {report['threads']} threads"]
    for row in report["models"]:
        lines.append(f"{row['model']} ({row['policy']})")
        for name, run in row["runs"].items():
            rollout, learning, cpu = (run[f"{it}_seconds"] for it in ("rollout", "learning", "cpu"))
            lines.append(
                f"  {name:22} {run['samples_per_second']:8.2f} samples/s   rollout {rollout:7.2f} s   "
                f"learning {learning:7.2f} s   of a CPU {cpu:7.2f} s"
            )
        lines.append(
            f"  speed x{row['speed_ratio']:.2f} (bar: at least x{report['bar']:g}); at the same steps "
            f"x{row['speed_ratio_same_steps']:.2f}; the batches alone "
            f"x{row['speed_ratio_published_our_batch']:.2f}"
        )
        lines.append(
            f"  in seconds of a CPU, which other programs do not change: x{row['cpu_ratio']:.2f}, "
            f"x{row['cpu_ratio_same_steps']:.2f}, x{row['cpu_ratio_published_our_batch']:.2f}"
        )
        lines.append(
            f"  same work: gradients' cosine {row['gradient_cosine']:.6f}, norms' ratio "
            f"{row['gradient_norm_ratio']:.4f}, images differ by {row['image_difference']:.1e} at most"
        )
    return "\n".join(lines + [f"left out: {it}" for it in report["left_out"]])


if __name__ == "__main__":
    sys.exit(main())
