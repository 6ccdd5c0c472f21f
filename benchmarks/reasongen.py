"""Plans and pictures, drawn and learned from: ours against the released way of ReasonGen-R1, on the same weights.

The released way, in reasongen_published.py: a plan on a cache that grows, until the last row of 128 has ended; prompt
and plan read again for the picture; learning from 2 responses at a time, padded to the longest prompt and plan there
may be, with logits of all places as wide as the widest vocabulary. As released, prompts are padded when drawing, too.

Before the clock runs, both ways are held against each other: the same numbers have to draw the same plans and pictures,
the log-probabilities of the same words and tokens have to be the same, and so has the gradient of a step. Plans are as
long as those of the pocket world, by choice of the numbers. Counted is what an update takes without its judges and
without painting pixels. The ways take turns, on the CPU's own seconds; a ratio is the median of the turns'. Learning is
timed on some prompts' responses and multiplied, for it is the same again and again. The released code also asks a
reference model that nothing follows from; that is a row of its own, and the bar is held against the rest.

    OMP_NUM_THREADS=1 python benchmarks/reasongen.py
    OMP_NUM_THREADS=1 python benchmarks/reasongen.py --json docs/results/reasongen_speed.json --page docs/reasongen.md
    python benchmarks/reasongen.py --read docs/results/reasongen_speed.json --page docs/reasongen.md
    python benchmarks/reasongen.py --sizes tiny --json -
"""

import argparse
import math
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from reasongen_models import SIZES, ModelSizes, numbers_for, random_policy, wanted
from reasongen_published import PROMPTS_AT_ONCE, STEPS, Lesson, Pick, ReleasedWay, Sequences
from shown_reports import add_flags, between_marks, show
from timing import turns
from torch import Tensor

from plaudit.core.random_streams import stream
from plaudit.generators.plan_policy import Response, Texts, joined
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.token_policy import Sampling, pick
from plaudit.generators.trained_part import train_all
from plaudit.methods.prompt_rounds import rows_of
from plaudit.methods.reasongen import ReasonGen, _Batch
from plaudit.methods.reasongen_config import ReasonGenConfig

BAR, MOST, SAME_LOG_PROBS, SAME_GRADIENT = 3.0, 0.9, 1e-4, 0.9999
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
WAYS = ("ours", "released")
PARTS = {
    "drawing": "drawing",
    "learning": "learning",
    "update": "both: an update",
    "with_reference": "an update, where the released way asks its reference model, too",
}
COEFFICIENTS = (4e-3, -3e-3)
"""of the entropies of words and of tokens, of the size that they have in the released recipe"""
AT_ONCE = 128
"""responses; the released 16 prompts of 8"""


def main(arguments: Sequence[str] | None = None) -> int:
    return show(read_options(arguments), compare, table=as_table, with_table=with_table)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["pocket", "wide"], help="of the models")
    parser.add_argument("--prompts", type=int, help="of an update; each size has its own number")
    parser.add_argument("--learned", type=int, help="prompts whose responses are learned from on the clock")
    parser.add_argument("--repeats", type=int, default=3, help="of each way in turns; the median counts")
    add_flags(parser)
    options = parser.parse_args(arguments)
    if min(it for it in (options.repeats, options.prompts, options.learned) if it is not None) < 1:
        parser.error("give 1 prompt, learned prompt and repeat at least")
    options.models = {name: asked(SIZES[name], options) for name in options.sizes}
    for name, sizes in options.models.items():
        if not STEPS <= sizes.learned <= sizes.prompts:
            parser.error(f"{name}: learn from {STEPS} to {sizes.prompts} prompts, not from {sizes.learned}")
    return options


def asked(sizes: ModelSizes, options: argparse.Namespace) -> ModelSizes:
    """With the numbers of prompts that were asked for."""
    prompts = options.prompts or sizes.prompts
    return replace(sizes, prompts=prompts, learned=options.learned or min(prompts, sizes.learned))


class NoReward:
    """Costs nothing, and is never asked."""

    differentiable = False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(prompts))


