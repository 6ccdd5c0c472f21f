"""Plans: all of a scene in plain words, as a model writes them before it draws, and the way back from the words.

A plan names the background, and of each object its shape, its colour, its place on a grid of three by three and its
size; equal objects are counted. `write_plan` puts a scene into one of several phrasings, `read_plan` reads any of them
back exactly. `plan_meets` holds a plan against a request, `agrees` against what the judge saw in a picture.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from plaudit.pocket.prompts import NUMBERS, Request, describe
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, MAX_OBJECTS, SHAPES, SIZE, Scene, Thing, draw_scene
from plaudit.pocket.truth import failures

PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
"""the grid's cells by row and column, each a third of the picture high and wide"""

SIZES = {"small": (0.0, 10.5), "medium": (10.5, 13.5), "large": (13.5, float(SIZE))}
"""name to the half extents that it stands for, in pixels"""

PLACE_TOLERANCE = 3.0
"""an object that lies this little beyond its cell still lies in it, in pixels"""
SIZE_TOLERANCE = 1.0
"""the same of half extents"""

_CELL = SIZE / 3
_TYPICAL_RADIUS = {"small": 9.5, "medium": 12.0, "large": 15.0}


@dataclass(frozen=True, kw_only=True)
class PlannedThing:
    """One object of a plan."""

    shape: str
    colour: str
    size: str
    """one of SIZES"""
    place: str
    """one of PLACES"""

    @property
    def kind(self) -> tuple[str, str]:
        """(shape, colour): what objects are equal by."""
        return self.shape, self.colour


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a picture is to show: a background and one to four objects, equal ones beside each other."""

    background: str
    things: tuple[PlannedThing, ...]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How much of a plan a picture shows."""

    claims: int
    """the background; each planned object's shape, colour, place and size; and each object beyond those planned"""
    held: int
    """those that hold: of an object that nobody planned, none does"""

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.held / self.claims

    @property
    def whole(self) -> bool:
        """Whether all holds."""
        return self.held == self.claims


@dataclass(frozen=True, kw_only=True)
class PlannedScene:
    """A scene, a prompt that is true of it, and the plan that answers the prompt."""

    prompt: str
    request: Request
    """what the prompt asks for"""
    plan: str
    scene: Scene


@dataclass(frozen=True, kw_only=True)
class _Phrasing:
    """One way of putting a plan into words; `before` or `after` says the background."""

    before: str = ""
    one: str
    """an object that has no equal"""
    many: str
    """how equal objects begin, before `each` of them"""
    each: str
    between_equals: str = ", "
    between: str
    after: str = ""


_PHRASINGS = (
    _Phrasing(
        before="on a {background} background: ",
        one="a {size} {colour} {shape} at the {place}",
        many="{number} {colour} {shapes}, ",
        each="one {size} at the {place}",
        between=", ",
        after=".",
    ),
    _Phrasing(
        before="the background is {background}. ",
        one="at the {place} is a {size} {colour} {shape}",
        many="there are {number} {colour} {shapes}: ",
        each="a {size} one at the {place}",
        between=". ",
        after=".",
    ),
    _Phrasing(
        one="a {colour} {shape} at the {place}, {size}",
        many="{number} {colour} {shapes}: ",
        each="{size} at the {place}",
        between="; ",
        after="; {background} behind",
    ),
    _Phrasing(
        before="draw ",
        one="a {size} {shape} in {colour}, {place}",
        many="{number} {shapes} in {colour}: ",
        each="{place}, {size}",
        between_equals="; ",
        between=" and ",
        after=". the background stays {background}.",
    ),
    _Phrasing(
        before="{background} background. ",
        one="{place}: {size} {colour} {shape}",
        many="{number} {colour} {shapes} ",
        each="at the {place}, {size}",
        between_equals=" and ",
        between=". ",
        after=".",
    ),
)

NUM_PHRASINGS = len(_PHRASINGS)


def write_plan(scene: Scene, rng: np.random.Generator) -> str:
    """All of the scene in words, in one of NUM_PHRASINGS phrasings.

    Raises ValueError for a scene that no plan can tell: see `plan_of`.
    """
    return say_plan(plan_of(scene), int(rng.integers(NUM_PHRASINGS)))


def say_plan(plan: Plan, phrasing: int) -> str:
    """The plan in the phrasing of that number, objects in the plan's order."""
    words = _PHRASINGS[phrasing]
    groups = [list(equal) for _, equal in itertools.groupby(plan.things, key=lambda thing: thing.kind)]
    text = words.before + words.between.join(_say_group(group, words) for group in groups) + words.after
    return text.replace("{background}", plan.background)


def read_plan(text: str) -> Plan | None:
    """The plan that the text tells, None if it tells none: it must be one of the phrasings, word by word.

    Case and spaces do not matter, nor does the order of the objects.
    """
    said = " ".join(words_in(text))
    for number, phrasing in enumerate(_PHRASINGS):
        plan = _read_as(said, phrasing)
        # Saying it again finds out wrong counts, and equal objects beside each other that were not counted.
        if plan is not None and " ".join(words_in(say_plan(plan, number))) == said:
            return plan
    return None


