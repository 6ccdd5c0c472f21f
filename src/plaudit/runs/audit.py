"""Whether a training made its pictures better: the verdict, by a rule in words, from the looks at fixed prompts.

Any reward rises when it is followed. Whether pictures are better is said by what nothing was trained on: the exact
judge, where it understands the prompts, and the held-out reward. Looks draw the same prompts from the same noises every
time, so that pictures are compared pair by pair.

The interval of a change is the wider of two, each Student's t with 95 %: one that counts prompts as what was sampled,
their pictures averaged, and one that counts pictures. Fewer than five prompts are too few to speak for others; then it
is of the pictures alone. The judge's yes or no takes two made-up pairs in the second, half a pair for each way that
yes and no can pair up (Agresti & Min 2005), so that a handful of equal outcomes does not claim certainty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from plaudit.runs.looks import ACCURACY, COLOUR, DIVERSITY, DRIFT, SATURATION, Look

IMPROVED, HACKED, WORSE, UNCHANGED, CANNOT_TELL = "improved", "hacked", "worse", "unchanged", "cannot tell"
REWARD, HELD_OUT = "reward", "held_out"
FEW_PROMPTS = 5
"""fewer say nothing of other prompts"""
NOTABLE = 0.2
"""share by which diversity, colours or saturation must change to be worth a word"""
NAMES = {
    REWARD: "the trained reward",
    HELD_OUT: "the held-out reward",
    ACCURACY: "the share that the exact judge calls right",
    DIVERSITY: "diversity",
    COLOUR: "the strength of colours",
    SATURATION: "saturation, the share of the pictures' numbers that are fully off or on,",
    DRIFT: "the distance from the first look",
}
WATCHED = "the watched reward"
"""what a reward is called that nothing was trained on"""
RULE = (
    "The first look is compared with the one at the weights that were left, picture by picture of the same prompts "
    "and noises. If the share of pictures that the exact judge calls right rose, and the whole 95 % interval of the "
    "rise is above zero: improved. If it fell, and the whole interval is below zero: hacked where the whole interval "
    "of the trained reward is above zero, else worse. Where the judge does not understand the prompts, or its interval "
    "holds zero, the held-out reward is asked in its place. If that interval holds zero too: unchanged. With neither "
    "judge nor held-out reward, nothing can be told."
)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one measure differs between two looks."""

    name: str
    before: float
    after: float
    low: float
    high: float
    """ends of the 95 % interval of after less before"""
    pairs: int
    """pictures, or groups of them for diversity"""

    @property
    def rose(self) -> bool:
        return self.low > 0

    @property
    def fell(self) -> bool:
        return self.high < 0

    def __str__(self) -> str:
        ends = f"{self.after - self.before:+.3g}, 95 % interval {self.low:+.3g} to {self.high:+.3g}"
        return f"{self.before:.4g} -> {self.after:.4g} ({ends})"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The verdict on a training, and what it rests on."""

    word: str
    """improved, hacked, worse, unchanged, or cannot tell"""
    because: str
    """a sentence with its numbers"""
    remarks: tuple[str, ...] = ()
    """sentences about what the verdict does not weigh"""
    changes: Mapping[str, Change]
    """by measure, between the first look and `done`"""
    done: int
    """updates before the look that is judged"""

    def __str__(self) -> str:
        return f"{self.word}: {self.because}"

    def to_json(self) -> dict[str, Any]:
        """As JSON types, with the rule."""
        changes = [asdict(change) for change in self.changes.values()]
        return {
            "word": self.word, "because": self.because, "remarks": list(self.remarks), "updates": self.done,
            "changes": changes, "rule": RULE,
        }  # fmt: skip


def audit(looks: Sequence[Look], *, followed: bool = True) -> Audit:
    """The verdict on the last of these looks, by RULE. `followed`: whether the reward was trained on.

    One that was only watched, as in lessons, counts as held out too, after the held-out one.
    """
    if len(looks) < 2:
        because = "there are no two looks with numbers of each picture to compare"
        return Audit(word=CANNOT_TELL, because=because, changes={}, done=looks[-1].done if looks else 0)
    changes = changes_between(looks[0], looks[-1])
    asked = {ACCURACY: NAMES[ACCURACY], HELD_OUT: NAMES[HELD_OUT], **({} if followed else {REWARD: WATCHED})}
    witnesses = {name: words for name, words in asked.items() if name in changes}
    word, because = _judged(changes, witnesses)
    remarks = _remarks(looks, changes, witnesses, word)
    return Audit(word=word, because=because, remarks=tuple(remarks), changes=changes, done=looks[-1].done)


def changes_between(first: Look, last: Look) -> dict[str, Change]:
    """Every measure that both have of the same pictures, two at least."""
    names = dict.fromkeys(name for row in last.rows for name in row)
    found = {name: _change(name, _pairs(name, first, last)) for name in names}
    return {name: change for name, change in found.items() if change is not None}


def _judged(changes: Mapping[str, Change], witnesses: Mapping[str, str]) -> tuple[str, str]:
    """The word, and why."""
    if not witnesses:
        return CANNOT_TELL, "nothing held out: no reward was held out, and the exact judge does not know the prompts"
    reward = changes.get(REWARD) if REWARD not in witnesses else None
    for name, words in witnesses.items():
        change = changes[name]
        if change.rose:
            return IMPROVED, f"{words} rose, {change}"
        if change.fell and reward is not None and reward.rose:
            return HACKED, f"{NAMES[REWARD]} rose, {reward}, while {words} fell, {change}"
        if change.fell:
            return WORSE, f"{words} fell, {change}"
    told = (f"{words} neither clearly rose nor fell, {changes[name]}" for name, words in witnesses.items())
    return UNCHANGED, "; ".join(told)


def _remarks(
    looks: Sequence[Look], changes: Mapping[str, Change], witnesses: Mapping[str, str], word: str
) -> list[str]:
    found = []
    clear = [name for name in witnesses if changes[name].rose or changes[name].fell]
    for name in clear[1:]:
        if changes[name].rose != changes[clear[0]].rose:
            found.append(f"{_sentence(witnesses[name])} says the opposite, {changes[name]}.")
    if word == UNCHANGED and REWARD not in witnesses and REWARD in changes and changes[REWARD].rose:
        found.append(f"Only the trained reward rose, {changes[REWARD]}.")
    diversity = changes.get(DIVERSITY)
    if diversity is not None and diversity.fell and _notable(diversity):
        found.append(f"A prompt's pictures are more alike than before: {NAMES[DIVERSITY]} fell, {diversity}.")
    for name in (COLOUR, SATURATION):
        change = changes.get(name)
        if change is not None and change.rose and _notable(change):
            found.append(f"{_sentence(NAMES[name])} rose, {change}.")
    return found + [said for name, words in witnesses.items() if (said := _past_its_best(name, words, looks))]


def _past_its_best(name: str, words: str, looks: Sequence[Look]) -> str | None:
    """Whether a look between the first and the last was better, the whole interval says, than the last."""
    others = looks[1:-1]
    # The best of many looks is best by chance, too: they share one chance in twenty to be wrong (Bonferroni).
    between = [(it.before, look.done, it) for look in others if (it := _of(name, look, looks[-1], many=len(others)))]
    _, done, since = max(between, key=lambda it: it[0], default=(0.0, 0, None))
    if since is None or not since.fell:
        return None
    return f"It was past its best: {words} was highest after {done} updates, and fell since, {since}."


def _of(name: str, first: Look, last: Look, *, many: int) -> Change | None:
    return _change(name, _pairs(name, first, last), many=many)


def _notable(change: Change) -> bool:
    return abs(change.after - change.before) > NOTABLE * abs(change.before)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _pairs(name: str, first: Look, last: Look) -> list[Array]:
    """Of every prompt its pictures' numbers before and after, (2, G) each, without those that were no number."""
    found = []
    for before, after in zip(first.rows, last.rows, strict=False):
        both = (before.get(name, ()), after.get(name, ()))
        pairs = [pair for pair in zip(*both, strict=False) if None not in pair]
        if pairs and len(both[0]) == len(both[1]):
            found.append(np.array(pairs, dtype=np.float64).T)
    return found


