"""The things that a prompt names, by rule: what BLIP-VQA asks about one by one (Huang et al. 2023, T2I-CompBench).

Differs from the published evaluation, which has a parser find noun phrases: here a prompt is cut at punctuation, at
small words that join phrases, and at verbs in -ing. For prompts like theirs ("a red book and a yellow vase") both
find the same.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_JOINTS = _words(
    "and or but nor with without on in at by of to from as under over above below beneath behind beside besides near "
    "next between among inside outside through into onto across around against along for while that which who whose "
    "where is are was were be has have had wears wear holds hold sits sit stands stand than upon off up down"
)
_NOUNS_IN_ING = _words(
    "building painting ring king thing string wing ceiling spring evening morning wedding clothing earring swing "
    "sling railing drawing nothing anything something everything viking pudding icing lightning"
)
_DETERMINERS = _words("a an the one two three four five six seven eight nine ten some several many its his her")
_PLACES = _words("top bottom side left right front back middle center centre")
_PICTURES = _words("photo picture image photograph")


def noun_phrases(prompt: str) -> list[str]:
    """The phrases that name things, in their order; the whole prompt if the rule finds none.

    Words for a place in the picture ("the left") and for the picture itself ("a photo") are no things.
    """
    phrases: list[str] = []
    for part in re.split(r"[^\w\s'-]+", prompt):
        words: list[str] = []
        for word in part.split():
            if _joins(word.lower(), words):
                phrases.append(" ".join(words))
                words = []
            else:
                words.append(word)
        phrases.append(" ".join(words))
    return [phrase for phrase in phrases if _names_a_thing(phrase)] or [prompt.strip()]


def _joins(word: str, before: list[str]) -> bool:
    """Whether the word stands between phrases. A verb in -ing right after "a" describes what follows it."""
    if word in _JOINTS:
        return True
    verb = len(word) > 4 and word.endswith("ing") and word not in _NOUNS_IN_ING
    return verb and not (before and before[-1].lower() in _DETERMINERS)


def _names_a_thing(phrase: str) -> bool:
    words = [word for word in phrase.lower().split() if word not in _DETERMINERS]
    return bool(words) and not (len(words) == 1 and words[0] in _PLACES | _PICTURES)
