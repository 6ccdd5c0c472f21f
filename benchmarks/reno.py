"""Noise optimisation, ours against the published loop's way, on the same models in one run.

The published way: one image at a time, every text encoded again at every step, one joint graph over all
rewards, a plain decoder. Ours: many images at a time, texts once, one backward per reward, a decoder that keeps
fewer activations; with `--recompute` also the blocks of generator and rewards recomputed. Speed is images per
minute, published at its batch of one against ours at `--images`; memory is the peak above the loaded models, per
image, both at the same batch. Every measurement is a process of its own.

    python benchmarks/reno.py --model pocket-turbo
    python benchmarks/reno.py --random-weights pocket --images 16 --steps 10 --json -
    python benchmarks/reno.py --random-weights sd-turbo --images 4 --steps 5 --recompute       (on a GPU)
"""

import argparse
import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.devices import best_device, has_fast_bfloat16
from plaudit.core.random_streams import noise_for
from plaudit.generators.table import load_generator
from plaudit.methods.losses import norm_penalty
from plaudit.methods.reno import BestSoFar, RenoConfig, optimise_noise
from plaudit.presets.reno import reward_specs
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.table import load_rewards

SPEED_BAR, MEMORY_BAR = 3.0, 0.6
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "star")


def main() -> int:
    options = read_options()
    if options.worker:
        print(json.dumps(work(options)))
        return 0
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
    parser.add_argument("--model", default="pocket-turbo", help="a model of `plaudit list models`")
    parser.add_argument(
        "--random-weights", choices=("tiny", "pocket", "sd-turbo"), help="random models of that size instead"
    )
    parser.add_argument("--images", type=int, default=16, help="images, and our batch")
    parser.add_argument("--steps", type=int, default=10, help="steps per image")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the fastest counts")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - prints it")
    parser.add_argument("--device", help="cpu or cuda; the best there is if not given")
    parser.add_argument("--recompute", action="store_true", help="ours recomputes activations: slower, less memory")
    parser.add_argument("--worker", choices=("published", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.images < 1 or options.steps < 2 or options.repeats < 1:
        parser.error("give at least 1 image, 2 steps and 1 repeat")
    return options


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run every measurement in a process of its own and put the ratios together."""
    images, steps = options.images, options.steps
    recompute = ("--recompute",) if options.recompute else ()
    runs = {
        "published, one by one": run_worker(options, "published", batch=1, images=images, steps=steps),
        "ours, together": run_worker(options, "ours", *recompute, batch=images, images=images, steps=steps),
        "published, memory": run_worker(options, "published", batch=images, images=images, steps=2, tidy=True),
        "ours, memory": run_worker(options, "ours", *recompute, batch=images, images=images, steps=2, tidy=True),
    }
    ours = runs["ours, together"]
    speed = ours["images_per_minute"] / runs["published, one by one"]["images_per_minute"]
    saved = runs["ours, memory"]["megabytes_per_image"] / max(1e-9, runs["published, memory"]["megabytes_per_image"])
    return {
        "images": images,
        "steps": steps,
        "models": options.random_weights or options.model,
        "device": ours["device"],
        "recompute": options.recompute,
        "speed_ratio": round(speed, 2),
        "speed_bar": SPEED_BAR,
        "speed_met": speed >= SPEED_BAR,
        "memory_ratio": round(saved, 3),
        "memory_bar": MEMORY_BAR,
        "memory_met": saved <= MEMORY_BAR,
        "runs": runs,
    }


TIDY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc gives freed tensors back at once, so that a peak is what is in use and not what is kept for later"""


def run_worker(
    options: argparse.Namespace, way: str, *flags: str, batch: int, images: int, steps: int, tidy: bool = False
) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", way, "--batch", str(batch), "--images", str(images)]
    command += ["--steps", str(steps), "--repeats", str(options.repeats), "--model", options.model, *flags]
    if options.random_weights:
        command += ["--random-weights", options.random_weights]
    if options.device:
        command += ["--device", options.device]
    environment = os.environ | (TIDY if tidy else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def work(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in this process."""
    device = torch.device(options.device) if options.device else best_device()
    generator, rewards = load(options, device)
    generator.use_checkpointing(options.recompute)
    for _, reward in rewards.parts.values():
        if options.recompute and isinstance(getattr(reward, "checkpointing", None), bool):
            reward.checkpointing = True
    if options.worker == "published":
        generator.vae = plain_decoder(generator.vae)
    prompts = [f"a {COLOURS[i % 4]} {SHAPES[i // 4 % 4]}" for i in range(options.images)]
    ways: dict[str, Callable[..., None]] = {"published": published_way, "ours": our_way}
    way = ways[options.worker]
    way(generator, rewards, prompts[:1], steps=2, batch=1)  # warm up
    peak, seconds = Peak(device), math.inf
    for _ in range(options.repeats):
        started = time.perf_counter()
        way(generator, rewards, prompts, steps=options.steps, batch=options.batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - started)
    return {
        "images_per_minute": 60 * options.images / seconds,
        "seconds": seconds,
        "megabytes_per_image": peak.megabytes() / options.batch,
        "batch": options.batch,
        "steps": options.steps,
        "device": str(device),
    }


def load(options: argparse.Namespace, device: torch.device) -> tuple[Any, WeightedSum]:
    dtype = torch.bfloat16 if device.type == "cuda" and has_fast_bfloat16(device) else torch.float32
    if options.random_weights:
        from random_models import build_models

        return build_models(options.random_weights, device=device, dtype=dtype)
    return load_generator(options.model, device=device, dtype=dtype), load_rewards(reward_specs(), device=device)


def plain_decoder(vae: Any) -> Any:
    """The autoencoder as its library has it."""
    plain = type(vae).from_config(vae.config)
    plain.load_state_dict(vae.state_dict())
    return plain.to(vae.device, vae.dtype).eval().requires_grad_(False)


def our_way(generator: Any, rewards: WeightedSum, prompts: list[str], *, steps: int, batch: int) -> None:
    config = RenoConfig(steps=steps, batch_size=batch)
    best = BestSoFar(prompts, config)
    for step in optimise_noise(generator, rewards, prompts, config):
        best.see(step)
    best.results()


def published_way(generator: Any, rewards: WeightedSum, prompts: list[str], *, steps: int, batch: int) -> None:
    """The released loop's order of work; its batch is one. A larger batch serves to compare memory."""
    config = RenoConfig(steps=steps)
    lr = config.lr_for(generator.noise_shape[0] * generator.noise_shape[1] * generator.noise_shape[2])
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        keys = [(0, start + i, 0) for i in range(len(some))]
        noise = noise_for(keys, generator.noise_shape).to(generator.device).requires_grad_()
        optimiser = torch.optim.SGD([noise], lr=lr, momentum=config.momentum, nesterov=True)
        best: tuple[float, Tensor] | None = None
        for index in range(steps):
            for _, reward in rewards.parts.values():
                reward.forget_prompts()  # type: ignore[attr-defined]
            images = generator.sample(noise, generator.encode(some))
            total = rewards(images, some).sum()
            loss = config.prior_weight * norm_penalty(noise).sum() - total
            if best is None or total.item() > best[0]:
                best = (total.item(), images.detach())
            if index < steps - 1:
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([noise], config.grad_clip)
                optimiser.step()


class Peak:
    """The most memory in use since this was made, above what was in use then."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        if self._cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = float(torch.cuda.memory_allocated())
            return
        # Linux can forget the peak of loading, which may be above what follows; elsewhere it stays.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._peak_bytes()

    def megabytes(self) -> float:
        now = float(torch.cuda.max_memory_allocated()) if self._cuda else self._peak_bytes()
        return max(0.0, now - self._before) / 2**20

    @staticmethod
    def _peak_bytes() -> float:
        status = Path("/proc/self/status")
        if status.is_file():
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            return float(lines["VmHWM"].split()[0]) * 1024
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(usage) * (1 if sys.platform == "darwin" else 1024)


def as_table(report: dict[str, Any]) -> str:
    lines = [f"{report['models']} on {report['device']}, {report['images']} images, {report['steps']} steps"]
    for name, run in report["runs"].items():
        rate, memory = run["images_per_minute"], run["megabytes_per_image"]
        lines.append(f"  {name:30} {rate:9.1f} images/min {memory:9.1f} MB/image")
    lines.append(f"  speed  x{report['speed_ratio']:.2f} (bar: at least x{SPEED_BAR:g})")
    lines.append(f"  memory x{report['memory_ratio']:.2f} (bar: at most x{MEMORY_BAR:g})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
