"""The things that a prompt names, by rule: what BLIP-VQA asks about one by one (Huang et al. 2023, T2I-CompBench).

Differs from the published evaluation, which has a parser find noun phrases: here a prompt is cut at punctuation, at
small words that join phrases, and at verbs in -ing. A word in -ing is none where it describes a thing or names one ("a
round folding table", "a short sapling"), nor is "stand" after what stands on no feet ("a brass umbrella stand").
Adjectives stay with their thing across a comma or an "and" ("a warm, heavy coat"); alone they are no thing. Which words
are adjectives is a list and a few endings, so a rare one may still be asked about alone, and a verb that is neither
listed nor in -ing stays with the thing before it. For "a green lamp and a woollen hat" both find the same.
"""

import re
from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BE = _words("is are was were be")
_TOGETHER = _words("and or but")
_JOINTS = _BE | _TOGETHER | _words(
    "nor with without on in at by of to from as under over above below beneath behind beside besides near "
    "next between among inside outside through into onto across around against along during for while that which "
    "who whose where have has had wears sit sits than upon off up down"
)  # fmt: skip
_VERBS_OR_NOUNS = _words("hold holds stand stands wear")
"""joints as well, unless they name a thing"""
_NOUNS_IN_ING = _words(
    "building painting ring king thing string wing ceiling spring evening morning wedding clothing earring swing "
    "sling railing drawing nothing anything something everything viking pudding icing lightning sapling seedling "
    "duckling dumpling awning stocking herring flooring bedding frosting dining bowling rocking living vending"
)
"""and what is hardly ever a verb in a prompt, as in "dining table" """
_DETERMINERS = _words("a an the other one two three four five six seven eight nine ten some several many its his her")
_BEFORE_OBJECTS = _words("a an the its his her")
_MANY = _words("two three four five six seven eight nine ten several many")
_PLACES = _words("top bottom side left right front back middle center centre")
_PICTURES = _words("photo picture image photograph")
_PEOPLE = _words("people men women children")

_ADJECTIVES = _words(
    "red blue green yellow purple pink brown black white grey gray beige tan golden teal maroon crimson scarlet "
    "big small large little tiny huge giant long short tall wide narrow thick thin deep shallow high low great "
    "round flat sharp smooth rough soft hard blunt straight crooked bent curved hollow solid loose tight steep "
    "oblong cubic conic pyramidal crescent-shaped elliptic pentagonal hexagonal octagonal diagonal "
    "wooden woolen woollen metallic woven frozen broken open hung hidden sunken "
    "bright dark pale dim shiny glossy matte clear opaque vivid vibrant brilliant translucent transparent colorful "
    "sleek bold fluffy fuzzy furry hairy curly shaggy silky sticky slimy bumpy wavy curvy pointy prickly spiky thorny "
    "fiery rusty dusty sandy rocky grassy leafy snowy sunny cloudy foggy misty rainy windy stormy icy muddy dirty "
    "dry wet juicy spicy tasty salty sweet sour bitter crunchy crispy crisp creamy chewy ripe fresh raw plump "
    "warm cold cool hot cozy cosy comfy heavy light-weight lightweight sturdy delicate fragile gentle strong weak "
    "old new young ancient modern antique vintage rustic fancy ornate intricate elegant fragrant pleasant "
    "majestic magnificent royal natural tropical floral urban rural rugged wild tame calm quiet loud busy noisy empty "
    "full whole fine nice cute pretty ugly rare strange simple plain clean messy rich poor perfect mature distant "
    "happy sad angry hungry thirsty sleepy lazy brave proud shy wise ready immense massive whitish"
)
_ENDS = ("ular", "ical", "ous", "ful", "less", "ish", "ed", "ly")
"""of adjectives, and of words that say how something is done"""
_NOUNS_WITH_THEM = _words(
    "bed shed sled hundred seabed flowerbed bobsled fly butterfly dragonfly firefly family jelly belly lily ally bully "
    "assembly italy july radish relish varnish polish rubbish finish handful mouthful spoonful musical binocular"
)
_NOUN_ENDS = ("fish", "dish", "eed")
_MATERIALS = _words(
    "orange silver gold violet turquoise square oval glass metal plastic leather rubber fabric paper cotton wool silk "
    "velvet wood stone brick marble ceramic steel iron bronze brass copper crystal denim linen concrete light"
)
"""what names a thing, or describes the one that follows"""


