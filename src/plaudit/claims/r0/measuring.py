"""Pictures of PocketEval's prompts by one model, and all that is said about them: rewards, judge, distances, likeness.

A picture's noise depends on seed, prompt and number alone, so every model is asked for the same pictures. What the
feature net saw is kept, so that other distances can be taken later.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from plaudit.claims.r0.models import Bench
from plaudit.claims.r0.plan import Measure
from plaudit.claims.scored_pictures import feature_set, features_seen, raw_scores
from plaudit.core.random_streams import noise_for
from plaudit.core.whole_files import write_whole
from plaudit.generators.denoising import Denoising
from plaudit.methods.denoising_walk import draw_few_steps
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet, features_of
from plaudit.rewards.reward import Reward
from plaudit.runs.files import write_json
from plaudit.runs.looks import sheet
from plaudit.runs.provenance import png_bytes
from plaudit.suites.diversity import in_group_distance
from plaudit.suites.fidelity import compare
from plaudit.suites.pocket_eval import PocketSuite
from plaudit.suites.reference_sets import pocket_renders
from plaudit.suites.run import pocket

BATCH = 32
"""pictures drawn at once; does not change them"""
SHOWN = 8
"""of a measure's pictures, kept as pictures"""
FIRST, ALL = "first", "all"
"""which of a prompt's pictures are compared with real ones"""

Key = tuple[int | str, ...]
Draw = Callable[[Sequence[str], Sequence[Key]], Tensor]
"""images (B, 3, H, W) in [0, 1] of B prompts, each from the noise of its key"""


def few_steps(denoising: Denoising, measure: Measure) -> Draw:
    """Draws with a denoiser in the measure's few steps without guidance."""
    grid, fresh = denoising.grid(measure.steps, measure.times.shift, measure.times.start), measure.sampler == "fresh"

    def draw(prompts: Sequence[str], keys: Sequence[Key]) -> Tensor:
        with torch.no_grad():
            return draw_few_steps(denoising, keys, denoising.encode(prompts), grid=grid, fresh=fresh)

    return draw


