"""Pictures of every class by one model, and all that is said about them: rewards, judge, likeness, variety, entropy.

A picture's random numbers depend on seed, class and number alone, so every model is asked for the same pictures, and a
look at some of each class sees the first of those that are drawn in the end. What the feature nets saw is kept, so that
other distances can be taken later. Shape letters: C classes, I images of each.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from plaudit.claims.ar_grpo.models import Bench
from plaudit.claims.ar_grpo.plan import Measure
from plaudit.claims.scored_pictures import feature_set, features_seen, raw_scores
from plaudit.core.errors import BadConfig
from plaudit.core.float64 import precise
from plaudit.core.whole_files import write_whole
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import Request, parse
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet
from plaudit.rewards.reward import Reward
from plaudit.runs.files import write_json
from plaudit.runs.looks import sheet
from plaudit.runs.provenance import png_bytes
from plaudit.suites.distribution_distances import pairwise_distance
from plaudit.suites.fidelity import compare
from plaudit.suites.reference_sets import ImageSet, renders_of

BATCH = 64
"""pictures drawn at once; does not change them"""
TRAINING, MEASURES, OTHERS = 0, 1, 2
"""seeds of renders: what LOO-FID compares with; what measures compare with; real pictures that are measured"""
SHOWN, SHOWN_EACH = 8, 3
"""classes of a measure whose pictures are kept, and how many of each"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pictures of all classes, class by class."""

    images: Tensor
    """(C * I, 3, H, W)"""
    entropy: float
    """of the distributions that the tokens were drawn from, as a share of the codebook's logarithm"""
    seconds: float
    """of drawing, an image"""