def words_in(text: str) -> list[str]:
    """The text's words in lower case, each mark a word of its own: what a plan's length is counted in."""
    return re.findall(r"[^\W_]+|[^\w\s]|_", text.lower())


@functools.cache
def plan_words() -> tuple[str, ...]:
    """Every word and mark that plans are made of, sorted."""
    templates = " ".join(part for p in _PHRASINGS for part in (p.before, p.one, p.many, p.each, p.after))
    templates += " ".join(part for p in _PHRASINGS for part in ("", p.between_equals, p.between))
    said = set(words_in(re.sub(r"\{\w+\}", " ", templates)))
    return tuple(sorted(said.union(*(words_in(word) for words in _FILLINGS.values() for word in words))))


@functools.cache
def longest_plan() -> int:
    """The most words and marks that a plan takes."""
    kinds = [(shape, "red") for shape in SHAPES[:MAX_OBJECTS]]
    most = 0
    for chosen in itertools.combinations_with_replacement(kinds, MAX_OBJECTS):
        things = tuple(PlannedThing(shape=s, colour=c, size="small", place="top left") for s, c in chosen)
        plan = Plan(background="white", things=things)
        most = max(most, *(len(words_in(say_plan(plan, number))) for number in range(NUM_PHRASINGS)))
    return most


def plan_of(scene: Scene) -> Plan:
    """The scene as a plan tells it: objects as one reads, from the top left, and their equals after them.

    Raises ValueError for a scene without objects, with more than MAX_OBJECTS, or with an unclear shape.
    """
    if not 1 <= len(scene.things) <= MAX_OBJECTS or any(thing.shape not in SHAPES for thing in scene.things):
        raise ValueError(f"a plan has 1 to {MAX_OBJECTS} objects of known shapes, got {scene.things}")
    things = sorted((_planned(thing) for thing in scene.things), key=_reading_order)
    first = {thing.kind: place for place, thing in reversed(list(enumerate(things)))}
    return Plan(background=scene.background, things=tuple(sorted(things, key=lambda thing: first[thing.kind])))


def scene_of(plan: Plan) -> Scene:
    """A scene that the plan tells: its objects in the middle of their cells, typical for their sizes."""
    things = []
    for thing in plan.things:
        row, column = _cell_of(thing.place)
        x, y = (column + 0.5) * _CELL, (row + 0.5) * _CELL
        things.append(Thing(shape=thing.shape, colour=thing.colour, x=x, y=y, radius=_TYPICAL_RADIUS[thing.size]))
    return Scene(background=plan.background, things=tuple(things))


def plan_meets(plan: Plan, request: Request) -> bool:
    """Whether the plan holds all that was asked for, by the judge's own rules."""
    return not failures(scene_of(plan), request)


def agreement(plan: Plan, seen: Scene) -> Agreement:
    """How much of the plan a picture shows, from the scene that the judge saw in it.

    Planned and seen objects are paired as favours the plan most; they must share shape or colour. Objects near a
    cell's border count for both cells, see PLACE_TOLERANCE, and likewise of sizes.
    """
    held = np.array([[_held(wanted, thing) for thing in seen.things] for wanted in plan.things], dtype=np.int64)
    pairs = linear_sum_assignment(held, maximize=True) if seen.things else None
    surplus = max(0, len(seen.things) - len(plan.things))
    return Agreement(
        claims=1 + 4 * len(plan.things) + surplus,
        held=int(plan.background == seen.background) + (int(held[pairs].sum()) if pairs is not None else 0),
    )


def agrees(plan: Plan, seen: Scene) -> float:
    """The share of the plan's claims that the picture shows, 0 to 1; `agreement(plan, seen).whole` is strict."""
    return agreement(plan, seen).share


def draw_planned(rng: np.random.Generator, *, kind: str | None = None, held_out: bool = False) -> PlannedScene:
    """A prompt, the plan that answers it and the scene of both; held-out combinations only if asked for.

    `kind` and `held_out` are those of `scenes.draw_scene`.
    """
    scene = draw_scene(rng, kind=kind, held_out=held_out)
    prompt, request = describe(scene, rng)
    return PlannedScene(prompt=prompt, request=request, plan=write_plan(scene, rng), scene=scene)


_FILLINGS: dict[str, Sequence[str]] = {
    "background": tuple(BACKGROUNDS),
    "number": NUMBERS[1:MAX_OBJECTS],
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "shapes": tuple(shape + ("es" if shape == "cross" else "s") for shape in SHAPES),
    "size": tuple(SIZES),
    "place": tuple(place for row in PLACES for place in row),
}
"""what may stand in a phrasing's brackets"""


