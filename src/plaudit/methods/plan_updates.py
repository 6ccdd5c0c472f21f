"""What learning from plans and their pictures tells of an update, and the sums that it is made from."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from plaudit.core.float64 import float64_device, precise
from plaudit.core.team import Team
from plaudit.generators.plan_policy import Response
from plaudit.methods.plan_losses import Segment, SegmentLoss


@dataclass(frozen=True, kw_only=True)
class PlanUpdate:
    """What one update did; numbers are means over its images, or over their words and tokens."""

    index: int
    queries: int
    """images judged so far"""
    reward: float
    """of all that were drawn, also of groups that were not learned from"""
    reward_spread: float
    parts: dict[str, float]
    rounds: int
    """how often prompts were drawn for, until enough groups differed in their rewards or the limit was reached"""
    equal_groups: float
    """the share of drawn groups whose pictures all have the same reward, and so teach nothing"""
    idle_groups: float
    """the share of such groups among those that were learned from, when rounds ran out"""
    plan_words: float
    """of a plan, its begin-of-image not counted"""
    cut_plans: float
    """the share of plans that reached the limit"""
    word_entropy: float
    """nats per word that was drawn"""
    token_entropy: float
    """nats per token of the picture"""
    word_coefficient: float
    """of the words' entropy in the last step's loss; below 0 it asks for more"""
    token_coefficient: float
    word_kl: float
    """from the starting policy, nats per word; 0 unless it is asked for"""
    token_kl: float
    off_policy: float
    """mean size of the difference between a log-probability when drawn and when learned, nats"""
    clipped: float
    """the share of ratios outside the clip"""
    cut_since: float
    """the share of drawn words and tokens that are not learned: by now their own cut leaves them out"""
    gradient_norm: float
    """of the last step, before the clip"""
    rate: float
    seconds: float
    images: Tensor = field(repr=False)
    """(B, 3, H, W), what was learned from; this process's share"""
    prompts: tuple[str, ...] = field(repr=False)
    plans: tuple[str, ...] = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """The numbers, for logs."""
        names = (
            "queries", "reward", "reward_spread", "rounds", "equal_groups", "idle_groups", "plan_words", "cut_plans",
            "word_entropy", "token_entropy", "word_coefficient", "token_coefficient", "word_kl", "token_kl",
            "off_policy", "clipped", "cut_since", "gradient_norm", "rate", "seconds",
        )  # fmt: skip
        parts = {f"reward_{name}": value for name, value in self.parts.items()}
        return {name: float(getattr(self, name)) for name in names} | parts


class SegmentSums:
    """Sums over one segment of responses: their words, or their pictures' tokens."""

    def __init__(self) -> None:
        self.sums = torch.zeros(6, dtype=torch.float64)
        """count, entropy, divergence, distance from the behaviour, ratios outside the clip; drawn, but not learned"""

    def see(self, segment: Segment, found: SegmentLoss) -> None:
        """Of b images' places."""
        learned = segment.learned
        values = (segment.found.entropies, found.divergence, found.apart.abs(), found.outside)
        self.sums[0] += int(learned.sum())
        self.sums[1:5] += torch.stack([precise(value.detach()[learned]).sum().cpu() for value in values])
        self.sums[5] += int((segment.sampled & ~learned).sum())


class PlanSums:
    """Sums over an optimiser step, or over the steps of an update."""

    def __init__(self) -> None:
        self.words, self.tokens = SegmentSums(), SegmentSums()

    def take(self, other: "PlanSums") -> None:
        """Add another's."""
        self.words.sums += other.words.sums
        self.tokens.sums += other.tokens.sums

    def over(self, team: Team, device: torch.device) -> "PlanSums":
        """Those of all processes together."""
        both = torch.stack([self.words.sums, self.tokens.sums]).to(float64_device(device))
        team.add([both])
        whole = PlanSums()
        whole.words.sums, whole.tokens.sums = both.cpu()
        return whole

    def entropies(self) -> tuple[float | None, float | None]:
        """Of words and of tokens, nats each; None where none were drawn."""
        found = [float(s[1] / s[0]) if s[0] else None for s in (self.words.sums, self.tokens.sums)]
        return found[0], found[1]

    def means(self) -> dict[str, float]:
        """For an update's record."""
        words, tokens = (segment.sums / segment.sums[0].clamp_min(1) for segment in (self.words, self.tokens))
        both = self.words.sums + self.tokens.sums
        return {
            "word_entropy": float(words[1]),
            "token_entropy": float(tokens[1]),
            "word_kl": float(words[2]),
            "token_kl": float(tokens[2]),
            "off_policy": float(both[3] / both[0].clamp_min(1)),
            "clipped": float(both[4] / both[0].clamp_min(1)),
            "cut_since": float(both[5] / (both[0] + both[5]).clamp_min(1)),
        }


def plan_lengths(response: Response) -> tuple[Tensor, Tensor]:
    """Words of each plan (B,), and whether it was cut at the limit (B,), bool: its begin-of-image was not drawn."""
    ends = response.written.sum(dim=1) - 1
    drawn_end = response.sampled.gather(1, ends[:, None]).squeeze(1)
    return ends, response.sampled.any(dim=1) & ~drawn_end