class Panel:
    """All who look at pictures, loaded once; and what real pictures look like to the feature nets, seen once."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.classes = bench, bench.task.prompts
        self._nets: dict[str, FeatureNet] = {}
        self._real: dict[tuple[str, int], FeatureSet] = {}

    @cached_property
    def rewards(self) -> Mapping[str, Reward]:
        """By name; the last is trained on by nothing."""
        return {name: self.bench.load_one(name, device=self.bench.device) for name in self.bench.judged_by}

    def net(self, name: str) -> FeatureNet:
        """The feature net of that name."""
        if name not in self._nets:
            self._nets[name] = self.bench.load_net(name, device=self.bench.device)
        return self._nets[name]

    def real_features(self, net: str, seed: int) -> FeatureSet:
        """Renders of the classes: TRAINING, MEASURES or OTHERS."""
        if (net, seed) not in self._real:
            self._real[net, seed] = self._renders(seed).features(self.net(net))
        return self._real[net, seed]

    def draw(self, policy: TokenPolicy, measure: Measure, seed: int) -> Drawn:
        """The measure's pictures."""
        sampling = Sampling(guidance=measure.guidance)
        rows = [(place, image) for place in range(len(self.classes)) for image in range(measure.images)]
        images, seconds, entropy = [], 0.0, 0.0
        with torch.no_grad():
            for at in range(0, len(rows), BATCH):
                part = rows[at : at + BATCH]
                condition = policy.encode([self.classes[place] for place, _ in part])
                uniforms = uniforms_for([(seed, "class", *row) for row in part], policy.num_tokens)
                started = time.monotonic()
                tokens = draw_tokens(policy, condition, uniforms, sampling).tokens
                images.append(policy.decode(tokens).cpu())
                seconds += time.monotonic() - started
                scored = score_tokens(policy, tokens, condition, sampling=sampling)
                entropy += float(precise(scored.entropies).mean(dim=1).sum())
        return Drawn(
            images=torch.cat(images), entropy=entropy / len(rows) / math.log(policy.vocabulary),
            seconds=seconds / len(rows),
        )  # fmt: skip

    def scores(self, images: Tensor) -> dict[str, Any]:
        """Raw scores under every reward and the judge's word, of (C * I, 3, H, W)."""
        each = len(images) // len(self.classes)
        texts = [name for name in self.classes for _ in range(each)]
        requests = [_request_of(name) for name in texts]
        spans = [slice(at, at + BATCH) for at in range(0, len(images), BATCH)]
        rewards = raw_scores(self.rewards, images, texts, batch=BATCH, device=self.bench.device)
        right = [verdict.right for span in spans for verdict in judge(images[span], requests[span])]
        return {"rewards": rewards, "right": right}

    def seen(self, images: Tensor) -> dict[str, Tensor]:
        """What each measuring net sees, (C * I, D) float32."""
        device = self.bench.device
        return {name: features_seen(self.net(name), images, batch=BATCH, device=device) for name in self.bench.nets}

    def likeness(self, seen: Mapping[str, Tensor], images: int) -> dict[str, Any]:
        """Fidelity to real pictures by each net, of features of `images` pictures of each class."""
        return {
            name: compare(
                feature_set(self.net(name), features, groups=torch.arange(len(features)) // images),
                self.real_features(name, MEASURES),
            ).to_json()
            for name, features in seen.items()
        }

    def distances(self, seen: Mapping[str, Tensor], images: int) -> dict[str, list[float]]:
        """By each net, the mean distance of two pictures of a class, (C,): 1 less the cosine."""
        return {name: [pairwise_distance(group) for group in features.split(images)] for name, features in seen.items()}

    def real(self) -> dict[str, Any]:
        """What is said of other renders, as many as a measure has: as good as a model can be."""
        images = self.bench.plan.images
        seen = {name: self.real_features(name, OTHERS).sample for name in self.bench.nets}
        return {
            **self.scores(torch.cat(list(self._renders(OTHERS).batches()))),
            "fidelity": self.likeness(seen, images),
            "distance": self.distances(seen, images),
        }

    def _renders(self, seed: int) -> ImageSet:
        plan = self.bench.plan
        each = {TRAINING: plan.training_renders, MEASURES: plan.renders, OTHERS: plan.images}[seed]
        return renders_of(self.classes, images=each * len(self.classes), seed=seed)


def found_of(drawn: Drawn, measure: Measure, panel: Panel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All that is said of pictures, as JSON types; and what the nets saw."""
    seen = panel.seen(drawn.images)
    found = {
        **panel.scores(drawn.images),
        "fidelity": panel.likeness(seen, measure.images),
        "distance": panel.distances(seen, measure.images),
        "entropy": drawn.entropy,
        "seconds": drawn.seconds,
    }
    return found, seen


def measure_into(file: Path, policy: TokenPolicy, measure: Measure, *, seed: int, panel: Panel) -> None:
    """Draw, ask, and leave `file` (JSON) last, beside some of the pictures and all features.

    Under "first", the fidelity of as many first pictures of each class as a look sees, to be set beside looks.
    """
    drawn = panel.draw(policy, measure, seed)
    found, seen = found_of(drawn, measure, panel)
    few = panel.bench.plan.look_images
    first = {
        name: features.unflatten(0, (-1, measure.images))[:, :few].flatten(0, 1) for name, features in seen.items()
    }
    write_whole(file.with_suffix(".png"), png_bytes(shown_sheet(drawn.images, measure.images, panel.classes)))
    write_whole(file.with_suffix(".safetensors"), save({name: seen[name].contiguous() for name in seen}))
    write_json(file, {**found, "first": panel.likeness(first, few), "measure": asdict(measure)})


def shown_classes(count: int) -> list[int]:
    """The classes whose pictures are kept, at equal distances: of every colour and shape, where there are 64."""
    wanted = min(SHOWN, count)
    # A step of 9 through 8 colours of 8 shapes changes both.
    return [round(place * (count - 1) / max(1, wanted - 1)) for place in range(wanted)]


def shown_sheet(images: Tensor, each: int, classes: Sequence[str]) -> Tensor:
    """(3, rows H, columns W): a column for each of the shown classes, and its first pictures below each other."""
    groups = images.unflatten(0, (-1, each))[shown_classes(len(classes)), : min(SHOWN_EACH, each)]
    return sheet(groups.transpose(0, 1).flatten(0, 1), groups.shape[0])


Timed = Mapping[str, Mapping[str, list[float]]]


def timed(policy: TokenPolicy, classes: Sequence[str], guidances: Mapping[str, float], *, times: int) -> Timed:
    """Seconds per image at each guidance, of the "tokens" alone and of the "whole", `times` times over.

    One guidance after the other, so that all meet the same load.
    """
    texts = (list(classes) * BATCH)[:BATCH]
    found: dict[str, dict[str, list[float]]] = {name: {"tokens": [], "whole": []} for name in guidances}
    condition = policy.encode(texts)
    for number in range(times):
        uniforms = uniforms_for([("timing", number, place) for place in range(BATCH)], policy.num_tokens)
        for name, guidance in guidances.items():
            started = time.monotonic()
            tokens = draw_tokens(policy, condition, uniforms, Sampling(guidance=guidance)).tokens.cpu()
            read = time.monotonic()
            with torch.no_grad():
                policy.decode(tokens.to(policy.device)).cpu()
            found[name]["tokens"].append((read - started) / BATCH)
            found[name]["whole"].append((time.monotonic() - started) / BATCH)
    return found


def _request_of(name: str) -> Request:
    request = parse(name)
    if request is None:
        raise BadConfig(f"the judge looks for what a class is called, and {name!r} is about no scene")
    return request
