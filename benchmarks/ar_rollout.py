"""Tokens per second of drawing groups of pictures token by token, and of learning from them: ours and other ways.

All ways draw the same tokens from the same random numbers, on the same modules with random weights, and both ways of
learning have the same gradient; that is checked before the clock runs. Counted is an update of AR-GRPO without its
judges: `--prompts` classes times `--images` pictures are drawn, then learned from in `--passes` passes.

- ours: all pictures are one batch, on one cache of fixed size; one forward and backward pass serves both advantages.
- grown: all pictures are one batch, on a cache that is put together anew for every token, as in plain loops.
- one by one: the same, picture by picture; timed on `--timed` of them and multiplied.
- released: as LOO-FID's released code does it; see ar_published.py.

    OMP_NUM_THREADS=1 python benchmarks/ar_rollout.py
    OMP_NUM_THREADS=1 python benchmarks/ar_rollout.py --json docs/results/ar_speed.json --page docs/performance.md
    python benchmarks/ar_rollout.py --read docs/results/ar_speed.json --page docs/performance.md
    python benchmarks/ar_rollout.py --sizes tiny --prompts 2 --images 2 --json -
"""

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ar_published import calls, grown_rollout, released_rollout, released_update
from shown_reports import add_flags, between_marks, show
from timing import in_turns
from torch import Tensor

from plaudit.core.random_streams import stream
from plaudit.generators.llama_transformer import LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import draw_tokens, uniforms_for
from plaudit.generators.trained_part import train_all
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer
from plaudit.methods.ar_grpo import ArGrpo, Judges
from plaudit.methods.ar_grpo_config import ArGrpoConfig

BAR, SAME = 3.0, 0.9999
BEGIN, END = "<!-- tokens: begin -->", "<!-- tokens: end -->"
SIZES = {
    "pocket": {"dim": 128, "layers": 6, "heads": 4, "hidden": 384, "vocabulary": 512, "grid": 8},
    "larger": {"dim": 256, "layers": 8, "heads": 8, "hidden": 768, "vocabulary": 4096, "grid": 12},
    "tiny": {"dim": 16, "layers": 2, "heads": 2, "hidden": 24, "vocabulary": 12, "grid": 3},
}
"""pocket: pocket-llamagen's"""
WAYS = {
    "ours": "one batch, one static cache",
    "grown": "one batch, a cache that grows by concatenation",
    "one by one": "the same, picture by picture",
    "released": "one call for each picture of a group, each with a full cache",
}


def main(arguments: Sequence[str] | None = None) -> int:
    return show(read_options(arguments), compare, table=as_table, with_table=with_table)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["pocket"], help="of the models")
    parser.add_argument("--prompts", type=int, default=8, help="classes of an update")
    parser.add_argument("--images", type=int, default=8, help="pictures of each")
    parser.add_argument("--guidance", type=float, default=1.0, help="of the pictures, in all ways; 1: none")
    parser.add_argument("--passes", type=int, default=1, help="over the pictures of an update; released: 2")
    parser.add_argument("--timed", type=int, default=2, help="pictures drawn one by one")
    parser.add_argument("--repeats", type=int, default=2, help="of each way in turns; the median counts")
    add_flags(parser)
    options = parser.parse_args(arguments)
    least = min(options.prompts, options.passes, options.timed, options.repeats)
    if least < 1 or options.images < 2 or options.timed > options.prompts * options.images:
        parser.error("give 1 prompt, pass, repeat and timed picture at least, and 2 images, no fewer than are timed")
    return options


def random_policy(sizes: dict[str, int]) -> LlamaGen:
    """A LlamaGen of 64 classes whose weights are drawn; its pictures are never decoded."""
    vocabulary = sizes["vocabulary"]
    first = TokenizerSizes(
        channels=8, multipliers=(1, 1), res_blocks=1, norm_groups=4, z_channels=4, codebook_size=vocabulary,
        codebook_dim=4,
    )  # fmt: skip
    transformer = LlamaTransformer(LlamaSizes(**sizes, classes=64))
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            scale = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.0
            weight.copy_(torch.randn(weight.shape, generator=stream("benchmark", name)) * scale + (weight.ndim == 1))
    return LlamaGen(transformer, VQTokenizer(first))


