"""GRPO on a model that writes a plan in words and then draws it: ReasonGen-R1's second stage.

After Zhang et al. 2025 (arXiv 2505.24875) and its released code. One update: act (groups of plans and pictures of each
prompt), judge, keep the groups whose rewards differ, compare within them, learn (make the words and tokens of the
better ones likelier, and keep the entropy of both where it should be).

Differs from the released code: what was not drawn is not learned, such as a begin-of-image that the limit forced; means
are over all tokens of an optimiser step, on all processes, and not over two images at a time; advantages compare with
the others of a group and its plain spread, and not with all of it and Bessel's, so that they are (G / (G - 1))^1.5
times the published, 1.222 in groups of 8, and rewards weigh as much more beside the entropy; they are clipped; entropy
controllers are fed once per step with the mean of all, and not once per two images on each process: at the published
rate of 5e-5 a coefficient walks more slowly, by as many times as a process has pairs of images in a step (16 prompts of
8 images on 8 processes: 8 times); groups that are missing are drawn anew, as many as are missing, and when rounds run
out equal groups fill up, which teach nothing but entropy; a reference model is there only for a divergence; guided
pictures are learned from as what they were drawn from, or declared off-policy; every picture has its own random stream,
so that neither the batch's size nor the number of processes changes a result.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.float64 import precise
from plaudit.core.random_streams import stream
from plaudit.core.team import Team
from plaudit.generators.plan_policy import PlanPolicy, Response, ScoredResponse, Texts, joined
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.token_rollout import Scored, in_parts, uniforms_for
from plaudit.methods.advantages import group_advantages, shared_scale
from plaudit.methods.drawn_at_once import drawn_at_once
from plaudit.methods.entropy import EntropyControl
from plaudit.methods.judging import Jury, Piece
from plaudit.methods.learner import Learner
from plaudit.methods.plan_losses import Counts, Segment, segment_loss, shares
from plaudit.methods.plan_updates import PlanSums, PlanUpdate, SegmentSums, plan_lengths
from plaudit.methods.prompt_rounds import in_rounds, rows_of
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.rewards.mix import WeightedSum, as_sum
from plaudit.rewards.reward import Reward


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """This process's share of responses: B of N."""

    numbers: Tensor
    """(N,), the prompts' places in the list, of all responses"""
    rows: Tensor
    """(B,), which of the N are here, in whole groups of a prompt"""
    response: Response
    images: Tensor


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """What an update learns from, and what is told of all that was drawn for it."""

    batch: _Batch
    scores: Tensor
    """(N,)"""
    told: dict[str, Any]


