"""Policy gradient on few steps, ours against the published way, on the same model in one run.

Written from the description of RLCM's released code (Oertell et al. 2024): prompts are encoded again for every batch
of 8 images that is drawn; the network takes a batch, but the sampler's step goes image by image, and asks the device
for each image's time; an update learns from 2 images and one step of each at a time, the last step included, whose
action no image shows. With `--objective rebel` it keeps the graphs of all steps of a pair until its one backward pass.

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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from plaudit.core.devices import best_device
from plaudit.core.errors import PlauditError
from plaudit.core.random_streams import stream
from plaudit.generators.lcm import LatentConsistency, guidance_embedding
from plaudit.generators.parts import load_parts
from plaudit.generators.policies import policy_of
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora
from plaudit.methods.losses import clipped_policy_loss
from plaudit.methods.rlcm import PUBLISHED_NUMBERS, Rlcm, RlcmConfig
from plaudit.pocket.folders import pocket_folder

BAR, SAME = 2.0, 0.99
DEFAULT_MODELS = ("pocket-base", "pocket-lcm")
SAMPLE_BATCH, TRAIN_BATCH, CLIP = 8, 2, 1e-4
"""of the released settings for the aesthetic task"""
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
    sampler: "PublishedSampler"
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


class Rolls(NamedTuple):
    """What the published way keeps of B images."""

    states: Tensor
    """(B, H + 1, ...)"""
    log_probs: Tensor
    """(B, H), means over an action's numbers"""
    text: Tensor
    """(B, L, D)"""
    images: Tensor