def noun_phrases(prompt: str) -> list[str]:
    """The phrases that name things, in their order; the whole prompt if the rule finds none.

    Words for a place in the picture ("the left") and for the picture itself ("a photo") are no things.
    """
    tokens = re.findall(r"[\w'-]+|[^\w\s]", prompt)
    phrases: list[str] = []
    words: list[str] = []
    listed = False
    for at, token in enumerate(tokens):
        following = tokens[at + 1].lower() if at + 1 < len(tokens) else ""
        if _goes_on(token.lower(), words, following):
            # Of a comma between adjectives nothing is kept.
            words += [token] if token != "," else []
        elif _joins(token.lower(), words, following, listed=listed):
            phrases.append(" ".join(words))
            # An empty phrase leaves it as it was: "a cat, and a dog" is a list as well.
            listed = token.lower() in _TOGETHER or (listed and not words)
            words = []
        else:
            words.append(token)
    phrases.append(" ".join(words))
    return [phrase for phrase in phrases if _names_a_thing(phrase)] or [prompt.strip()]


def describes(word: str) -> bool:
    """Whether a word says how a thing is, or how something is done, and names no thing itself."""
    word = word.lower()
    a_noun = word in _NOUNS_WITH_THEM or word.endswith(_NOUN_ENDS)
    return word in _ADJECTIVES or (word.endswith(_ENDS) and not a_noun)


def _goes_on(token: str, before: Sequence[str], following: str) -> bool:
    """Whether a comma or an "and" stands between adjectives of one thing."""
    if token != "," and token not in _TOGETHER:
        return False
    ends = _ends_a_phrase(following) or following in _DETERMINERS | _JOINTS
    return _only_describes(before) and not ends


def _joins(token: str, before: Sequence[str], following: str, *, listed: bool) -> bool:
    """Whether a word or sign stands between phrases. `listed`: "and" stands before those words of its own phrase."""
    if token in _JOINTS or not re.match(r"[\w'-]", token):
        return True
    if token in _VERBS_OR_NOUNS:
        return not _is_stand(token, before, following, listed=listed)
    return len(token) > 4 and token.endswith("ing") and token not in _NOUNS_IN_ING and _is_verb(before, following)


def _is_verb(before: Sequence[str], following: str) -> bool:
    """Whether a word in -ing between those words is one, and no word that describes or names a thing."""
    # An adverb describes what it comes with: "carefully watering" nothing, "a slowly turning wheel" the wheel.
    named = [word for word in before if not word.lower().endswith("ly")]
    if not named or following in _BEFORE_OBJECTS:
        return True
    last = named[-1].lower()
    described = last in _DETERMINERS | _MATERIALS or describes(last) or (last.endswith("ing") and len(last) > 4)
    return not described and not _ends_a_phrase(following)


def _is_stand(token: str, before: Sequence[str], following: str, *, listed: bool) -> bool:
    """Whether a word such as "stand" names a thing, judged by whether what stands before it could do that."""
    if not before:
        return False
    first, last = before[0].lower(), before[-1].lower()
    if last in _DETERMINERS or describes(last) or following in _BE:
        return True
    if token.endswith("s"):
        return first in _MANY
    if last in _PEOPLE or (last.endswith("s") and not last.endswith("ss")):
        return False
    # "A cat and a dog stand on ..." do; in "a lamp and an umbrella stand" nobody does.
    return not listed or _ends_a_phrase(following)


def _ends_a_phrase(following: str) -> bool:
    """Whether nothing follows that a verb could be about."""
    return not re.match(r"[\w'\"\u201c\u2018]", following) or following in _BE | _TOGETHER


def _only_describes(words: Sequence[str]) -> bool:
    """Whether there are adjectives in a phrase, and no thing."""
    rest = [word for word in words if word.lower() not in _DETERMINERS | _TOGETHER]
    return bool(rest) and all(describes(word) for word in rest)


def _names_a_thing(phrase: str) -> bool:
    words = [word for word in phrase.lower().split() if word not in _DETERMINERS]
    return bool(words) and not set(words) <= _PLACES | _PICTURES and not _only_describes(words)
