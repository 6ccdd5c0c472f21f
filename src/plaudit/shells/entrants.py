"""How a user names what is compared: MODEL[:METHOD][:OPTION=VALUE]..., as in pocket-turbo:reno:steps=30, or runs/mine.

MODEL is a row of the table, a folder, or a training's. The options:

    steps=N             pictures that the method draws for each image
    sampling-steps=N    steps in which the model draws a picture
    without=REWARD      a reward that the method leaves out
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from plaudit.shells.flags import WrongUsage, nearest
from plaudit.shells.options import Method

if TYPE_CHECKING:
    from plaudit.rewards.mix import WeightedSum

METHODS: tuple[str, ...] = get_args(Method)
OPTIONS = ("steps", "sampling-steps", "without")
EXAMPLE = "pocket-turbo:reno:steps=30"


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One system in a comparison."""

    model: str
    method: Method
    steps: int | None = None
    """None: not said"""
    sampling_steps: int | None = None
    without: str | None = None

    @property
    def name(self) -> str:
        """As it is typed, in one way only."""
        said: list[str] = [] if self.method == "none" else [self.method]
        said += [] if self.steps is None else [f"steps={self.steps}"]
        said += [] if self.sampling_steps is None else [f"sampling-steps={self.sampling_steps}"]
        said += [] if self.without is None else [f"without={self.without}"]
        return ":".join([self.model, *said])

    def followed(self, rewards: Sequence[str]) -> tuple[str, ...]:
        """Those of the rewards that its method follows; none where it only draws."""
        return () if self.method == "none" else tuple(name for name in rewards if name != self.without)


def entrants_of(texts: Sequence[str], methods: Sequence[str]) -> list[Entrant]:
    """What was named, each that says no method once for each of `methods`. Raises WrongUsage, also for doubles."""
    for method in methods:
        _method(method, "--method")
    found = []
    for text in texts:
        entrant = _parsed(text)
        named = [entrant] if entrant.method else [replace(entrant, method=cast(Method, it)) for it in methods]
        found += named
    for place, one in enumerate(found):
        if one.name in [other.name for other in found[:place]]:
            raise WrongUsage(f"{one.name!r} is named twice; a comparison needs different systems")
        if one.method == "none" and (one.steps is not None or one.without is not None):
            raise WrongUsage(f"{one.name!r} only draws; steps and without are for a method, as in {EXAMPLE}")
    return found


def with_rewards_left_out(entrants: Sequence[Entrant], rewards: Sequence[str]) -> list[Entrant]:
    """After each that follows all rewards, the same without each of them. Raises WrongUsage if there is none."""
    found: list[Entrant] = []
    for entrant in entrants:
        found.append(entrant)
        if entrant.method != "none" and entrant.without is None:
            found += [one for name in rewards if (one := replace(entrant, without=name)) not in entrants]
    if len(found) == len(entrants):
        raise WrongUsage(f"--leave-one-out leaves rewards out of a method; name one, as in {EXAMPLE}")
    if len(rewards) < 2:
        raise WrongUsage("--leave-one-out needs two rewards or more, so that one is left; name them with --reward")
    return found


def check_left_out(entrants: Sequence[Entrant], rewards: Sequence[str]) -> None:
    """Raises WrongUsage for a reward that is left out and was never there, or was the only one."""
    for entrant in entrants:
        if entrant.without is not None and entrant.without not in rewards:
            known = ", ".join(rewards)
            raise WrongUsage(f"{entrant.name!r} leaves out a reward that is not followed; it follows {known}")
        if entrant.without is not None and len(rewards) == 1:
            raise WrongUsage(f"{entrant.name!r} leaves out the only reward there is; name more with --reward")


def without_reward(rewards: "WeightedSum", name: str | None) -> "WeightedSum":
    """The sum of the others; the whole sum if nothing is left out."""
    from plaudit.rewards.mix import WeightedSum

    parts = {label: part for label, part in rewards.parts.items() if label != name}
    return WeightedSum(parts, scales={label: scale for label, scale in rewards.scales.items() if label != name})


def _parsed(text: str) -> Entrant:
    """One entrant; its method is empty where none was said."""
    model, *said = [text] if Path(text).is_dir() else text.split(":")
    if not model:
        raise WrongUsage(f"{text!r} names no model; write it like {EXAMPLE}")
    method, options = "", dict[str, str]()
    for word in said:
        option, equals, value = word.partition("=")
        if not equals:
            if method:
                raise WrongUsage(f"{text!r} names two methods; write it like {EXAMPLE}")
            method = _method(word, repr(text))
        elif option not in OPTIONS:
            raise WrongUsage(f"{text!r}: there is no option {option!r}.{nearest(option, OPTIONS)}")
        elif option in options:
            raise WrongUsage(f"{text!r} says {option!r} twice; say it once")
        else:
            options[option] = value
    return Entrant(
        model=_model(model), method=cast(Method, method), steps=_number(text, "steps", options),
        sampling_steps=_number(text, "sampling-steps", options), without=options.get("without"),
    )  # fmt: skip


def _model(name: str) -> str:
    """A row's name as the table writes it; a path without a slash at its end."""
    from plaudit.generators.table import GENERATORS

    row = GENERATORS.row_of(name)
    return row.name if row is not None else str(Path(name)) if Path(name).is_dir() else name


def _method(word: str, where: str) -> str:
    if word not in METHODS:
        raise WrongUsage(
            f"{where}: there is no method {word!r}.{nearest(word, METHODS) or ' Known: ' + ', '.join(METHODS) + '.'}"
        )
    return word


def _number(text: str, option: str, said: dict[str, str]) -> int | None:
    if option not in said:
        return None
    if not said[option].isdigit() or int(said[option]) < 1:
        raise WrongUsage(f"{text!r}: {option} takes a whole number, at least 1, got {said[option]!r}")
    return int(said[option])
