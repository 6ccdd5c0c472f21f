"""What T2I-CompBench's prompts ask for, read by rule: things in a relation, numbers of things (Huang et al. 2023).

Differs from the released evaluation, which has a parser mark nouns: its prompts follow a few patterns, which these
rules read as they stand; things with names of several words stay whole ("traffic light"). A detector is asked for the
things of whole sentences without their adjectives.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from plaudit.rewards.noun_phrases import describes

Side = Literal["left", "right", "top", "bottom", "near"]
Part = Literal["attribute", "spatial", "non_spatial"]

NUMBERS = {
    word: count
    for count, words in enumerate(
        ("a an one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1
    )
    for word in words.split()
}

_RELATION = re.compile(
    r"\b(?:on (?:the )?(?P<side>left|right|top|bottom)(?: side)? of|(?P<near>on (?:the )?side of|next to|near))\b"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BE = _words("is are was were")
_ARTICLES = _words("a an")
_DETERMINERS = _words("a an the one some")
_VERBS = _words(
    "sat sits sitting lay lies lying laid stood stands standing hung hangs hanging rested rests resting leans floats "
    "grazes flowed flows swam swims flutters lit flew flies rang rings rode ran runs ate sang sings grew grows made "
    "kept held spun shone caught took won fell drove swung slept woke read tall up gracefully"
)
"""what things do, or how, where a prompt tells it right after the thing; beside all words in -ed"""
_ENDS = _words("and or with in on at by of to from for while that which who near beside under over behind")
"""words that no name of a thing goes beyond"""
_IRREGULAR = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "mice": "mouse", "geese": "goose",
    "knives": "knife", "wolves": "wolf", "leaves": "leaf", "shelves": "shelf", "loaves": "loaf", "scarves": "scarf",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "buses": "bus", "gases": "gas", "lenses": "lens",
}  # fmt: skip
_LOOKS = _words("orange silver gold square oval")
"""of a thing that follows; alone they are things themselves"""
_NAMES = ("hot dog", "hot air balloon", "potted plant")
"""which begin with an adjective"""
_ONE_FORM = _words("fish goldfish sheep deer scissors pants glasses jeans shorts skis bread")
"""which are their own plural"""
_SINGULAR_IN_S = _words("series bus gas lens glass dress compass grass cross tennis canvas christmas")


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Two things and where the first lies as seen from the second."""

    first: str
    second: str
    side: Side


def relation_in(prompt: str) -> Relation | None:
    """The first relation between two things that a prompt tells; None if it tells none."""
    text = prompt.lower()
    if (told := _RELATION.search(text)) is None:
        return None
    before, after = _last_thing(text[: told.start()]), _first_thing(text[told.end() :])
    if not before or not after:
        return None
    side: Side = told["side"] or "near"  # type: ignore[assignment]
    return Relation(first=before, second=after, side=side)


def without_adjectives(relation: Relation) -> Relation:
    """The same relation between bare things: for "small brown coat rack" a coat rack.

    As it is where only adjectives tell one thing from the other.
    """
    first, second = _bare(relation.first), _bare(relation.second)
    return relation if first == second else replace(relation, first=first, second=second)


def counts_in(prompt: str) -> dict[str, int]:
    """How many of each thing a prompt asks for, by the thing's singular; things without a number are not asked for.

    "A" is a number before what the things do, and none after it ("three dogs created a lively mood").
    """
    counts: dict[str, int] = {}
    told = False
    words = re.findall(r"[\w'-]+|[^\w\s]", prompt.lower())
    for at, word in enumerate(words):
        told = told or word in _BE or _is_verb(word)
        if word not in NUMBERS or (told and word in _ARTICLES):
            continue
        if name := _counted(words[at + 1 :], many=NUMBERS[word] > 1):
            counts[name] = counts.get(name, 0) + NUMBERS[word]
    return counts


def parts_of_complex(prompt: str) -> tuple[Part, ...]:
    """Which measures the score of a complex prompt is the mean of.

    The release has lists of prompts for this. They follow a rule: a prompt in which a thing *is* somewhere is about
    attributes and space, one in which it *does* something there about all three, any other about attributes and deeds.
    """
    text = prompt.lower()
    if relation_in(text) is None or (told := _RELATION.search(text)) is None:
        return "attribute", "non_spatial"
    word = text[: told.start()].split()[-1]
    return ("attribute", "spatial") if word in _BE else ("attribute", "spatial", "non_spatial")


def singular(noun: str) -> str:
    """A noun of one word in the singular, by rule and a list of exceptions."""
    if noun in _IRREGULAR or noun in _ONE_FORM or noun in _SINGULAR_IN_S:
        return _IRREGULAR.get(noun, noun)
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "xes", "sses", "zzes", "toes")):
        return noun[:-2]
    return noun[:-1] if _is_plural(noun) else noun


def _is_plural(word: str) -> bool:
    if word in _IRREGULAR or word in _ONE_FORM:
        return True
    return word.endswith("s") and not word.endswith(("ss", "us")) and word not in _SINGULAR_IN_S


def _counted(after: Sequence[str], *, many: bool) -> str:
    """The thing that a number counts, from the words after it; empty if they name none.

    Many things end at the first plural ("two tennis rackets | lay there"), one at the first verb.
    """
    words: list[str] = []
    for word in after:
        if not word[0].isalnum() or word in _ENDS or word in _BE or word in NUMBERS or _is_verb(word):
            break
        if many and _is_plural(word):
            return " ".join([*words, singular(word)])
        words.append(word)
    return " ".join(words)


def _is_verb(word: str) -> bool:
    return word in _VERBS or (word.endswith("ed") and word not in ("bed", "shed", "sled", "seed", "red"))


def _last_thing(text: str) -> str:
    """The thing that a text ends with, before what it does there."""
    words = re.split(r"[,.;]|\band\b", text.replace("in mid-air", ""))[-1].split()
    while words and (words[-1] in _BE or _is_verb(words[-1])):
        words.pop()
    return " ".join(word for word in words if word not in _DETERMINERS)


def _bare(thing: str) -> str:
    """The last word of a thing's name, and the words before it up to the last adjective."""
    words = thing.split()
    while len(words) > 1 and " ".join(words) not in _NAMES and (describes(words[0]) or words[0] in _LOOKS):
        words.pop(0)
    return " ".join(words)


def _first_thing(text: str) -> str:
    """The thing that a text begins with."""
    words = []
    for word in re.findall(r"[\w'-]+|[^\w\s]", text):
        if word in _ENDS or word in _BE or not word[0].isalnum():
            break
        words.append(word)
    return " ".join(word for word in words if word not in _DETERMINERS)