class Bench:
    """A model with an update's prompts and random numbers, and both ways to make the update."""

    def __init__(self, sizes: ModelSizes) -> None:
        asked_for = wanted(sizes.prompts, sizes.images)
        self.sizes, self.policy = sizes, random_policy(sizes, asked_for.prompts)
        train_all(self.policy.transformer)
        self.released = ReleasedWay(self.policy)
        lengths = [length for group in asked_for.lengths for length in group]
        self.uniforms = numbers_for(self.policy, lengths)
        config = ReasonGenConfig(
            updates=1000, prompts_per_update=sizes.learned, images_per_prompt=sizes.images, rounds=1, lr=1e-9,
            weight_decay=0.0, grad_clip=1e9, entropy_control="pi", entropy_rate=1e-12, entropy_limit=0.1,
            steps_per_pass=STEPS, batch_size=AT_ONCE,
        )  # fmt: skip
        self.trainer = ReasonGen(self.policy, NoReward(), asked_for.prompts, config)
        for control, coefficient in zip((self.trainer.words, self.trainer.tokens), COEFFICIENTS, strict=True):
            control.load({"memory": torch.tensor([math.asinh(coefficient), 0.0], dtype=torch.float64)})
        self.texts = self.trainer.texts[torch.arange(sizes.prompts).repeat_interleave(sizes.images)]
        self.advantages = torch.randn(self.learned, generator=stream("benchmark", "advantages"))

    @property
    def learned(self) -> int:
        """Responses that are learned from on the clock: the first ones."""
        return self.sizes.learned * self.sizes.images

    def draw(self) -> Response:
        """Ours."""
        parts = torch.arange(len(self.texts)).split(AT_ONCE)
        return joined([
            draw_responses(self.policy, self.texts[at], self.uniforms[at], words=Sampling(), image=Sampling())
            for at in parts
        ])  # fmt: skip

    def draw_as_released(self, told: Response | None = None) -> list[Sequences]:
        """Theirs, a batch of prompts at a time, each prompt padded to the longest that there may be.

        `told`: what to say and draw, in place of what the numbers decide.
        """
        found, longest = [], self.policy.words.settings.max_prompt
        for at in torch.arange(len(self.texts)).split(PROMPTS_AT_ONCE * self.sizes.images):
            texts = self.texts[at]
            before = longest - texts.ids.shape[1]
            padded = Texts(
                ids=F.pad(texts.ids, (before, 0), value=self.policy.words.padding),
                mask=F.pad(texts.mask, (before, 0), value=False),
            )
            pick = drawing_by(self.uniforms[at]) if told is None else repeating(told[at])
            found.append(self.released.draw(padded, pick))
        return found

    def learn(self, response: Response) -> None:
        """Ours, from the first responses of all."""
        batch = _Batch(
            numbers=torch.arange(self.sizes.learned).repeat_interleave(self.sizes.images),
            rows=torch.arange(self.learned), response=response[: self.learned], images=torch.empty(0),
        )  # fmt: skip
        self.trainer.learn(batch, self.advantages, 0)

    def learn_as_released(self, drawn: Sequences) -> None:
        """Theirs, in the same steps."""
        config = self.trainer.config
        order = torch.randperm(self.sizes.learned, generator=stream(config.seed, "order", 0, 0))
        lesson = Lesson(
            advantages=self.advantages,
            steps=tuple(rows_of(part.sort().values, self.sizes.images) for part in order.tensor_split(STEPS)),
            coefficients=COEFFICIENTS,
        )
        self.released.learn(drawn[: self.learned], lesson, self.trainer.learner)

    def gradient(self) -> Tensor:
        """Of all weights, as the last step of learning left it; at this rate no step moves them."""
        return torch.cat(
            [weight.grad.flatten() for weight in self.trainer.learner.parameters if weight.grad is not None]
        )


def drawing_by(uniforms: Tensor) -> Pick:
    """How words and tokens are picked in both ways: by these numbers (B, W + T)."""
    return lambda probabilities, place: pick(probabilities.log(), uniforms[:, place])