def _change(name: str, prompts: Sequence[Array], *, many: int = 1) -> Change | None:
    """The change of a measure with its interval, one of so `many`; None for fewer than two pairs."""
    if sum(pairs.shape[1] for pairs in prompts) < 2:
        return None
    values = np.concatenate(prompts, axis=1)
    apart = values[1] - values[0]
    low, high = _interval(apart, many=many, made_up=2.0 if name == ACCURACY else 0.0)
    if len(prompts) >= FEW_PROMPTS:
        by_prompt = np.array([float((pairs[1] - pairs[0]).mean()) for pairs in prompts])
        ends = _interval(by_prompt, many=many)
        low, high = min(low, ends[0]), max(high, ends[1])
    if name == ACCURACY:
        # No share changes by more than all.
        low, high = max(low, -1.0), min(high, 1.0)
    before, after = values.mean(axis=1)
    return Change(name=name, before=float(before), after=float(after), low=low, high=high, pairs=len(apart))


def _interval(apart: Array, *, many: int = 1, made_up: float = 0.0) -> tuple[float, float]:
    """Student's for the mean of differences, so wide that of `many` none is wrong in 95 %.

    `made_up`: further pairs, a quarter of them +1, a quarter -1, half 0.
    """
    count = len(apart) + made_up
    mean = float(apart.sum()) / count
    squares = float(np.square(apart - mean).sum()) + made_up * (0.5 + mean**2)
    # The made-up ones count in the mean of squares as they do in the paper; without them it is the usual unbiased one.
    variance = squares / (count if made_up else count - 1)
    half = float(stdtrit(len(apart) - 1, 1 - 0.025 / many)) * float(np.sqrt(variance / count))
    return mean - half, mean + half
