"""R0 and R0+: a few-step generator from rewards alone (Luo et al. 2025, arXiv 2503.13070).

A pretrained many-step denoiser is walked in K steps, without guidance, and its weights follow the rewards of what it
draws: the last picture through all K calls (R0), or a random step's clean prediction through that call alone (R0+).
Three things keep it honest: decay towards the pretrained weights, a random share of fresh noise in every step, and
several rewards whose gradients count the same, one of them the frozen model's own view of the prompt.

The authors have published no code, and the paper leaves much open. Theirs: K = 4, the three devices, rewards HPS v2.1,
ImageReward and CLIP beside the implicit one, the random step of R0+. Ours: gradients get their length per image and in
the latents; weights sum to 1; the share of fresh noise is uniform in [0, eta] for each image and step, and 0 when
drawing; the grid of times; the implicit reward's noise levels; decay apart from the optimiser; each image its own
random stream, so that neither the batch's size nor the number of processes changes a result. `truncation` also names
the ways of DRaFT, AlignProp and ReFL, so that they can be compared in the same loop.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import float64_device
from plaudit.core.random_streams import noise_for, stream
from plaudit.core.team import Team
from plaudit.generators.denoising import Denoising, Rule, check_rule, check_start
from plaudit.generators.recomputing import recomputed
from plaudit.methods.anchor import Start, hold
from plaudit.methods.denoising_walk import DenoisingWalk
from plaudit.methods.directions import (
    Conflicts,
    Normalise,
    check_combination,
    combine,
    cosines,
    guidance_direction,
    lengths,
    random_orders,
    reward_gradients,
)
from plaudit.methods.judging import check_finite
from plaudit.methods.learner import Decay, Learner, Learning
from plaudit.methods.truncation import read_truncation
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward

GUIDANCE, DETAIL = "guidance", "detail"
"""the implicit reward at any noise level, and at low ones only: names beside the rewards'"""