def _say_group(group: Sequence[PlannedThing], words: _Phrasing) -> str:
    if len(group) == 1:
        return _filled(words.one, group[0], 1)
    return _filled(words.many, group[0], len(group)) + words.between_equals.join(
        _filled(words.each, thing, len(group)) for thing in group
    )


def _filled(template: str, thing: PlannedThing, count: int) -> str:
    plural = _FILLINGS["shapes"][SHAPES.index(thing.shape)]
    return template.format(
        number=NUMBERS[count - 1], colour=thing.colour, shape=thing.shape, shapes=plural, size=thing.size,
        place=thing.place,
    )  # fmt: skip


def _read_as(said: str, phrasing: _Phrasing) -> Plan | None:
    """The plan in words that are set apart by single spaces, if they follow the phrasing; equals must be together."""
    before, after = _pattern(phrasing.before), _pattern(phrasing.after)
    whole = re.fullmatch(f"{before} ?(?P<things>.+?) ?{after}", said)
    if whole is None:
        return None
    things, rest = _read_things(whole["things"], phrasing)
    groups = sum(1 for _ in itertools.groupby(things, key=lambda thing: thing.kind))
    if rest or not 1 <= len(things) <= MAX_OBJECTS or groups != len({thing.kind for thing in things}):
        return None
    return Plan(background=whole["background"], things=tuple(things))


def _read_things(said: str, phrasing: _Phrasing) -> tuple[list[PlannedThing], str]:
    """The objects at the beginning of the words, and the words that could not be read."""
    things: list[PlannedThing] = []
    while len(things) <= MAX_OBJECTS:
        found, said = _read_group(said, phrasing)
        things += found
        joint = re.match(_pattern(phrasing.between) + " ", said)
        if not found or joint is None:
            break
        said = said[joint.end() :]
    return things, said


def _read_group(said: str, phrasing: _Phrasing) -> tuple[list[PlannedThing], str]:
    if one := re.match(_pattern(phrasing.one) + r"( |$)", said):
        return [_thing_of(one.groupdict())], said[one.end() :]
    many = re.match(_pattern(phrasing.many) + " ", said)
    if many is None:
        return [], said
    rest, things = said[many.end() :], []
    each = _pattern(phrasing.each) + r"( |$)"
    while found := re.match(each, rest):
        things.append(_thing_of(many.groupdict() | found.groupdict()))
        rest = rest[found.end() :]
        joint = re.match(_pattern(phrasing.between_equals) + " (?=" + each + ")", rest)
        if joint is None:
            break
        rest = rest[joint.end() :]
    return things, rest


def _thing_of(said: dict[str, str]) -> PlannedThing:
    shape = said.get("shape") or SHAPES[list(_FILLINGS["shapes"]).index(said["shapes"])]
    return PlannedThing(shape=shape, colour=said["colour"], size=said["size"], place=said["place"])


@functools.cache
def _pattern(template: str) -> str:
    """A template as a regular expression over words that are set apart by single spaces."""
    parts = []
    for word in re.findall(r"\{\w+\}|\w+|[^\w\s]", template):
        if word[0] == "{":
            name = word[1:-1]
            # The longest first, so that "top left" is not read as "top".
            parts.append(f"(?P<{name}>{'|'.join(sorted(_FILLINGS[name], key=len, reverse=True))})")
        else:
            parts.append(re.escape(word))
    return " ".join(parts)


def _planned(thing: Thing) -> PlannedThing:
    row, column = (min(2, max(0, int(at / _CELL))) for at in (thing.y, thing.x))
    size = next((name for name, (_, high) in SIZES.items() if thing.radius < high), "large")
    return PlannedThing(shape=thing.shape, colour=thing.colour, size=size, place=PLACES[row][column])


def _reading_order(thing: PlannedThing) -> tuple[object, ...]:
    return (*_cell_of(thing.place), SHAPES.index(thing.shape), list(COLOURS).index(thing.colour), thing.size)


def _cell_of(place: str) -> tuple[int, int]:
    return next((row, names.index(place)) for row, names in enumerate(PLACES) if place in names)


def _held(wanted: PlannedThing, thing: Thing) -> int:
    """How many of a planned object's four claims one that was seen makes good."""
    shape, colour = wanted.shape == thing.shape, wanted.colour == thing.colour
    return shape + colour + _in_place(wanted.place, thing) + _of_size(wanted.size, thing) if shape or colour else 0


def _in_place(place: str, thing: Thing) -> bool:
    cells = _cell_of(place)
    return all(
        cell * _CELL - PLACE_TOLERANCE <= at <= (cell + 1) * _CELL + PLACE_TOLERANCE
        for cell, at in zip(cells, (thing.y, thing.x), strict=True)
    )


def _of_size(size: str, thing: Thing) -> bool:
    low, high = SIZES[size]
    return low - SIZE_TOLERANCE <= thing.radius <= high + SIZE_TOLERANCE