def own_sampler(generator: Any) -> Draw:
    """Draws with a generator as it is, in its own steps and guidance, from the same noises."""

    def draw(prompts: Sequence[str], keys: Sequence[Key]) -> Tensor:
        with torch.no_grad():
            noise = noise_for(keys, generator.noise_shape).to(generator.device)
            images: Tensor = generator.sample(noise, generator.encode(prompts))
        return images

    return draw


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pictures with what they are of."""

    images: Tensor
    """(P * I, 3, H, W), prompt by prompt"""
    places: tuple[int, ...]
    """P, of the prompts in the suite"""
    seconds: float
    """of drawing, an image"""


class Judges:
    """All who look at pictures, loaded once; and what real pictures look like to the feature net, seen once."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        """`folder`: where that is kept."""
        self.bench, self.folder = bench, folder
        self.suite: PocketSuite = pocket()
        self._references: dict[int | None, FeatureSet] = {}

    @cached_property
    def rewards(self) -> Mapping[str, Reward]:
        """By name; the last is trained on by nothing."""
        return {name: self.bench.load_one(name, device=self.bench.device) for name in self.bench.judged_by}

    @cached_property
    def net(self) -> FeatureNet:
        return self.bench.load_net(self.bench.net, device=self.bench.device)

    def draw(self, draw: Draw, measure: Measure, seed: int) -> Drawn:
        """The measure's pictures."""
        places = self.suite.spread(measure.prompts)
        rows = [(place, image) for place in places for image in range(measure.images)]
        texts = self.suite.texts()
        started, parts = time.monotonic(), []
        for at in range(0, len(rows), BATCH):
            some = rows[at : at + BATCH]
            parts.append(draw([texts[place] for place, _ in some], [(seed, place, image) for place, image in some]))
        images = torch.cat(parts)
        return Drawn(images=images, places=places, seconds=(time.monotonic() - started) / len(images))

    def scores(self, images: Tensor, places: Sequence[int]) -> dict[str, Any]:
        """Raw scores under every reward and the judge's word, of pictures of as many prompts."""
        prompts = [self.suite.prompts[place] for place in places]
        texts = [prompt.text for prompt in prompts]
        rewards = raw_scores(self.rewards, images, texts, batch=BATCH, device=self.bench.device)
        return {"rewards": rewards, "right": [it.right for it in self.suite.judge(images.cpu(), prompts)]}

    def seen(self, images: Tensor) -> Tensor:
        """What the feature net sees, (B, D) float32."""
        return features_seen(self.net, images, batch=BATCH, device=self.bench.device)

    def likeness(self, features: Tensor, count: int, prompts: int | None) -> dict[str, Any]:
        """Fidelity of a prompt's first picture and of all `count`, by FIRST and ALL."""
        reference = self.reference(prompts)
        found = {FIRST: compare(feature_set(self.net, features[::count]), reference).to_json()}
        if count == 1:
            return {**found, ALL: found[FIRST]}
        return {**found, ALL: compare(feature_set(self.net, features), reference).to_json()}

    def reference(self, prompts: int | None) -> FeatureSet:
        """Renders of these prompts."""
        if prompts not in self._references:
            renders = pocket_renders(images_per_prompt=self.bench.plan.renders, num_prompts=prompts, seed=1)
            self._references[prompts] = renders.features(self.net)
        return self._references[prompts]

    def real(self, prompts: int | None, count: int) -> dict[str, Any]:
        """Fidelity of other renders, `count` of each prompt, and their distances: as good as a model can be."""
        seen = features_of(pocket_renders(images_per_prompt=count, num_prompts=prompts, seed=2).batches(), self.net)
        plan = self.bench.plan
        several = pocket_renders(images_per_prompt=plan.several_images, num_prompts=plan.several_prompts, seed=2)
        distance = in_group_distance(torch.cat(list(several.batches())), plan.several_images)
        return {**self.likeness(seen.sample, count, prompts), "distance": distance.tolist()}


def measure_into(file: Path, draw: Draw, measure: Measure, *, seed: int, judges: Judges) -> None:
    """Draw, ask, and leave `file` (JSON) last, beside some of the pictures and all features."""
    drawn = judges.draw(draw, measure, seed)
    each = [place for place in drawn.places for _ in range(measure.images)]
    found: dict[str, Any] = judges.scores(drawn.images, each)
    shown = _shown(drawn.places)
    pictures = torch.stack([drawn.images[drawn.places.index(place) * measure.images] for place in shown]).cpu()
    write_whole(file.with_suffix(".png"), png_bytes(sheet(pictures, len(shown))))
    if measure.fidelity:
        features = judges.seen(drawn.images)
        write_whole(file.with_suffix(".safetensors"), save({"features": features.contiguous()}))
        found["fidelity"] = judges.likeness(features, measure.images, measure.prompts)
    if measure.images > 1:
        found["distance"] = in_group_distance(drawn.images, measure.images).tolist()
    write_json(
        file, {**found, "measure": asdict(measure), "places": drawn.places, "shown": shown, "seconds": drawn.seconds}
    )


def timed(draws: Mapping[str, Draw], *, times: int, suite: PocketSuite) -> dict[str, list[float]]:
    """Seconds per image of each way to draw, `times` times over, one after the other so that all meet the same load."""
    texts = suite.texts()[:: max(1, len(suite.prompts) // BATCH)][:BATCH]
    found: dict[str, list[float]] = {name: [] for name in draws}
    for number in range(times):
        keys: list[Key] = [("timing", number, place) for place in range(len(texts))]
        for name, draw in draws.items():
            started = time.monotonic()
            draw(texts, keys).cpu()
            found[name].append((time.monotonic() - started) / len(texts))
    return found


def _shown(places: Sequence[int]) -> list[int]:
    """The prompts whose first pictures are kept, over all tasks."""
    count = min(SHOWN, len(places))
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]