@dataclass(frozen=True, kw_only=True)
class R0Config:
    """How to learn; not from what."""

    updates: int = 1000
    images_per_update: int = 32
    """each of a prompt drawn anew"""
    steps: tuple[int, ...] = (4,)
    """of the generator; of several counts every update draws one, and the generator learns all"""
    shift: float = 1.0
    """how much the steps crowd towards the noise, where layouts are decided (as SD3 does); 1: not at all"""
    start: float = 1.0
    """the first step's place in the schedule; below 1, pure noise is taken for latents that hold a little already"""
    truncation: str = "one"
    """how far gradients reach back: one (R0+), all (R0), last:N or noised:N (DRaFT), tail (AlignProp), late:N (ReFL)"""
    eta: float = 1.0
    """largest share of fresh noise in a step; every image's every step draws its own, from 0 up"""
    rule: Rule = "interpolate"
    """how fresh noise is mixed in: by share, or as DDIM does"""
    normalise: Normalise = "latents"
    """where every reward's gradient is given the same length: latents, pixels, or none"""
    conflicts: Conflicts = "sum"
    """rewards that pull against each other: added up (sum), or each without what is against another (pcgrad)"""
    guidance_weight: float = 1.0
    """of the implicit reward of the frozen model, beside the rewards' weights; 0: none"""
    guidance_low: float = 0.02
    guidance_high: float = 0.98
    """the noise levels that it is taken at, as places in the schedule between 0 and 1"""
    detail_weight: float = 0.0
    """of the same at low noise, where it sees detail that rewards at 224 pixels do not; 0: none"""
    detail_high: float = 0.3
    """the highest of its noise levels; the lowest is guidance_low"""
    pull: float = 0.1
    """decay towards the pretrained weights, in shares of what has moved per unit of learning rate; 0: none"""
    drift_limit: float = 0.0
    """how far the weights may be from them at most, as a share of their norm; 0: as far as they go"""
    recompute: bool = False
    """keep no activations of calls with a gradient, and make them again: less memory, about a third more time"""
    lr: float = 1e-4
    warmup: int = 0
    """updates in which the rate rises"""
    decay: Decay = "constant"
    decay_to: float = 0.0
    """share of lr that decay ends at"""
    grad_clip: float = 1.0
    ema: float = 0.0
    """how much of the weights' running average an update leaves; 0: no average is kept"""
    seed: int = 0
    batch_size: int = 16
    """images through the network at once; does not change the results"""

    def __post_init__(self) -> None:
        for name in ("updates", "images_per_update", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.steps or min(self.steps) < 1:
            raise BadConfig(f"steps are one or more counts of at least 1, got {list(self.steps)}")
        if not 0 <= self.eta <= 1:
            raise BadConfig(f"eta is a share between 0 (no fresh noise) and 1, got {self.eta}")
        if not 0 < self.shift < math.inf:
            raise BadConfig(f"shift must be a positive number (1: none), got {self.shift}")
        check_start(self.start)
        for name in ("guidance_weight", "detail_weight", "pull", "drift_limit"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadConfig(f"{name} must be at least 0, got {getattr(self, name)}")
        for high in ("guidance_high", "detail_high"):
            if not 0 < self.guidance_low <= getattr(self, high) <= 1:
                raise BadConfig(f"guidance_low and {high} must rise between 0 and 1, got {self.guidance_low} and "
                                f"{getattr(self, high)}")  # fmt: skip
        check_combination(self.normalise, self.conflicts)
        read_truncation(self.truncation)
        self.learning()

    @property
    def images_drawn_per_update(self) -> int:
        """One of each prompt drawn."""
        return self.images_per_update

    def learning(self) -> Learning:
        """How the weights follow their gradients. Raises BadConfig for what cannot work."""
        names = ("updates", "lr", "grad_clip", "warmup", "decay", "decay_to", "ema")
        return Learning(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one update did; numbers are means over its images."""

    index: int
    images_drawn: int
    """so far"""
    reward: float
    """the weighted sum of the judged pictures' raw scores; what is followed is their gradients' directions"""
    parts: dict[str, float]
    pulls: dict[str, float]
    """how long each judge's gradient was in the latents, before it was given its length"""
    agreement: float
    """the mean cosine between the judges' gradients"""
    drift: float
    """of the weights from the pretrained ones, as a share of their norm"""
    saturated: float
    """the share of the pictures' numbers that are fully off or on"""
    gradient_norm: float
    rate: float
    seconds: float
    images: Tensor = field(repr=False)
    """(B, 3, H, W), what was judged; this process's share"""
    prompts: tuple[str, ...] = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        names = ("images_drawn", "reward", "agreement", "drift", "saturated", "gradient_norm", "rate", "seconds")
        parts = {f"reward_{name}": value for name, value in self.parts.items()}
        pulls = {f"pull_{name}": value for name, value in self.pulls.items()}
        return {name: getattr(self, name) for name in names} | parts | pulls


class R0:
    """A denoiser in training. Iterate `updates`; `state` and `load` carry all of it over an interruption.

    `start` is the same denoiser as it was pretrained, and what holds the trained weights to it.
    """

    def __init__(
        self,
        denoising: Denoising,
        reward: WeightedSum | Reward,
        prompts: Sequence[str],
        config: R0Config,
        *,
        start: Start,
        team: Team | None = None,
    ) -> None:
        self.rewards, self.config, self.team = as_sum(reward), config, team or Team()
        self._check(prompts, denoising)
        self.denoising, self.frozen, self.anchor = denoising, start.frozen, start.anchor
        self.prompts, self.condition = tuple(prompts), denoising.encode(prompts)
        self.empty = denoising.encode([""])
        self.truncation = read_truncation(config.truncation)
        parameters = [p for p in denoising.denoiser.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig("nothing of the generator is trained: its denoiser's parameters are all frozen")
        self.learner = Learner(parameters, config.learning(), team=self.team)
        self.weights = self._weights()
        self.done, self.total = 0, config.updates
        self.drift = start.anchor.drift()

    def _check(self, prompts: Sequence[str], denoising: Denoising) -> None:
        if not prompts:
            raise BadConfig("there is no prompt to learn from")
        for name, (weight, part) in self.rewards.parts.items():
            if name in (GUIDANCE, DETAIL):
                raise BadConfig(f"{name!r} is what R0 calls a direction of its own; give the reward another name")
            if weight != 0 and not part.differentiable:
                raise BadConfig(
                    f"R0 follows gradients, and the reward {name!r} has none; use a differentiable reward, or train "
                    "with rlcm, which needs none"
                )
        if self.config.images_per_update < self.team.size:
            raise BadConfig(
                f"{self.team.size} processes share an update's images, and there are "
                f"{self.config.images_per_update} of them"
            )
        check_rule(self.config.rule, denoising)

    def _weights(self) -> dict[str, float]:
        """What every direction counts, summing to 1."""
        config = self.config
        sizes = {name: abs(weight) for name, (weight, _) in self.rewards.parts.items() if weight != 0}
        if config.normalise == "pixels" and sizes:
            sizes = {"rewards": sum(sizes.values())}
        sizes |= {
            name: weight
            for name, weight in ((GUIDANCE, config.guidance_weight), (DETAIL, config.detail_weight))
            if weight > 0
        }
        if not sizes:
            raise BadConfig("there is nothing to follow: every reward and guidance_weight is 0")
        total = sum(sizes.values())
        return {name: size / total for name, size in sizes.items()}

    def updates(self) -> Iterator[Update]:
        """The updates from where it stands to the configured number."""
        while self.done < self.total:
            yield self._update()

    def _update(self) -> Update:
        started, config = time.monotonic(), self.config
        count = config.images_per_update
        drawn = stream(config.seed, "prompts", self.done)
        chosen = torch.randint(len(self.prompts), (count,), generator=drawn)
        steps = config.steps[int(torch.randint(len(config.steps), (), generator=drawn))]
        seen = _Seen()
        self.learner.begin(self.done)
        self.learner.clear()
        own, noisings = self.team.share(count), self.truncation.noisings
        for rows in own.split(config.batch_size):
            self._accumulate(rows, chosen[rows], steps, seen, share=1 / (count * noisings))
        judged = (own[:, None] * noisings + torch.arange(noisings)).flatten()
        means = seen.means(self.team, count * noisings, self.denoising.device)
        scores = seen.scores(self.team, judged, count * noisings)
        check_finite(scores, lambda place: self.prompts[int(chosen[place // noisings])])
        norm = self.learner.step()
        self.drift = hold(self.anchor, rate=config.pull * self.learner.rate, limit=config.drift_limit)
        self.learner.end(self.done)
        self.done += 1
        self.rewards.see(scores)
        parts = {name: float(values.mean()) for name, values in scores.items()}
        return Update(
            index=self.done - 1,
            images_drawn=self.done * count,
            reward=sum(self.rewards.parts[name][0] * value for name, value in parts.items()),
            parts=parts,
            pulls={name: means[f"length.{name}"] for name in self.weights},
            agreement=means["agreement"],
            drift=self.drift,
            saturated=means["saturated"],
            gradient_norm=norm,
            rate=self.learner.rate,
            seconds=time.monotonic() - started,
            images=torch.cat(seen.images),
            prompts=tuple(seen.prompts),
        )

    def _accumulate(self, rows: Tensor, chosen: Tensor, steps: int, seen: "_Seen", *, share: float) -> None:
        """Add these images' share of the gradient of minus the mean of <latents, direction>."""
        keys: list[tuple[int | str, ...]] = [(self.config.seed, "image", self.done, row) for row in rows.tolist()]
        condition = self.condition[chosen.to(self.denoising.device)]
        latents, judged = self.draw(keys, condition, steps)
        # A picture that is judged several times has numbers of its own, whatever batch it is in.
        keys = [(*keys[place], number % self.truncation.noisings) for number, place in enumerate(judged.tolist())]
        texts = [self.prompts[number] for number in chosen[judged].tolist()]
        direction = self.direction(latents, texts, condition[judged.to(self.denoising.device)], keys, seen)
        # The loss has no meaning as a number: its gradient in the latents is minus the direction.
        loss = -(latents * direction).sum() * share
        loss.backward()

    def draw(self, keys: Sequence[tuple[int | str, ...]], condition: Any, steps: int) -> tuple[Tensor, Tensor]:
        """The latents (B', ...) that are judged, with a graph as far back as the truncation says, and whose they are.

        B' is B, or several times as much where a picture is noised several times; the second is (B',) places among B.
        """
        config = self.config
        grid = self.denoising.grid(steps, config.shift, config.start)
        walk = DenoisingWalk(self.denoising, keys, condition, grid=grid, eta=config.eta, rule=config.rule)
        walk.recompute = config.recompute
        if self.truncation.kind == "noised":
            return walk.noised_again(self.truncation.count)
        first, judged = self.truncation.reach(steps, keys)
        with torch.no_grad():
            start = walk.to(first)
        return walk.judged_from(start, first, judged), torch.arange(len(keys))

    def direction(
        self, latents: Tensor, prompts: Sequence[str], condition: Any, keys: Sequence[tuple[int | str, ...]],
        seen: "_Seen",
    ) -> Tensor:  # fmt: skip
        """Where these latents (B, ...) should go, (B, ...), detached."""
        config = self.config
        decode = partial(recomputed, self.denoising.decode) if config.recompute else self.denoising.decode
        found, scores, images = reward_gradients(self.rewards, latents, prompts, decode, where=config.normalise)
        for name, high in ((GUIDANCE, config.guidance_high), (DETAIL, config.detail_high)):
            if name in self.weights:
                found[name] = self._guidance(latents, condition, [(*key, name) for key in keys], high)
        orders = random_orders(keys, len(found)) if config.conflicts == "pcgrad" else None
        # Weights' order is that of the directions: rewards first.
        direction = combine(found, self.weights, normalise=config.normalise, orders=orders)
        seen.see(found, scores, images, prompts)
        return direction.detach()

    def _guidance(self, latents: Tensor, condition: Any, keys: Sequence[tuple[int | str, ...]], high: float) -> Tensor:
        low, device = self.config.guidance_low, latents.device
        places = torch.stack([torch.rand((), generator=stream(*key, "place")) for key in keys])
        eps = noise_for([(*key, "eps") for key in keys], self.denoising.noise_shape).to(device)
        empty = self.empty[torch.zeros(len(keys), dtype=torch.long, device=device)]
        return guidance_direction(
            self.frozen, latents, condition, empty, place=(low + (high - low) * places).to(device), eps=eps
        )

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        tensors = {"done": torch.tensor(self.done)} | self.learner.state()
        tensors |= {f"rewards.{name}": value for name, value in self.rewards.state().items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done = int(state["done"])
        self.rewards.load({name[8:]: value for name, value in state.items() if name.startswith("rewards.")})
        self.learner.load(state)
        self.drift = self.anchor.drift()


class _Seen:
    """What is told of an update: sums over the images of this process, and their scores."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.prompts: list[str] = []
        self._scores: dict[str, list[Tensor]] = {}
        self._sums: dict[str, Tensor] = {}

    def see(
        self, directions: dict[str, Tensor], scores: dict[str, Tensor], images: Tensor, prompts: Sequence[str]
    ) -> None:
        """Take a batch's directions before they were given their length."""
        self.images.append(images)
        self.prompts.extend(prompts)
        for name, values in scores.items():
            self._scores.setdefault(name, []).append(values)
        for name, direction in directions.items():
            self._add(f"length.{name}", lengths(direction))
        pairs = list(itertools.combinations(directions.values(), 2))
        agreement = torch.stack([cosines(one, other) for one, other in pairs]).mean(dim=0) if pairs else None
        self._add("agreement", torch.zeros(len(images)) if agreement is None else agreement)
        self._add("saturated", ((images <= 0) | (images >= 1)).flatten(1).float().mean(dim=1))

    def means(self, team: Team, count: int, device: torch.device) -> dict[str, float]:
        """Means over all processes' images, `count` of them."""
        found = torch.stack([value.double().cpu() for value in self._sums.values()]).to(float64_device(device))
        team.add([found])
        return {name: float(value) / count for name, value in zip(self._sums, found.cpu(), strict=True)}

    def scores(self, team: Team, rows: Tensor, count: int) -> dict[str, Tensor]:
        """Raw scores of all processes' images (count,), of which `rows` are here."""
        return {name: team.collect(torch.cat(values), rows, count) for name, values in self._scores.items()}

    def _add(self, name: str, values: Tensor) -> None:
        self._sums[name] = self._sums.get(name, torch.zeros(())) + values.detach().sum().cpu()
