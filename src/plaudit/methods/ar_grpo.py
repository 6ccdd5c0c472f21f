"""GRPO on a model that draws token by token, with a reward for the distribution beside those for each picture.

After Baran, Kandemir & Cinbis 2026 (arXiv 2603.23086) and its released code. One update: act (groups of pictures of
each prompt), judge (rewards of pictures, and one of all pictures together, such as LOO-FID), compare (both within their
groups, apart from each other), learn (make the tokens of the better ones likelier).

Differs from the released code: the clip takes the pessimistic side, as PPO's; nothing is dropped at random; one forward
pass serves both kinds of advantage; gradients are added over all processes; the divergence from the start is per token;
the pictures are drawn without guidance unless asked for, so that what is learned from is what was drawn, and where it
is not, that is said and measured; prompts come in rounds of all; every picture has its own random stream, so that
neither the batch's size nor the number of processes changes a result.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.core.team import Team
from plaudit.generators.token_policy import TokenPolicy
from plaudit.generators.token_rollout import Drawn, Scored, draw_tokens, in_parts, score_tokens, uniforms_for
from plaudit.methods.advantages import GroupScale, group_advantages, shared_scale
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.methods.drawn_at_once import drawn_at_once
from plaudit.methods.entropy import EntropyController
from plaudit.methods.judging import Jury, Piece
from plaudit.methods.learner import Learner
from plaudit.methods.losses import clipped_policy_loss, k3
from plaudit.methods.prompt_rounds import in_rounds, rows_of
from plaudit.methods.token_updates import TokenSums, Update
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import DistributionReward, Reward


@dataclass(frozen=True, kw_only=True)
class Judges:
    """What pictures are judged by."""

    pictures: WeightedSum | Reward
    """each by itself"""
    together: DistributionReward | None = None
    """all of an update's as one"""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """This process's share of an update's images: B of N."""

    numbers: Tensor
    """(N,), the prompts' places in the list, of all images"""
    rows: Tensor
    """(B,), which of the N are here"""
    drawn: Drawn
    images: Tensor
    prompts: tuple[str, ...]