class NoReward:
    """Costs nothing, and is never asked."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(prompts))


class Bench:
    """A model with an update's random numbers, and all ways to make the update."""

    def __init__(self, sizes: dict[str, int], options: argparse.Namespace) -> None:
        self.policy, self.options = random_policy(sizes), options
        train_all(self.policy.transformer)
        self.group, self.count = options.images, options.prompts * options.images
        self.sampling = Sampling(guidance=options.guidance)
        config = ArGrpoConfig(
            updates=1000, prompts_per_update=options.prompts, images_per_prompt=options.images, ratio="sequence",
            passes=options.passes, guidance=options.guidance, entropy_target=0.0, lr=1e-9, grad_clip=1e9,
            batch_size=self.count,
        )  # fmt: skip
        prompts = [str(number) for number in range(64)]
        self.trainer = ArGrpo(self.policy, Judges(pictures=NoReward()), prompts, config)
        self.batch = self.trainer.act(0)
        self.condition = self.trainer.condition[self.batch.numbers]
        self.uniforms = uniforms_for([(0, "image", 0, row) for row in range(self.count)], self.policy.num_tokens)
        self.advantages = [torch.randn(self.count, generator=stream("benchmark", it)) for it in ("own", "shared")]

    def rollouts(self) -> dict[str, Callable[[], Tensor]]:
        """Tokens (B, T) by each way; one by one only some."""
        few = range(self.options.timed)
        given = (self.policy, self.condition, self.uniforms, self.sampling)
        return {
            "ours": lambda: draw_tokens(*given).tokens,
            "grown": lambda: grown_rollout(*given),
            "one by one": lambda: torch.cat(
                [grown_rollout(self.policy, self.condition[[i]], self.uniforms[[i]], self.sampling) for i in few]
            ),
            "released": lambda: released_rollout(*given, group=self.group),
        }

    def learners(self) -> dict[str, Callable[[], object]]:
        """An update's learning, by the two ways that learn."""
        whole, tokens = self.advantages[0] + self.advantages[1], self.batch.drawn.tokens
        drawn = [(self.condition[rows], tokens[rows], rows) for rows in calls(self.count, self.group)]
        learner, passes = self.trainer.learner, self.options.passes
        return {
            "ours": lambda: self.trainer.learn(self.batch, whole, 0.0, 0),
            "released": lambda: released_update(self.policy, drawn, self.advantages, learner, passes),
        }

    def gradient(self, way: str) -> Tensor:
        """Of all weights, at the end of a way's learning; at this rate no pass moves them."""
        self.learners()[way]()
        return torch.cat([weight.grad.flatten() for weight in self.trainer.learner.parameters])


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and whether they are of the same thing."""
    return {
        "prompts": options.prompts,
        "images": options.images,
        "guidance": options.guidance,
        "passes": options.passes,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "bar": BAR,
        "models": [measured(name, Bench(SIZES[name], options), options) for name in options.sizes],
    }


def measured(name: str, bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """One model's row of the report."""
    rollouts, learners = bench.rollouts(), bench.learners()
    drawn = {way: draw() for way, draw in rollouts.items()}
    same = {way: float((tokens == drawn["ours"][: len(tokens)]).float().mean()) for way, tokens in drawn.items()}
    ours, theirs = bench.gradient("ours"), bench.gradient("released")
    cosine = float(torch.nn.functional.cosine_similarity(ours.double(), theirs.double(), dim=0))
    drawing, learning = in_turns(rollouts, options.repeats), in_turns(learners, options.repeats)
    drawing["one by one"] *= bench.count / options.timed
    tokens = bench.count * bench.policy.num_tokens
    seconds: dict[str, dict[str, float]] = {}
    for way in WAYS:
        seconds[way] = {"rollout": round(drawing[way], 4)}
        if way in learning:
            seconds[way] |= {"learning": round(learning[way], 4), "update": round(drawing[way] + learning[way], 4)}
    ratio = seconds["released"]["update"] / seconds["ours"]["update"]
    return {
        "name": name,
        "parameters": sum(weight.numel() for weight in bench.policy.transformer.parameters()),
        "tokens_a_picture": bench.policy.num_tokens,
        "codes": bench.policy.vocabulary,
        "pictures": bench.count,
        "seconds": seconds,
        "tokens_per_second": {
            way: {what: round(tokens / it) for what, it in found.items()} for way, found in seconds.items()
        },
        "same_tokens": {way: round(share, 5) for way, share in same.items()},
        "gradient_cosine": round(cosine, 6),
        "same": min(same.values()) > SAME - 0.01 and cosine > SAME,
        "rollout_ratio": {way: round(drawing[way] / drawing["ours"], 2) for way in WAYS if way != "ours"},
        "update_ratio": round(ratio, 2),
        "met": {"drawing": drawing["released"] / drawing["ours"] >= BAR, "update": ratio >= BAR},
    }


def as_table(report: dict[str, Any]) -> str:
    """For a page: what was measured, a row per model and way, and the bar."""
    threads = f"{report['threads']} thread{'s' * (report['threads'] > 1)}"
    lines = [
        f"{report['prompts']} classes x {report['images']} pictures, guidance {report['guidance']:g}, "
        f"{report['passes']} pass{'es' * (report['passes'] > 1)}, {threads} of a CPU, random weights; by the CPU's own "
        "seconds.",
        "",
        "| model | way | tokens a second, drawn | ours is as fast | tokens a second, drawn and learned from | ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["models"]:
        for way, what in WAYS.items():
            rates = row["tokens_per_second"][way]
            times = "" if way == "ours" else f"{row['rollout_ratio'][way]:.1f} times"
            update = f"{row['update_ratio']:.1f} times" if way == "released" else ""
            lines.append(
                f"| {row['name']} | {what} | {rates['rollout']} | {times} | {rates.get('update', '')} | {update} |"
            )
    lines.append("")
    for row in report["models"]:
        met = [what for what, it in row["met"].items() if it]
        missed = [what for what, it in row["met"].items() if not it]
        words = " and ".join(
            f"{how} by the {' and the '.join(it)}" for how, it in (("met", met), ("missed", missed)) if it
        )
        lines.append(
            f"{row['name']}: {row['parameters'] / 1e6:.1f} million parameters, {row['tokens_a_picture']} tokens of "
            f"{row['codes']} codes a picture. The bar, {report['bar']:g} times the released way, is {words}."
        )
    return "\n".join(lines)


def with_table(page: str, report: dict[str, Any]) -> str:
    """The page with the report's table between its marks."""
    return between_marks(page, (BEGIN, END), as_table(report))


if __name__ == "__main__":
    sys.exit(main())
