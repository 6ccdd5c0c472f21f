"""What a step of noise optimisation costs each family of generators: time, and memory planned and measured.

One step draws the pictures, judges them by a reward that costs next to nothing (a mean colour) or by a CLIP tower, and
follows the gradient back to the noise. Beside ours stands the published loop's way: one image at a time, no
checkpointing, diffusers' own decoder, the prompt read again at every step. An image is 50 such steps.

On a GPU memory is the most that was allocated, weights included; on a CPU, which does not count, it is what autograd
keeps for the backward pass. Random weights cost what the published ones cost, and need no download.

    python benchmarks/generators.py --random-weights --json generators.json      (published sizes: a GPU of 80 GB)
    python benchmarks/generators.py --random-weights --tiny                      (miniatures: a CPU, a minute or two)
    python benchmarks/generators.py --models sd-turbo pocket-turbo                           (the published weights)
    python benchmarks/generators.py --read docs/results/generators.json --page docs/performance.md
"""

import argparse
import contextlib
import gc
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from shown_reports import between_marks
from torch import Tensor

from plaudit.core.devices import best_device, has_fast_bfloat16
from plaudit.core.random_streams import noise_for
from plaudit.generators.memory import save_memory
from plaudit.generators.memory_plan import card_plan, peak_of
from plaudit.generators.memory_settings import MemorySettings
from plaudit.generators.memory_simulation import Simulation, plain_decoder
from plaudit.generators.memory_use import memory_use
from plaudit.generators.random_rewards import random_reward
from plaudit.generators.random_weights import random_generator
from plaudit.generators.table import load_generator
from plaudit.methods.losses import nesterov_step, penalty_gradient
from plaudit.shells.planning import in_words

FEW_STEP_MODELS = (
    "sd-turbo", "sdxl-turbo", "hyper-sdxl", "pixart-dmd", "flux-schnell", "sana-sprint-0.6b", "sana-sprint-1.6b",
    "lcm-dreamshaper", "lcm-lora-sd15",
)  # fmt: skip
TOWER = "clip-vit-h14"
STEPS_OF_AN_IMAGE = 50
PROMPTS = ("a red fox", "two blue cups", "an old lighthouse", "a bicycle on the moon")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