class ArGrpo:
    """A token policy in training. Iterate `updates`; `state` and `load` carry all of it over an interruption.

    `start` is the policy as it was before training, for the divergence from it.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        judges: Judges,
        prompts: Sequence[str],
        config: ArGrpoConfig,
        *,
        start: TokenPolicy | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self._check(prompts, config, judges, start)
        self.policy, self.rewards, self.config = policy, as_sum(judges.pictures), config
        self.distribution, self.start = judges.together, start
        self.prompts, self.condition = tuple(prompts), policy.encode(prompts)
        parameters = [p for p in policy.transformer.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig("nothing of the policy is trained: its transformer's parameters are all frozen")
        self.learner = Learner(parameters, config.learning(), team=self.team)
        self.jury, self.scale = Jury(self.rewards), GroupScale()
        self.most = math.log(policy.vocabulary)
        self.controller = EntropyController(
            target=(config.entropy_target or 1.0) * self.most, rate=config.entropy_rate,
            limit=config.entropy_limit if config.entropy_target else 0.0,
        )  # fmt: skip
        self.done, self.total = 0, config.updates

    def _check(self, prompts: Sequence[str], config: ArGrpoConfig, judges: Judges, start: TokenPolicy | None) -> None:
        if not prompts:
            raise BadConfig("there is no prompt to learn from")
        if config.prompts_per_update < self.team.size:
            raise BadConfig(
                f"{self.team.size} processes share an update's prompts, and there are "
                f"{config.prompts_per_update} of them"
            )
        if config.kl_weight > 0 and start is None:
            raise BadConfig("a KL to the starting policy needs that policy; give it as start, or set kl_weight to 0")
        if config.instance_weight == 0 and judges.together is None:
            raise BadConfig("there is nothing to follow: instance_weight is 0 and no distribution reward is given")

    def updates(self) -> Iterator[Update]:
        """The updates from where it stands to the configured number."""
        while self.done < self.total:
            yield self._update()

    def _update(self) -> Update:
        started = time.monotonic()
        batch = self.act(self.done)
        scores, parts = self.judge(batch)
        together, told = self.judge_together(batch)
        advantages = self.compare(scores, together)
        coefficient = self.controller.coefficient if self.config.entropy_target else 0.0
        learned = self.learn(batch, advantages, coefficient, self.done)
        self.done += 1
        groups = scores.view(-1, self.config.images_per_prompt)
        return Update(
            index=self.done - 1,
            queries=self.done * len(scores),
            reward=float(scores.mean()),
            reward_spread=float(scores.std(correction=0)),
            parts={name: float(values.mean()) for name, values in parts.items()},
            distribution=told,
            equal_groups=float((groups == groups[:, :1]).all(dim=1).float().mean()),
            entropy_coefficient=coefficient,
            rate=self.learner.rate,
            seconds=time.monotonic() - started,
            images=batch.images,
            prompts=batch.prompts,
            **learned,
        )

    def chosen(self, update: int) -> Tensor:
        """The prompts' places in the list (P,) of an update: rounds of all prompts, each in an order of its own."""
        size = self.config.prompts_per_update
        places = torch.arange(update * size, (update + 1) * size)
        return in_rounds(places, len(self.prompts), seed=self.config.seed)

    def act(self, update: int) -> _Batch:
        """Draw the update's images, without a gradient."""
        config, policy = self.config, self.policy
        numbers = self.chosen(update).repeat_interleave(config.images_per_prompt)
        rows = self._rows_of(self.team.share(config.prompts_per_update))
        parts, images = [], []
        for part in rows.split(drawn_at_once(config, guided=config.sampling().guided)):
            uniforms = uniforms_for(
                [(config.seed, "image", update, row) for row in part.tolist()], policy.num_tokens
            )  # fmt: skip
            condition = self.condition[numbers[part].to(policy.device)]
            parts.append(draw_tokens(policy, condition, uniforms, config.sampling()))
            with torch.no_grad():
                images.append(in_parts(policy.decode, parts[-1].tokens, at_once=config.batch_size))
        drawn = Drawn(
            tokens=torch.cat([part.tokens for part in parts]), log_probs=torch.cat([part.log_probs for part in parts])
        )
        prompts = tuple(self.prompts[number] for number in numbers[rows].tolist())
        return _Batch(numbers=numbers, rows=rows, drawn=drawn, images=torch.cat(images), prompts=prompts)

    def _rows_of(self, groups: Tensor) -> Tensor:
        return rows_of(groups, self.config.images_per_prompt)

    def judge(self, batch: _Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Totals (N,) and raw scores of all processes' images. Raises BadConfig for one that is not finite."""
        pieces = tuple(
            Piece(images=batch.images[at], prompts=tuple(batch.prompts[i] for i in at.tolist()))
            for at in torch.arange(len(batch.rows)).split(self.config.batch_size)
        )
        return self.jury.judge(pieces, batch.rows, batch.numbers, prompts=self.prompts, team=self.team)

    def judge_together(self, batch: _Batch) -> tuple[Tensor, dict[str, float]]:
        """What each of all processes' images (N,) does for their distribution, and what is told of that."""
        if self.distribution is None:
            return torch.zeros(len(batch.numbers)), {}
        own = self.distribution(batch.images, batch.prompts, self.team)
        together = self.team.collect(own.float(), batch.rows, len(batch.numbers))
        return together, {"distribution_distance": self.distribution.distance()}

    def compare(self, scores: Tensor, together: Tensor) -> Tensor:
        """Advantages (N,): those of pictures and those of their distribution, each clipped, then added."""
        config, size = self.config, self.config.images_per_prompt
        compared = (scores.view(-1, size), together.view(-1, size))
        if config.spread == "update":
            instance, shared = (shared_scale(it).flatten() for it in compared)
        else:
            instance, shared = group_advantages(compared[0]).flatten(), self.scale(compared[1]).flatten()
        shared = shared.to(instance.device)
        edge = config.advantage_clip
        return config.instance_weight * instance.clamp(-edge, edge) + (
            config.distribution_weight * shared.clamp(-edge, edge)
        )

    def learn(self, batch: _Batch, advantages: Tensor, coefficient: float, update: int) -> dict[str, float]:
        """The optimiser's steps on one update's images, with the advantages of all N."""
        config, seen = self.config, TokenSums()
        own = advantages[batch.rows.to(advantages.device)]
        old = self._old_log_probs(batch)
        here = self.team.share(config.prompts_per_update)
        self.learner.begin(update)
        for number in range(config.passes):
            order = torch.randperm(config.prompts_per_update, generator=stream(config.seed, "order", update, number))
            for part in order.tensor_split(min(config.steps_per_pass, config.prompts_per_update)):
                rows = self._rows_of(part[torch.isin(part, here)].sort().values - here[:1])
                self.learner.clear()
                for at in rows.split(config.batch_size) if len(rows) else ():
                    loss = self._loss(batch, at, own, old, coefficient, seen)
                    (loss / self._rows_of(part).numel()).backward()
                seen.norm = self.learner.step()
        self.learner.end(update)
        told = seen.means(self.team, self.policy.device)
        self.controller.see(told["entropy"])
        return {**told, "entropy": told["entropy"] / self.most, "gradient_norm": seen.norm}

    def _old_log_probs(self, batch: _Batch) -> Tensor:
        """The tokens' (B, T) before the first step; not a number where the first pass will tell, before that step."""
        if self.config.steps_per_pass == 1:
            return torch.full_like(batch.drawn.log_probs, torch.nan)
        with torch.no_grad():
            at = torch.arange(len(batch.rows)).split(self.config.batch_size)
            return torch.cat([self._score(self.policy, batch, rows).log_probs for rows in at])

    def _score(self, policy: TokenPolicy, batch: _Batch, rows: Tensor) -> Scored:
        numbers = batch.numbers[batch.rows[rows]].to(policy.device)
        sampling = self.config.sampling() if self.config.learned == "drawn" else None
        return score_tokens(
            policy, batch.drawn.tokens[rows.to(policy.device)], self.condition[numbers], sampling=sampling
        )  # fmt: skip

    def _loss(
        self, batch: _Batch, rows: Tensor, advantages: Tensor, old: Tensor, coefficient: float, seen: TokenSums
    ) -> Tensor:
        """The sum over some of the images (b,) of their losses; tells `old` (B, T) what it does not know yet."""
        config, device = self.config, self.policy.device
        found = self._score(self.policy, batch, rows)
        rows = rows.to(device)
        before = torch.where(old[rows].isnan(), found.log_probs.detach(), old[rows])
        old[rows] = before
        # What rounding or a step has put outside its cut is impossible now: it counts as one that did not move, chosen
        # before any arithmetic, as the way back through a difference of infinities gives not-a-numbers.
        possible = ~(found.log_probs.isneginf() | before.isneginf())
        log_probs, before, drawn = (
            torch.where(possible, it, 0.0) for it in (found.log_probs, before, batch.drawn.log_probs[rows])
        )
        apart, moved = before - drawn, log_probs - before
        weight = torch.ones_like(moved)
        if config.importance_cap > 0 and not config.on_policy:
            weight = apart.exp().clamp_max(config.importance_cap)
        if config.ratio == "sequence":
            moved, weight = moved.mean(dim=1, keepdim=True), weight.mean(dim=1, keepdim=True)
        advantage = advantages.to(device)[rows][:, None].expand_as(moved)
        loss = (weight * clipped_policy_loss(moved, advantage, low=1 - config.clip, high=1 + config.clip)).mean(dim=1)
        divergence = torch.zeros_like(found.log_probs)
        if config.kl_weight > 0 and self.start is not None:
            with torch.no_grad():
                start = self._score(self.start, batch, rows.cpu()).log_probs
            divergence = k3(log_probs, torch.where(possible, start, 0.0))
            loss = loss + config.kl_weight * divergence.mean(dim=1)
        if coefficient:
            loss = loss + coefficient * found.entropies.mean(dim=1)
        seen.see(found, divergence, apart if not config.on_policy else torch.zeros_like(apart))
        seen.see_ratios(moved, config.clip)
        return loss.sum()

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        tensors = {"done": torch.tensor(self.done)} | self.learner.state()
        parts = {"entropy": self.controller.state(), "scale": self.scale.state(), "rewards": self.rewards.state()}
        if self.distribution is not None:
            parts["distribution"] = self.distribution.state()
        tensors |= {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done = int(state["done"])
        self.learner.load(state)
        for part, thing in (
            ("entropy", self.controller), ("scale", self.scale), ("rewards", self.rewards),
            ("distribution", self.distribution),
        ):  # fmt: skip
            if thing is not None:
                start = f"{part}."
                thing.load({name[len(start) :]: value for name, value in state.items() if name.startswith(start)})