class ReasonGen:
    """A policy in training. Iterate `updates`; `state` and `load` carry all of it over an interruption.

    `start` is the policy as it was before training, for the divergence from it.
    """

    def __init__(
        self,
        policy: PlanPolicy,
        reward: WeightedSum | Reward,
        prompts: Sequence[str],
        config: ReasonGenConfig,
        *,
        start: PlanPolicy | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        if not prompts:
            raise BadConfig("there is no prompt to learn from")
        if config.prompts_per_update < self.team.size:
            raise BadConfig(
                f"{self.team.size} processes share an update's prompts, and there are {config.prompts_per_update} of "
                "them"
            )
        if config.kl_weight > 0 and start is None:
            raise BadConfig("a KL to the starting policy needs that policy; give it as start, or set kl_weight to 0")
        parameters = [p for p in policy.transformer.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig("nothing of the policy is trained: its transformer's parameters are all frozen")
        self.policy, self.rewards, self.config, self.start = policy, as_sum(reward), config, start
        self.prompts = tuple(prompts)
        self.texts = cast(Texts, (policy if config.plan else policy.direct).encode(self.prompts))
        self.learner = Learner(parameters, config.learning(), team=self.team)
        self.jury = Jury(self.rewards)
        self.words, self.tokens = config.controller(config.word_entropy), config.controller(config.token_entropy)
        self.done, self.total = 0, config.updates
        self.asked, self.queries = 0, 0
        """prompts that were drawn for, and pictures judged, so far"""

    def updates(self) -> Iterator[PlanUpdate]:
        """The updates from where it stands to the configured number."""
        while self.done < self.total:
            yield self._update()

    def _update(self) -> PlanUpdate:
        started = time.monotonic()
        gathered = self.gather(self.done)
        learned = self.learn(gathered.batch, self.compare(gathered.scores), self.done)
        self.done += 1
        response, batch = gathered.batch.response, gathered.batch
        return PlanUpdate(
            index=self.done - 1,
            queries=self.queries,
            rate=self.learner.rate,
            seconds=time.monotonic() - started,
            images=batch.images,
            prompts=tuple(self.prompts[n] for n in batch.numbers[batch.rows].tolist()),
            plans=tuple(self.policy.read_words(response.words, response.written)),
            **self._lengths(batch),
            **gathered.told,
            **learned,
        )

    def gather(self, update: int) -> _Gathered:
        """Draw and judge until every group has rewards that differ, or rounds are over and equal groups fill up."""
        config, size = self.config, self.config.images_per_prompt
        batches: list[_Batch] = []
        scores: list[Tensor] = []
        parts: list[dict[str, Tensor]] = []
        teaching = torch.zeros(0, dtype=torch.bool)
        while int(teaching.sum()) < config.prompts_per_update and len(batches) < config.rounds:
            missing = config.prompts_per_update - int(teaching.sum())
            batches.append(self.act(update, len(batches), missing))
            found, told = self.judge(batches[-1])
            scores.append(found.cpu())
            parts.append(told)
            groups = scores[-1].view(-1, size)
            teaching = torch.cat([teaching, (groups != groups[:, :1]).any(dim=1)])
        # Those that teach in the order in which they came, then as many of the others as are missing.
        chosen = teaching.int().argsort(descending=True, stable=True)[: config.prompts_per_update].sort().values
        judged = torch.cat(scores)
        return _Gathered(
            batch=self._chosen(batches, chosen),
            scores=judged[rows_of(chosen, size)],
            told={
                "reward": float(judged.mean()),
                "reward_spread": float(judged.std(correction=0)),
                "parts": {name: float(torch.cat([one[name] for one in parts]).mean()) for name in self.rewards.parts},
                "rounds": len(batches),
                "equal_groups": float((~teaching).float().mean()),
                "idle_groups": float((~teaching[chosen]).float().mean()),
            },
        )

    def _chosen(self, batches: Sequence[_Batch], chosen: Tensor) -> _Batch:
        """Of the groups of all rounds, one after the other, the chosen (P,), in that order."""
        size, numbers, own, start = self.config.images_per_prompt, [], [], 0
        for batch in batches:
            numbers.append(batch.numbers)
            own.append(batch.rows + start)
            start += len(batch.numbers)
        rows = rows_of(chosen, size)
        # Where each row of all rounds went, and which of this process's went anywhere.
        place = torch.full((start,), -1).scatter(0, rows, torch.arange(len(rows)))[torch.cat(own)]
        kept = (place >= 0).nonzero().flatten()
        response = joined([batch.response for batch in batches])
        images = torch.cat([batch.images for batch in batches])
        return _Batch(
            numbers=torch.cat(numbers)[rows],
            rows=place[kept],
            response=response[kept.to(response.words.device)],
            images=images[kept.to(images.device)],
        )

    def act(self, update: int, turn: int, count: int) -> _Batch:
        """Draw responses to the next prompts, so many, without a gradient."""
        config = self.config
        places = torch.arange(self.asked, self.asked + count)
        self.asked += count
        numbers = in_rounds(places, len(self.prompts), seed=config.seed).repeat_interleave(config.images_per_prompt)
        rows = rows_of(self.team.share(count), config.images_per_prompt)
        # A process without a share draws one that nobody keeps, so as to have nothing in the right shapes.
        drawn = [self._draw(update, turn, numbers, part) for part in (rows if len(rows) else rows.new_zeros(1)).split(
            drawn_at_once(config, guided=config.image_sampling().guided)
        )]  # fmt: skip
        responses, images = zip(*drawn, strict=True)
        return _Batch(
            numbers=numbers, rows=rows, response=joined(responses)[: len(rows)], images=torch.cat(images)[: len(rows)]
        )

    def _draw(self, update: int, turn: int, numbers: Tensor, rows: Tensor) -> tuple[Response, Tensor]:
        """Some of a round's responses, and their images."""
        config, policy = self.config, self.policy
        keys: list[tuple[int | str, ...]] = [(config.seed, "response", update, turn, row) for row in rows.tolist()]
        # Without a plan, the empty one is given: begin-of-image follows the prompt.
        plans = None if config.plan else policy.words_of([""] * len(rows))
        uniforms = uniforms_for(keys, policy.max_words + policy.num_tokens)
        response = draw_responses(
            policy, self.texts[numbers[rows].to(policy.device)], uniforms, plans=plans,
            words=config.words_sampling(), image=config.image_sampling(),
        )  # fmt: skip
        with torch.no_grad():
            return response, in_parts(policy.decode, response.tokens, at_once=config.batch_size)

    def judge(self, batch: _Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Totals (N,) and raw scores of all processes' images. Raises BadConfig for one that is not finite."""
        prompts = [self.prompts[number] for number in batch.numbers[batch.rows].tolist()]
        pieces = [
            Piece(images=batch.images[at], prompts=tuple(prompts[i] for i in at.tolist()))
            for at in torch.arange(len(batch.rows)).split(self.config.batch_size)
        ]
        self.queries += len(batch.numbers)
        return self.jury.judge(pieces, batch.rows, batch.numbers, prompts=self.prompts, team=self.team)

    def compare(self, scores: Tensor) -> Tensor:
        """Advantages (N,), each against the others of its group."""
        edge, scaled = self.config.advantage_clip, shared_scale if self.config.spread == "update" else group_advantages
        return scaled(scores.view(-1, self.config.images_per_prompt)).flatten().clamp(-edge, edge)

    def learn(self, batch: _Batch, advantages: Tensor, update: int) -> dict[str, Any]:
        """The optimiser's steps on one update's responses, with the advantages of all N."""
        config, seen, size = self.config, PlanSums(), self.config.images_per_prompt
        own = advantages[batch.rows].to(self.policy.device)
        groups, norm, coefficients = batch.rows[::size] // size, 0.0, (0.0, 0.0)
        old = self._old_log_probs(batch, ~torch.isin(groups, self._parts_of(update, 0)[0]))
        self.learner.begin(update)
        for number in range(config.passes):
            for part in self._parts_of(update, number):
                rows = rows_of(torch.isin(groups, part).nonzero().flatten(), size)
                counts = self._counts(batch, rows, len(part) * size)
                coefficients = (self.words.coefficient, self.tokens.coefficient)
                self.learner.clear()
                step = PlanSums()
                for at in rows.split(config.batch_size) if len(rows) else ():
                    self._loss(batch, at, own, old, counts, step).backward()
                norm = self.learner.step()
                step = step.over(self.team, self.policy.device)
                self._control(step)
                seen.take(step)
        self.learner.end(update)
        told = dict(zip(("word_coefficient", "token_coefficient"), coefficients, strict=True))
        return {**seen.means(), **told, "gradient_norm": norm}

    def _control(self, step: PlanSums) -> None:
        for control, entropy in zip((self.words, self.tokens), step.entropies(), strict=True):
            if entropy is not None:
                control.see(entropy)

    def _counts(self, batch: _Batch, rows: Tensor, images: int) -> Counts:
        """Of a step's responses on all processes."""
        words = batch.response.sampled[rows.to(self.policy.device)].sum()
        self.team.add([words])
        return Counts(words=int(words), tokens=images * self.policy.num_tokens, images=images)

    def _parts_of(self, update: int, number: int) -> tuple[Tensor, ...]:
        """The prompts of each of a pass's steps."""
        config = self.config
        order = torch.randperm(config.prompts_per_update, generator=stream(config.seed, "order", update, number))
        return order.tensor_split(min(config.steps_per_pass, config.prompts_per_update))

    def _old_log_probs(self, batch: _Batch, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Words' (B, W) and tokens' (B, T) before the first step; not a number where that step itself will tell.

        `groups`: bool, of the groups here those that are not in it.
        """
        response, config = batch.response, self.config
        words = torch.full_like(response.word_log_probs, torch.nan)
        tokens = torch.full_like(response.token_log_probs, torch.nan)
        rows = rows_of(groups.nonzero().flatten(), config.images_per_prompt)
        with torch.no_grad():
            for at in rows.split(config.batch_size) if len(rows) else ():
                found = self._score(self.policy, batch, at)
                words[at], tokens[at] = found.words.log_probs, found.tokens.log_probs
        return words, tokens

    def _score(self, policy: PlanPolicy, batch: _Batch, rows: Tensor) -> ScoredResponse:
        texts = self.texts[batch.numbers[batch.rows[rows]].to(policy.device)]
        drawn = self.config.learned == "drawn"
        return score_responses(
            policy, batch.response[rows.to(policy.device)], texts,
            words=self.config.words_sampling() if drawn else None,
            image=self.config.image_sampling() if drawn else None,
        )  # fmt: skip

    def _loss(
        self, batch: _Batch, rows: Tensor, advantages: Tensor, old: tuple[Tensor, Tensor], counts: Counts,
        seen: PlanSums,
    ) -> Tensor:  # fmt: skip
        """Some responses' share of a step's loss; tells `old` what it does not know yet."""
        config = self.config
        found = start = self._score(self.policy, batch, rows)
        if config.kl_weight > 0 and self.start is not None:
            with torch.no_grad():
                start = self._score(self.start, batch, rows)
        rows = rows.to(self.policy.device)
        response, advantage = batch.response[rows], advantages[rows][:, None]
        for_words, for_tokens = shares(response, counts, config.balance)
        words = Segment(
            found=found.words, start=start.words.log_probs, before=_known(old[0], rows, found.words),
            drawn=response.word_log_probs, sampled=response.sampled, share=config.word_weight * for_words,
            mean=1 / max(1, counts.words),
        )  # fmt: skip
        tokens = Segment(
            found=found.tokens, start=start.tokens.log_probs, before=_known(old[1], rows, found.tokens),
            drawn=response.token_log_probs, sampled=torch.ones_like(response.tokens, dtype=torch.bool),
            share=config.token_weight * for_tokens, mean=1 / counts.tokens,
        )  # fmt: skip
        told = ((words, self.words, seen.words), (tokens, self.tokens, seen.tokens))
        return torch.stack([self._segment(*one, advantage) for one in told]).sum()

    def _segment(self, it: Segment, control: EntropyControl, seen: SegmentSums, advantage: Tensor) -> Tensor:
        config = self.config
        found = segment_loss(
            it, advantage, clip=config.clip, importance_cap=config.importance_cap, kl_weight=config.kl_weight,
            coefficient=control.coefficient,
        )  # fmt: skip
        seen.see(it, found)
        return found.loss

    def _lengths(self, batch: _Batch) -> dict[str, Any]:
        """Of the plans that were learned from, on all processes."""
        words, cut = plan_lengths(batch.response)
        sums = torch.stack([precise(words).sum(), precise(cut).sum()])
        self.team.add([sums])
        plan_words, cut_plans = (sums / len(batch.numbers)).tolist()
        return {"plan_words": plan_words, "cut_plans": cut_plans}

    def state(self) -> dict[str, Tensor]:
        """All that a restart needs, as tensors."""
        counts = {name: torch.tensor(getattr(self, name)) for name in ("done", "asked", "queries")}
        tensors = counts | self.learner.state()
        for part, thing in self._parts():
            tensors |= {f"{part}.{name}": value for name, value in thing.state().items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self.done, self.asked, self.queries = (int(state[name]) for name in ("done", "asked", "queries"))
        self.learner.load(state)
        for part, thing in self._parts():
            start = f"{part}."
            thing.load({name[len(start) :]: value for name, value in state.items() if name.startswith(start)})

    def _parts(self) -> tuple[tuple[str, Any], ...]:
        return ("words", self.words), ("tokens", self.tokens), ("rewards", self.rewards)


def _known(old: Tensor, rows: Tensor, found: Scored) -> Tensor:
    """The log-probabilities before the update (b, n) of these rows of `old` (B, n), where they are noted if new."""
    old[rows] = torch.where(old[rows].isnan(), found.log_probs.detach(), old[rows])
    return old[rows]