class PublishedSampler:
    """A policy's steps, as the released sampler takes them: the network on a batch, the rest image by image."""

    def __init__(self, policy: Any, scheduler: Any) -> None:
        # Float64, or the first step from pure noise loses half of its digits in 1 - spread^2.
        self.policy, self.alpha_bars = policy, scheduler.alphas_cumprod.double().to(policy.device)
        self.kind = scheduler.config.prediction_type
        self.consistency = policy if isinstance(policy, LatentConsistency) else None
        if self.consistency is not None:
            times = list(policy.times)
            self.scaling, self.final = scheduler.config.timestep_scaling, self.alpha_bars.new_ones(())
            following = [*times[1:], -1]
        else:
            scheduler.set_timesteps(policy.num_steps)
            times = scheduler.timesteps.tolist()
            self.final = scheduler.final_alpha_cumprod.double().to(policy.device)
            stride = scheduler.config.num_train_timesteps // policy.num_steps
            following = [time - stride for time in times]
        self.times = torch.tensor(times, device=policy.device)
        self.following = torch.tensor(following, device=policy.device)

    def rollout(self, prompts: list[str], draw: Callable[[tuple[int, ...]], Tensor]) -> Rolls:
        """Images of the prompts, whose text is encoded now; `draw` gives standard normal noise of a shape."""
        policy, shape = self.policy, (len(prompts), *self.policy.noise_shape)
        states, log_probs = [draw(shape).to(policy.device)], []
        with torch.no_grad():
            text = policy.encode(prompts).states
            clean = states[0]
            for step in range(policy.num_steps):
                index = torch.full((len(prompts),), step, device=policy.device)
                means, spreads, clean = self.step(states[-1], index, text)
                noise = draw(shape).to(policy.device)
                states.append(torch.stack([m + s * n for m, s, n in zip(means, spreads, noise, strict=True)]))
                log_probs.append(log_densities(means, spreads, states[-1]))
            return Rolls(torch.stack(states, 1), torch.stack(log_probs, 1), text, policy.decode(clean))

    def step(self, latents: Tensor, index: Tensor, text: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Means and spreads, one of each per image, and the clean latents or where the last step goes, (B, ...)."""
        prediction = self.predict(latents, self.times[index], text)
        means, spreads, ends = [], [], []
        for row in range(len(latents)):
            step = int(index[row].item())
            mean, spread = self.step_of_one(prediction[row], latents[row], step)
            ends.append(mean)
            if step == self.policy.num_steps - 1:
                # The noise of the step before, once more.
                spread = self.spread_of(step - 1)
                mean = (1 - spread**2).sqrt() * mean
            means.append(mean)
            spreads.append(spread)
        return means, spreads, torch.stack(ends)

    def step_of_one(self, prediction: Tensor, latents: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean and spread of one image's step."""
        now, then = self.alpha_bars[int(self.times[step].item())], self.then(step)
        signal, noise = now.sqrt(), (1 - now).sqrt()
        if self.kind == "epsilon":
            clean = (latents - noise * prediction) / signal
        elif self.kind == "v_prediction":
            clean = signal * latents - noise * prediction
        else:
            clean = prediction
        if self.consistency is not None:
            scaled = self.times[step].item() * self.scaling
            clean = scaled / math.sqrt(scaled**2 + 0.25) * clean + 0.25 / (scaled**2 + 0.25) * latents
            return then.sqrt() * clean, (1 - then).sqrt()
        spread = self.spread_of(step)
        rest = (latents - signal * clean) / noise
        return then.sqrt() * clean + (1 - then - spread**2).clamp_min(0).sqrt() * rest, spread

    def spread_of(self, step: int) -> Tensor:
        then = self.then(step)
        if self.consistency is not None:
            return (1 - then).sqrt()
        now = self.alpha_bars[int(self.times[step].item())]
        return ((1 - then) / (1 - now) * (1 - now / then)).clamp_min(0).sqrt()

    def then(self, step: int) -> Tensor:
        following = int(self.following[step].item())
        return self.alpha_bars[following] if following >= 0 else self.final

    def predict(self, latents: Tensor, times: Tensor, text: Tensor) -> Tensor:
        policy = self.policy
        if self.consistency is not None:
            size = policy.denoiser.config.time_cond_proj_dim
            embedding = None
            if size is not None:
                embedding = guidance_embedding(policy.guidance, size).to(latents).expand(len(latents), -1)
            found = policy.denoiser(latents, times, encoder_hidden_states=text, timestep_cond=embedding)
            return found.sample
        if policy.guidance == 1:
            return policy.denoiser(latents, times, encoder_hidden_states=text).sample
        empty = policy.encode([""] * len(latents)).states
        found = policy.denoiser(
            torch.cat([latents, latents]), torch.cat([times, times]), encoder_hidden_states=torch.cat([empty, text])
        )
        without, given = found.sample.chunk(2)
        return without + policy.guidance * (given - without)


def log_densities(means: list[Tensor], spreads: list[Tensor], actions: Tensor) -> Tensor:
    """(B,): of each image's action, the mean over its numbers."""
    found = [
        (-((action - mean) ** 2) / (2 * spread**2) - spread.log() - 0.5 * math.log(2 * math.pi)).mean()
        for mean, spread, action in zip(means, spreads, actions, strict=True)
    ]
    return torch.stack(found)


def published_gradient(
    sampler: PublishedSampler, rolls: Rolls, advantages: Tensor, objective: str, batch: int, *, rng: torch.Generator
) -> None:
    """Add the gradient of an update to the parameters': `batch` images, one step of each, at a time."""
    count, steps = rolls.log_probs.shape
    orders = torch.stack([torch.randperm(steps, generator=rng) for _ in range(count)])
    if objective == "rebel":
        for pairs in torch.randperm(count // 2, generator=rng).split(max(1, batch // 2)):
            rows = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
            moved = sum(moved_at(sampler, rolls, rows, orders[rows, place]) for place in range(steps))
            one, other = moved.view(-1, 2).unbind(1)
            target, against = advantages[rows].view(-1, 2).unbind(1)
            loss = ((one - other) - (target - against)).square()
            # All steps' graphs are held until here.
            (loss.sum() / (count // 2)).backward()
        return
    for rows in torch.randperm(count, generator=rng).split(batch):
        for place in range(steps):
            moved = moved_at(sampler, rolls, rows, orders[rows, place])
            loss = clipped_policy_loss(moved, advantages[rows], low=1 - CLIP, high=1 + CLIP)
            (loss.sum() / (count * steps)).backward()


def moved_at(sampler: PublishedSampler, rolls: Rolls, rows: Tensor, step: Tensor) -> Tensor:
    """How much the log-densities (B,) of the actions have changed since they were taken."""
    rows, step = rows.to(rolls.states.device), step.to(rolls.states.device)
    means, spreads, _ = sampler.step(rolls.states[rows, step], step, rolls.text[rows])
    return log_densities(means, spreads, rolls.states[rows, step + 1]) - rolls.log_probs[rows, step]


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
