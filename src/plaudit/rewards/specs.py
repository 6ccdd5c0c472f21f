"""How a user names a reward: NAME[:WEIGHT][:OPTION]..., as in hps, hps:5, ./my_clip:2:smooth=4, my_module:Mine:1:cache.

NAME is a row of the table, a folder, or a user's own code. The options, in the order in which they are applied:

    smooth=N          mean over N cropped, slightly noisy looks at the picture
    cache             scores are kept on disk, for pictures that come again
    max=M             no score above M
    normalise         by running mean and spread; normalise=group by those of a prompt's images, while training
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plaudit.core.errors import BadConfig
from plaudit.core.registry import Registry

Normalisation = Literal["running", "group"]

OPTIONS = ("smooth", "cache", "max", "normalise")
USUAL_LOOKS = 4
"""of `smooth` without a number"""
EXAMPLES = "hps:5 or hps:5:max=0.3"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a user wrote about one reward."""

    name: str
    """a row's as the table writes it, a folder, or code as in "my_module:MyReward" """
    weight: float
    weight_said: bool = True
    """False if it is the usual one"""
    smooth: int = 0
    """looks; 0 is the picture as it is"""
    cache: bool = False
    maximum: float | None = None
    normalise: Normalisation | None = None

    @property
    def label(self) -> str:
        """The part's name in logs: all that changes its number, but for the weight."""
        said = [f"smooth={self.smooth}"] if self.smooth else []
        said += [f"max={self.maximum:g}"] if self.maximum is not None else []
        said += ["normalise" + ("=group" if self.normalise == "group" else "")] if self.normalise else []
        return ":".join([self.name, *said])


def parse_spec(spec: str, rows: Registry) -> Spec:
    """The parts of a spec; without a weight, a row's default_weight holds, and 1 for all else.

    Raises BadConfig for what is neither a weight nor an option, and for an option that cannot work.
    """
    fields, weights, said = spec.strip().split(":"), [], {}
    while len(fields) > 1 and not Path(":".join(fields)).expanduser().is_dir():
        option, equals, value = fields[-1].partition("=")
        if equals or option in OPTIONS:
            if option in said:
                raise BadConfig(f"reward {spec!r} says {option!r} twice; say it once")
            said[option] = value if equals else None
        elif (number := _number(fields[-1])) is not None:
            weights.append(number)
        else:
            break
        fields.pop()
    name = ":".join(fields)
    if not name:
        raise BadConfig(f"reward {spec!r} has no name; write it like {EXAMPLES}")
    if len(weights) > 1:
        raise BadConfig(f"reward {spec!r} has two weights; write it like {EXAMPLES}")
    _check_name(spec, name, rows)
    options = _options(spec, said)
    row = rows.row_of(name)
    # A usual weight is made for the raw scale.
    usual = float(row.facts["default_weight"]) if row is not None and options.normalise is None else 1.0
    return Spec(
        name=row.name if row is not None else name,
        weight=weights[0] if weights else usual,
        weight_said=bool(weights),
        smooth=options.smooth,
        cache=options.cache,
        maximum=options.maximum,
        normalise=options.normalise,
    )


def is_code(name: str) -> bool:
    """Whether a name means code of the user: "my_module:MyReward", "my.module:MyReward" or "./file.py:MyReward"."""
    source, _, attribute = name.rpartition(":")
    if not source or not attribute.isidentifier() or Path(name).expanduser().is_dir():
        return False
    return source.endswith(".py") or all(part.isidentifier() for part in source.split("."))


@dataclass(frozen=True, kw_only=True)
class _Options:
    smooth: int
    cache: bool
    maximum: float | None
    normalise: Normalisation | None


def _options(spec: str, said: Mapping[str, str | None]) -> _Options:
    for option in said:
        if option not in OPTIONS:
            raise BadConfig(f"reward {spec!r}: there is no option {option!r}.{_nearest(option)}")
    if said.get("cache") is not None:
        raise BadConfig(f"reward {spec!r}: cache takes no value")
    return _Options(
        smooth=_looks(spec, said["smooth"]) if "smooth" in said else 0,
        cache="cache" in said,
        maximum=_maximum(spec, said["max"]) if "max" in said else None,
        normalise=_normalisation(spec, said["normalise"]) if "normalise" in said else None,
    )


def _looks(spec: str, value: str | None) -> int:
    if value is None:
        return USUAL_LOOKS
    if not value.isdecimal() or int(value) < 1:
        raise BadConfig(f"reward {spec!r}: smooth takes a whole number of looks, as in smooth=4, got {value!r}")
    return int(value)


def _maximum(spec: str, value: str | None) -> float:
    number = _number(value or "")
    if number is None or not math.isfinite(number):
        raise BadConfig(f"reward {spec!r}: max takes a number on the reward's own scale, as in max=0.3, got {value!r}")
    return number


def _normalisation(spec: str, value: str | None) -> Normalisation:
    if value in (None, "running"):
        return "running"
    if value == "group":
        return "group"
    raise BadConfig(f"reward {spec!r}: it is normalise or normalise=group, got {value!r}")


def _check_name(spec: str, name: str, rows: Registry) -> None:
    """Refuse what stands behind a name and is no weight or option."""
    source, colon, rest = name.rpartition(":")
    if not colon or Path(name).expanduser().is_dir() or (is_code(name) and source not in rows):
        return
    raise BadConfig(
        f"the weight in reward {spec!r} is not a number, and {rest!r} is no option.{_nearest(rest)} "
        f"Write it like {EXAMPLES}"
    )


def _nearest(option: str) -> str:
    close = difflib.get_close_matches(option, OPTIONS, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" There are: {', '.join(OPTIONS)}."


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