def repeating(response: Response) -> Pick:
    """Says and draws this again."""
    said = torch.cat([response.words, response.tokens], dim=1)
    return lambda _, place: said[:, place]


def all_of(drawn: Sequence[Sequences]) -> Sequences:
    """One batch of several."""
    return Sequences(
        ids=torch.cat([one.ids for one in drawn]), mask=torch.cat([one.mask for one in drawn]),
        picture=torch.cat([one.picture for one in drawn]), prompt=drawn[0].prompt,
    )  # fmt: skip


def places_of(drawn: Sequences) -> tuple[Tensor, Tensor]:
    """Which places behind the prompts are written words (B, R), and which are tokens (B, R), bool."""
    pictures = drawn.picture[:, drawn.prompt :]
    return torch.arange(pictures.shape[1]) < pictures.int().argmax(dim=1, keepdim=True), pictures


def draws_apart(drawn: Sequences, response: Response) -> tuple[float, float]:
    """The shares of responses that are the same in both ways; and that are, or part where a number fell on an edge.

    Where there are 102400 words, some number falls so near the edge between two that rounding decides: the first word
    that differs is the neighbour, and what follows is another plan.
    """
    after = drawn.ids[:, drawn.prompt :]
    words, pictures = places_of(drawn)
    steps = []
    for row, word, painted, plan, written, tokens in zip(
        after, words, pictures, response.words, response.written, response.tokens, strict=True
    ):
        theirs, ours = torch.cat([row[word], row[painted]]), torch.cat([plan[written], tokens])
        both = min(len(theirs), len(ours))
        apart = (theirs[:both] - ours[:both]).abs()
        steps.append(int(apart[apart > 0][0]) if bool(apart.any()) else 2 * (len(theirs) != len(ours)))
    return sum(step == 0 for step in steps) / len(steps), sum(step in (0, 1) for step in steps) / len(steps)


def furthest_apart(bench: Bench, drawn: Sequences, response: Response) -> float:
    """The largest difference of two log-probabilities of the same word or token, nats; infinite if counts differ."""
    few = slice(0, bench.sizes.images)
    theirs = bench.released.before(drawn[few])
    with torch.no_grad():
        ours = score_responses(bench.policy, response[few], bench.texts[few])
    words, pictures = places_of(drawn[few])
    pairs = (
        (theirs[words], ours.words.log_probs[response[few].written]),
        (theirs[pictures], ours.tokens.log_probs.flatten()),
    )
    return max(float((a - b).abs().max()) if a.shape == b.shape else math.inf for a, b in pairs)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, and whether they are of the same thing."""
    return {
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "bar": BAR,
        "models": [measured(name, Bench(sizes), options.repeats) for name, sizes in options.models.items()],
    }


def measured(name: str, bench: Bench, repeats: int) -> dict[str, Any]:
    """One model's row of the report."""
    response = bench.draw()
    checks, drawn = checked(bench, response), all_of(bench.draw_as_released(response))
    drawing = turns({"ours": bench.draw, "released": bench.draw_as_released}, repeats)
    learners: dict[str, Callable[[], object]] = {
        "ours": lambda: bench.learn(response),
        "released": lambda: bench.learn_as_released(drawn),
        # What it costs to ask a model of the same size.
        "reference": lambda: bench.released.before(drawn[: bench.learned]),
    }
    learning = turns(learners, repeats)
    share = bench.sizes.prompts / bench.sizes.learned
    times = {
        way: {
            "drawing": drawing[way],
            "learning": [share * it for it in learning[way]],
            "update": [one + share * other for one, other in zip(drawing[way], learning[way], strict=True)],
        }
        for way in WAYS
    }
    asked = zip(times["released"]["update"], learning["reference"], strict=True)
    times["ours"]["with_reference"] = times["ours"]["update"]
    times["released"]["with_reference"] = [update + share * it for update, it in asked]
    ratios = {
        part: statistics.median(b / a for a, b in zip(times["ours"][part], times["released"][part], strict=True))
        for part in PARTS
    }
    lengths = response.written.sum(dim=1)
    made = int(lengths.sum()) + response.tokens.numel()
    seconds = {way: {part: statistics.median(it) for part, it in parts.items()} for way, parts in times.items()}
    return {
        "name": name,
        "parameters": sum(weight.numel() for weight in bench.policy.transformer.parameters()),
        "width": bench.sizes.width,
        "words": bench.policy.words_vocabulary,
        "codes": bench.policy.vocabulary,
        "tokens_a_picture": bench.policy.num_tokens,
        "prompts": bench.sizes.prompts,
        "images": bench.sizes.images,
        "learned": bench.sizes.learned,
        "plan_words": {"mean": round(float(lengths.double().mean()), 1), "longest": int(lengths.max())},
        **checks,
        "seconds": {way: {part: round(it, 4) for part, it in parts.items()} for way, parts in seconds.items()},
        "tokens_per_second": {
            way: {part: round(made / it) for part, it in parts.items()} for way, parts in seconds.items()
        },
        "ratio": {part: round(it, 2) for part, it in ratios.items()},
        "met": {part: ratios[part] >= BAR for part in ("drawing", "update")},
    }


