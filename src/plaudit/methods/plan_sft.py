"""Supervised lessons in planning: a prompt, a written plan, the picture it describes. ReasonGen-R1's first stage.

After Zhang et al. 2025 (arXiv 2505.24875) and its released code: cross-entropy of plans (weight 2) and of pictures'
tokens (weight 1), over the number of both. Differs from the code: begin-of-image is learned with the plan, for else
nothing teaches a model to stop planning and draw; where a prompt is dropped, the model reads what it will read when it
is asked for nothing as the other half of guidance; means are over all processes' lessons of an update.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import float64_device, precise
from plaudit.core.random_streams import stream
from plaudit.core.team import Team
from plaudit.generators.plan_policy import PlanPolicy, Texts, given
from plaudit.generators.plan_rollout import score_responses
from plaudit.methods.drawn_at_once import check_drawn_at_once
from plaudit.methods.learner import Decay, Learner, Learning
from plaudit.methods.prompt_rounds import in_rounds

LOOKED_AT = 128
"""lessons that a look reads, of those that are held out: of a large data set all would take longer than learning"""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """N prompts with a plan each, and a picture in tokens. An empty plan: the picture follows the prompt at once."""

    prompts: tuple[str, ...]
    plans: tuple[str, ...]
    tokens: Tensor = field(repr=False)
    """(N, T) int64"""

    def __post_init__(self) -> None:
        if not len(self.prompts) == len(self.plans) == len(self.tokens):
            raise BadConfig(
                f"a lesson is a prompt, a plan and a picture; got {len(self.prompts)} prompts, {len(self.plans)} plans "
                f"and {len(self.tokens)} pictures"
            )

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, kw_only=True)
class PlanSftConfig:
    """How to learn from lessons; as the released script has it, where nothing else is said."""

    updates: int = 1700
    lessons_per_update: int = 128
    word_weight: float = 2.0
    """of the cross-entropy of words"""
    token_weight: float = 1.0
    """of the cross-entropy of tokens"""
    drop: float = 0.1
    """share of the lessons without prompt and plan, of which only the picture is learned"""
    held_out_share: float = 0.05
    """share of the lessons that are never learned from; looks tell what is lost on them"""
    lr: float = 1e-5
    warmup: int = 85
    decay: Decay = "cosine"
    decay_to: float = 0.0
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    ema: float = 0.0
    seed: int = 0
    batch_size: int = 64
    """lessons through the network at once; does not change the results"""
    draw_batch_size: int = 0
    """pictures drawn at once for looks, half as many with guidance; 0: batch_size"""

    def __post_init__(self) -> None:
        for name in ("updates", "lessons_per_update", "batch_size"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        check_drawn_at_once(self)
        for name in ("drop", "held_out_share"):
            if not 0 <= getattr(self, name) < 1:
                raise BadConfig(f"{name} is a share, at least 0 and below 1, got {getattr(self, name)}")
        if min(self.word_weight, self.token_weight) < 0 or self.word_weight == self.token_weight == 0:
            raise BadConfig(
                f"weights of words and tokens are at least 0 and not both 0, got {self.word_weight} and "
                f"{self.token_weight}"
            )
        self.learning()

    @property
    def images_drawn_per_update(self) -> int:
        """Pictures of an update, by the name that other trainings have for it; here they are read."""
        return self.lessons_per_update

    def learning(self) -> Learning:
        """How the weights follow their gradients. Raises BadConfig for what cannot work."""
        return Learning(**{one.name: getattr(self, one.name) for one in fields(Learning)})


@dataclass(frozen=True, kw_only=True)
class LessonUpdate:
    """What one update did."""

    index: int
    lessons: int
    """read so far"""
    word_loss: float
    """cross-entropy, nats per word"""
    token_loss: float
    """cross-entropy, nats per token"""
    loss: float
    """the weighted sum that is learned from"""
    gradient_norm: float
    rate: float
    seconds: float

    @property
    def reward(self) -> float:
        """What rises while it learns."""
        return -self.loss

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        return {one.name: float(getattr(self, one.name)) for one in fields(self) if one.name != "index"}


class PlanSft:
    """A policy that is taught. Iterate `updates`; `state` and `load` carry all of it over an interruption."""

    def __init__(
        self,
        policy: PlanPolicy,
        lessons: Lessons,
        config: PlanSftConfig,
        *,
        shown: Sequence[str] = (),
        team: Team | None = None,
    ) -> None:
        """`shown`: prompts that looks are taken at; the lessons' own unless given."""
        self.team = team or Team()
        if config.lessons_per_update < self.team.size:
            raise BadConfig(
                f"{self.team.size} processes share an update's lessons, and there are {config.lessons_per_update}"
            )
        order = torch.randperm(len(lessons), generator=stream(config.seed, "held out"))
        held = round(config.held_out_share * len(lessons))
        self.held, self.taught = order[:held].sort().values, order[held:].sort().values
        self.looked_at = order[: min(held, LOOKED_AT)]
        if not len(self.taught):
            raise BadConfig(f"there is no lesson to learn from: {len(lessons)} are given, and {held} are held out")
        parameters = [p for p in policy.transformer.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig("nothing of the policy is trained: its transformer's parameters are all frozen")
        self.policy, self.lessons, self.config = policy, lessons, config
        self.prompts = tuple(shown) or lessons.prompts
        self.learner = Learner(parameters, config.learning(), team=self.team)
        self.done, self.total = 0, config.updates

    def updates(self) -> Iterator[LessonUpdate]:
        """The updates from where it stands to the configured number."""
        while self.done < self.total:
            yield self._update()

    def _update(self) -> LessonUpdate:
        started, config = time.monotonic(), self.config
        size = config.lessons_per_update
        places = torch.arange(self.done * size, (self.done + 1) * size)
        chosen = self.taught[in_rounds(places, len(self.taught), seed=config.seed)]
        dropped = torch.rand(size, generator=stream(config.seed, "drop", self.done)) < config.drop
        own = self.team.share(size)
        counts = self._counts(chosen[own], dropped[own])
        self.learner.begin(self.done)
        self.learner.clear()
        sums = torch.zeros(2, dtype=torch.float64)
        for rows in own.split(config.batch_size):
            losses = self._losses(chosen[rows], dropped[rows])
            (precise(self._weighted(losses)) / counts.sum()).backward()
            sums += losses.detach().cpu().double()
        norm = self.learner.step()
        self.learner.end(self.done)
        self.done += 1
        return LessonUpdate(
            index=self.done - 1, lessons=self.done * size, gradient_norm=norm, rate=self.learner.rate,
            seconds=time.monotonic() - started, **self._told(sums, counts),
        )  # fmt: skip

    def look(self) -> dict[str, float]:
        """Losses of lessons that are held out, of the averaged weights if an average is kept; nothing is dropped.

        On this process alone. Nothing if no lesson is held out.
        """
        if not len(self.looked_at):
            return {}
        sums, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        with torch.no_grad(), self.learner.averaged():
            for some in self.looked_at.split(self.config.batch_size):
                none = torch.zeros(len(some), dtype=torch.bool)
                sums += self._losses(some, none).cpu().double()
                counts += self._own_counts(some, none)
        return self._means(sums, counts)

    def _losses(self, chosen: Tensor, dropped: Tensor) -> Tensor:
        """The summed cross-entropies (2,) of words and tokens of some lessons."""
        texts, words, written = self._texts(chosen)
        drop = dropped.to(self.policy.device)
        tokens = self.lessons.tokens[chosen].to(self.policy.device)
        found = score_responses(self.policy, given(words, written, tokens), texts, drop=drop)
        learned = written & ~drop[:, None]
        return -torch.stack([
            torch.where(learned, found.words.log_probs, 0.0).sum(), found.tokens.log_probs.sum()
        ])  # fmt: skip

    def _texts(self, chosen: Tensor) -> tuple[Texts, Tensor, Tensor]:
        """Prompts as they ask for a plan, with the plans' words (b, W) and which are written (b, W)."""
        plans = [self.lessons.plans[number] for number in chosen.tolist()]
        prompts = [self.lessons.prompts[number] for number in chosen.tolist()]
        words, written = self.policy.words_of(plans, cut=True)
        # Only who is to plan is asked for a plan.
        planned = torch.tensor([bool(plan.strip()) for plan in plans])
        parts = [
            (rows, cast(Texts, encoder.encode([prompts[row] for row in rows.tolist()])))
            for rows, encoder in (
                (planned.nonzero().flatten(), self.policy), ((~planned).nonzero().flatten(), self.policy.direct),
            )
            if len(rows)
        ]  # fmt: skip
        return _together(parts, len(plans)), words, written

    def _own_counts(self, chosen: Tensor, dropped: Tensor) -> Tensor:
        """Words and tokens (2,) that are learned from these lessons."""
        _, written = self.policy.words_of([self.lessons.plans[number] for number in chosen.tolist()], cut=True)
        words = (written.cpu() & ~dropped[:, None]).sum()
        return torch.stack([words, torch.tensor(len(chosen) * self.policy.num_tokens)]).double()

    def _counts(self, chosen: Tensor, dropped: Tensor) -> Tensor:
        """Words and tokens (2,) that an update learns from, on all processes."""
        counts = self._own_counts(chosen, dropped).to(float64_device(self.policy.device))
        self.team.add([counts])
        return counts

    def _weighted(self, losses: Tensor) -> Tensor:
        return self.config.word_weight * losses[0] + self.config.token_weight * losses[1]

    def _told(self, sums: Tensor, counts: Tensor) -> dict[str, float]:
        whole = sums.to(counts.device)
        self.team.add([whole])
        return self._means(whole.cpu(), counts.cpu())

    def _means(self, sums: Tensor, counts: Tensor) -> dict[str, float]:
        words, tokens = (sums / counts.clamp_min(1)).tolist()
        loss = float(self._weighted(sums) / counts.sum().clamp_min(1))
        return {"word_loss": words, "token_loss": tokens, "loss": loss}

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        tensors = {"done": torch.tensor(self.done)} | self.learner.state()
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done = int(state["done"])
        self.learner.load(state)


def _together(parts: Sequence[tuple[Tensor, Texts]], count: int) -> Texts:
    """One batch of several, whose rows go to these places; padding first, as everywhere."""
    longest = max(texts.ids.shape[1] for _, texts in parts)
    like = parts[0][1]
    ids, mask = like.ids.new_zeros(count, longest), like.mask.new_zeros(count, longest)
    for rows, texts in parts:
        rows, width = rows.to(ids.device), texts.ids.shape[1]
        ids[rows, longest - width :] = texts.ids
        mask[rows, longest - width :] = texts.mask
    return Texts(ids=ids, mask=mask)
