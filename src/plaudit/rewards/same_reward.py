"""Whether two names, such as a row's and its alias's, are of one reward: whoever is followed is no witness."""

from collections.abc import Iterable

from plaudit.core.errors import PlauditError
from plaudit.rewards.specs import parse_spec
from plaudit.rewards.table import REWARDS


def identity(spec: str) -> str:
    """The same for all names of one reward, whatever its weight and options."""
    try:
        name = parse_spec(spec, REWARDS).name
    except PlauditError:
        return spec
    row = REWARDS.row_of(name)
    return name if row is None else f"{row.target} {row.hub_id} {dict(row.arguments)}"


def conflict(held_out: Iterable[str], followed: Iterable[str], *, how: str) -> str | None:
    """A sentence for a held-out reward that is followed too, "trained on" say; None if none is."""
    both = also_followed(held_out, followed)
    if both is None:
        return None
    same = "" if both[0] == both[1] else f": it is the same as {both[1]!r}"
    return f"{both[0]!r} cannot be {how} and held out at once{same}"


def also_followed(held_out: Iterable[str], followed: Iterable[str]) -> tuple[str, str] | None:
    """The first of the held-out rewards that is followed too, and the name it is followed by; None if none is."""
    names = {identity(spec): spec for spec in followed}
    return next(((spec, names[its]) for spec in held_out if (its := identity(spec)) in names), None)