class Redness:
    """A reward that costs nothing: how much more red than green and blue a picture is."""

    differentiable = True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images[:, 0].mean(dim=(1, 2)) - images[:, 1:].mean(dim=(1, 2, 3))


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_options(arguments)
    report = json.loads(Path(options.read).read_text()) if options.read else measure(options)
    if options.json == "-":
        print(json.dumps(report, indent=2))
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    if options.page:
        page = Path(options.page)
        page.write_text(with_table(page.read_text(), report))
    print(table(report))
    return 0


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=FEW_STEP_MODELS, help="rows of `plaudit list models`")
    parser.add_argument("--random-weights", action="store_true", help="instead of the published ones: no download")
    parser.add_argument("--tiny", action="store_true", help="miniatures, with random weights only")
    parser.add_argument("--device", help="cpu or cuda; the best there is if not given")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="left out: 1, and 2 or the largest that fits a GPU")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each; the fastest counts")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - prints it")
    parser.add_argument("--read", metavar="FILE", help="measure nothing; read a report from there")
    parser.add_argument("--page", metavar="FILE", help="put the table between the marks of that page")
    options = parser.parse_args(arguments)
    options.scale = "tiny" if options.tiny else "real"
    if options.tiny and not options.random_weights and not options.read:
        parser.error("only random weights come as miniatures: add --random-weights")
    if options.repeats < 1 or min(options.batch_sizes or (1,)) < 1:
        parser.error("give at least 1 repeat and 1 image")
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All models, one after the other."""
    device = torch.device(options.device) if options.device else best_device()
    fast = device.type == "cuda" and has_fast_bfloat16(device)
    dtype = torch.bfloat16 if fast else torch.float32
    tower, _ = random_reward(TOWER, device=device, dtype=dtype, scale=options.scale)
    rows = []
    for name in options.models:
        bench = Bench(name, options, device, dtype)
        for row in (*bench.rows("colour", Redness()), *bench.rows("tower", tower)):
            print(f"{name}: {row['seconds_per_step']:.3f} s a step of {row['batch_size']}", file=sys.stderr)
            rows.append(row)
        del bench
        forget(device)
    return {
        "random_weights": options.random_weights,
        "scale": options.scale,
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "memory": "peak" if device.type == "cuda" else "kept",
        "versions": {package: metadata.version(package) for package in ("torch", "diffusers", "transformers")},
        "rows": rows,
    }


class Bench:
    """One model, loaded once."""

    def __init__(self, name: str, options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self.device, self.repeats = name, device, options.repeats
        self.condition: Any = None
        # A reward that is on the device all the time is no part of the plan.
        self.before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
        made: Any = (
            random_generator(name, device=device, dtype=dtype, scale=options.scale)
            if options.random_weights
            else load_generator(name, device=device, dtype=dtype)
        )
        self.generator = made
        precision: Any = str(dtype).removeprefix("torch.")
        self.plan = Simulation(name, (), precision, options.scale)
        self.settings, largest = MemorySettings(), 2
        if device.type == "cuda":
            card = card_plan(self.plan, torch.cuda.get_device_properties(device).total_memory / 2**30)
            self.settings, largest = card.settings or MemorySettings(), max(1, card.batch_size)
        self.batch_sizes = options.batch_sizes or sorted({1, largest})

    def rows(self, judge: str, reward: Any) -> Iterator[dict[str, Any]]:
        """The published way, then ours at each batch size."""
        published = MemorySettings(checkpointing=False)
        for way, settings, batch_size in (
            ("published", published, 1),
            *(("plaudit", self.settings, size) for size in self.batch_sizes),
        ):
            decoder = plain_decoder(self.generator.vae) if way == "published" else contextlib.nullcontext()
            try:
                with decoder:
                    yield self.row(way, judge, reward, settings, batch_size)
            except torch.cuda.OutOfMemoryError:
                print(f"{self.name}: {batch_size} at once do not fit ({way})", file=sys.stderr)
            forget(self.device)

    def row(self, way: str, judge: str, reward: Any, settings: MemorySettings, batch_size: int) -> dict[str, Any]:
        """One measurement."""
        save_memory(self.generator, settings)
        reads_again = way == "published"
        if self.device.type == "cuda":
            self.step(reward, batch_size, reads_again)  # warms up
            torch.cuda.reset_peak_memory_stats()
        times = [self.timed(reward, batch_size, reads_again) for _ in range(self.repeats)]
        measured, planned = self.memory(settings, batch_size, lean=way == "plaudit")
        return {
            "model": self.name,
            "way": way,
            "reward": judge,
            "batch_size": batch_size,
            "settings": in_words(settings),
            "seconds_per_step": min(times),
            "images_per_minute": 60 * batch_size / (STEPS_OF_AN_IMAGE * min(times)),
            "measured_bytes": measured,
            "planned_bytes": planned if judge == "colour" else None,
        }

    def timed(self, reward: Any, batch_size: int, reads_again: bool) -> float:
        synchronise(self.device)
        started = time.perf_counter()
        self.step(reward, batch_size, reads_again)
        synchronise(self.device)
        return time.perf_counter() - started

    def step(self, reward: Any, batch_size: int, reads_again: bool) -> None:
        """One step of noise optimisation."""
        prompts = [PROMPTS[index % len(PROMPTS)] for index in range(batch_size)]
        if reads_again or self.condition is None or len(self.condition) != batch_size:
            self.condition = self.generator.encode(prompts)
        noise = noise_for([(0, index) for index in range(batch_size)], self.generator.noise_shape).to(self.device)
        leaf = noise.requires_grad_()
        images = self.generator.sample(leaf, self.condition)
        seen = images.detach().requires_grad_()
        slope = torch.autograd.grad(-reward(seen, prompts).sum(), seen)[0]
        gradient = torch.autograd.grad(images, leaf, slope)[0].float() + 0.01 * penalty_gradient(noise.detach())
        rate = torch.full((batch_size,), 1.0, device=self.device)
        nesterov_step(noise.detach(), torch.zeros_like(noise), gradient, rate, momentum=0.9)

    def memory(self, settings: MemorySettings, batch_size: int, *, lean: bool) -> tuple[int, int]:
        """Bytes measured and planned: the peak on a GPU, else what is kept for the backward pass."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() - self.before, peak_of(self.plan, settings, batch_size, lean=lean)
        measured = memory_use(self.generator, batch_size=batch_size).kept
        return sum(measured.values()), sum(self.plan.use(settings, batch_size, lean=lean).kept.values())


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def table(report: dict[str, Any]) -> str:
    """The report as a table in Markdown, with what it was measured on."""
    what = "peak memory" if report["memory"] == "peak" else "kept for the backward pass"
    sizes = "miniatures with random weights" if report["scale"] == "tiny" else "published sizes"
    if report["scale"] == "real" and report["random_weights"]:
        sizes += " with random weights"
    threads = f", {report['threads']} thread{'s' * (report['threads'] > 1)}" * (report["device"] == "cpu")
    unit, size = ("kB", 2**10) if report["scale"] == "tiny" else ("MB", 2**20)
    lines = [
        f"Measured on {report['device']} ({report['device_name']}{threads}) in {report['dtype']}: {sizes}.",
        "",
        f"| model | way | reward | at once | ms a step | images a minute | {what}, {unit} | planned, {unit} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        planned = "" if row["planned_bytes"] is None else f"{row['planned_bytes'] / size:.0f}"
        lines.append(
            f"| {row['model']} | {row['way']} | {row['reward']} | {row['batch_size']} "
            f"| {1000 * row['seconds_per_step']:.0f} | {row['images_per_minute']:.1f} "
            f"| {row['measured_bytes'] / size:.0f} | {planned} |"
        )
    return "\n".join(lines)


def with_table(page: str, report: dict[str, Any]) -> str:
    """The page with the report's table between its marks."""
    return between_marks(page, (BEGIN, END), table(report))


if __name__ == "__main__":
    sys.exit(main())