def checked(bench: Bench, response: Response) -> dict[str, Any]:
    """How alike what both ways draw, say of the same response and learn from it is."""
    same, nearly = draws_apart(all_of(bench.draw_as_released()), response)
    drawn = all_of(bench.draw_as_released(response))
    apart = furthest_apart(bench, drawn, response)
    bench.learn(response)
    ours = bench.gradient().double()
    bench.learn_as_released(drawn)
    cosine = float(F.cosine_similarity(ours, bench.gradient().double(), dim=0))
    size = float(bench.gradient().double().norm() / ours.norm())
    return {
        "same_responses": round(same, 5),
        "same_but_for_edges": round(nearly, 5),
        "log_probs_apart": apart,
        "gradient_cosine": round(cosine, 6),
        "gradient_size": round(size, 6),
        "same": nearly == 1
        and same > MOST
        and apart < SAME_LOG_PROBS
        and min(cosine, 1 - abs(size - 1)) > SAME_GRADIENT,
    }


def as_table(report: dict[str, Any]) -> str:
    """For a page: what was measured, a row per model and part, and the bar."""
    threads = f"{report['threads']} thread{'s' * (report['threads'] > 1)}"
    lines = [
        f"{threads} of a CPU, random weights, by the CPU's own seconds. Words and tokens are counted that belong to a "
        "plan or a picture.",
        "",
        "| model | what | released, words and tokens a second | ours | ours is as fast |",
        "|---|---|---|---|---|",
    ]
    for row in report["models"]:
        for part, what in PARTS.items():
            rates = [row["tokens_per_second"][way][part] for way in ("released", "ours")]
            lines.append(f"| {row['name']} | {what} | {rates[0]} | {rates[1]} | {row['ratio'][part]:.1f} times |")
    lines.append("")
    lines += [line for row in report["models"] for line in (_said(row, report["bar"]), "")]
    return "\n".join(lines[:-1])


def _said(row: dict[str, Any], bar: float) -> str:
    """A model's size, and what of the bar is met."""
    parts = {how: [it for it, met in row["met"].items() if met is (how == "met")] for how in ("met", "missed")}
    words = " and ".join(f"{how} by the {' and the '.join(it)}" for how, it in parts.items() if it)
    return (
        f"{row['name']}: {row['parameters'] / 1e6:.1f} million parameters {row['width']} wide, {row['words']} words, "
        f"{row['tokens_a_picture']} tokens of {row['codes']} codes a picture; {row['prompts']} prompts x "
        f"{row['images']} responses, plans of {row['plan_words']['mean']:g} words, the longest "
        f"{row['plan_words']['longest']}. The bar, {bar:g} times the released way, is {words}."
    )


def with_table(page: str, report: dict[str, Any]) -> str:
    """The page with the report's table between its marks."""
    return between_marks(page, (BEGIN, END), as_table(report))


if __name__ == "__main__":
    sys.exit(main())
