"""What a judging model is asked, and how its answer is read: two published protocols and one more, here or over HTTP.

"yes"           VQAScore (Lin et al. 2024) as asked of chat models: does the figure show the prompt, yes or no? The
                score is the probability that the answer begins with Yes.
"boxed"         ReasonGen-R1 (Zhang et al. 2025): the judge describes, lists and compares, and ends with a boxed 1 for
                a perfect match, else a boxed 0. The score is that number. Our own wording of the published steps.
"requirements"  The question of "yes" about each thing that the prompt names, as BLIP-VQA finds them. The score is the
                share that is met, as in TIFA (Hu et al. 2023): what is half right is told from what is all wrong.

Differs from ReasonGen-R1's code: an answer without a verdict is not taken for a 0. It is counted apart, and scores
what the caller says (0.5 unless told otherwise) or stops the run. That code can also ask which of two pictures is the
better one, which it leaves off: an answer about a pair is no score of a picture, so that no reward can ask it.
"""

import logging
import re
import threading
from collections.abc import Sequence

from plaudit.core.errors import BadConfig, PlauditError
from plaudit.rewards.noun_phrases import noun_phrases

PROTOCOLS = ("yes", "boxed", "requirements")
NEUTRAL = 0.5
"""the score of an answer without a verdict: halfway, which is still the best of a group whose others scored 0"""
SMALLEST_SIDE = 512
"""pixels; ReasonGen-R1 shows its judge no picture smaller than that"""
MAX_ANSWER_TOKENS = 1024

_YES_OR_NO = 'Does this figure show "{prompt}"? Please answer Yes or No.'
_BOXED = """You are checking whether this picture is exactly what its prompt asks for.

Prompt: {prompt}

First describe the picture as it is; do not let the prompt tell you what you see.
Then list each thing and each instruction in the prompt.
Then compare, one by one: is everything there, in the right number, in the right colours, in the right places?
Be as strict as you can: the smallest difference is a failure.

Write all of this down first. Only then give the verdict, on the last line: \\boxed{{1}} if the picture matches the
prompt perfectly, else \\boxed{{0}}."""

# A degenerate answer must not hang a run. Nothing here can be matched in two ways, and what is looked at ends where the
# next box begins, so that time is linear; looked at, not taken, lest a box without an end swallow the next one.
_BOX = re.compile(r"\\boxed\s*\{(?=([^{}]*)(\}?))")
_log = logging.getLogger("plaudit")


class NoVerdict(PlauditError):
    """A judge answered, but its answer is no verdict, and the caller wants that to be an error."""


def check_protocol(protocol: str) -> str:
    """The protocol as it is. Raises BadConfig if there is none of that name."""
    if protocol not in PROTOCOLS:
        raise BadConfig(f"no judge's protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    return protocol


def check_invalid_score(score: float | None) -> float | None:
    """The score as it is. Raises BadConfig if it does not lie within the judge's scale."""
    if score is not None and not 0.0 <= score <= 1.0:
        raise BadConfig(f"the score of an answer without a verdict must lie in 0..1, got {score}")
    return score


def questions_for(prompt: str, protocol: str) -> list[str]:
    """What the judge is asked about a picture of that prompt: at least one question."""
    if protocol == "boxed":
        return [_BOXED.format(prompt=prompt)]
    asked = noun_phrases(prompt) if protocol == "requirements" else [prompt]
    return [_YES_OR_NO.format(prompt=it) for it in asked]


def read_boxed(answer: str) -> float | None:
    """0 or 1 from the answer's last box; None if there is no box, or something else in it, or no end to it."""
    boxes = _BOX.findall(answer)
    if not boxes:
        return None
    content, closed = boxes[-1]
    return {"0": 0.0, "1": 1.0}.get(content.strip()) if closed else None


def read_yes_or_no(answer: str) -> float | None:
    """1 for an answer that begins with yes, 0 for no, None for any other."""
    word = re.match(r"\W*(\w+)", answer)
    return {"yes": 1.0, "no": 0.0}.get(word[1].lower()) if word else None


def share_met(answers: Sequence[float | None]) -> float | None:
    """The mean of the answers that could be read, None standing for the others; None if there is no other."""
    readable = [answer for answer in answers if answer is not None]
    return sum(readable) / len(readable) if readable else None


class Tally:
    """How a judge's answers came out, counted; several threads may count at once."""

    def __init__(self) -> None:
        self.verdicts = 0
        """answers with a verdict, zeros among them"""
        self.invalid = 0
        """pictures whose last answer was no verdict"""
        self.asked_again = 0
        """questions put once more, after an answer without a verdict"""
        self.left_out = 0
        """requirements whose last answer could not be read, of pictures whose verdict is that of the others"""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"Tally(verdicts={self.verdicts}, invalid={self.invalid}, asked_again={self.asked_again}, "
            f"left_out={self.left_out})"
        )

    def ask_again(self) -> None:
        """Count a question that is put once more."""
        with self._lock:
            self.asked_again += 1

    def shares(self, answers: Sequence[Sequence[float | None]], *, judge: str) -> list[float | None]:
        """The verdict on each picture whose questions were answered so; the requirements left out are counted."""
        verdicts = [share_met(those) for those in answers]
        left_out = sum(those.count(None) for those, one in zip(answers, verdicts, strict=True) if one is not None)
        with self._lock:
            before, self.left_out = self.left_out, self.left_out + left_out
            after = self.left_out
        if _doubled(before, after):
            _log.warning(
                "plaudit: %s said neither yes nor no to %d requirements so far; they do not count", judge, after
            )
        return verdicts

    def settle(self, verdicts: Sequence[float | None], *, invalid_score: float | None, judge: str) -> list[float]:
        """The scores that verdicts amount to, None being an answer without one; counted.

        Says so on the log "plaudit" when the first, second, fourth, eighth, ... answer without a verdict comes.
        Raises NoVerdict at the first if `invalid_score` is None.
        """
        missing = sum(verdict is None for verdict in verdicts)
        with self._lock:
            before, self.invalid = self.invalid, self.invalid + missing
            self.verdicts += len(verdicts) - missing
            after, total = self.invalid, self.verdicts + self.invalid
        if missing and invalid_score is None:
            raise NoVerdict(
                f"{judge} gave no verdict on {missing} of {len(verdicts)} pictures; give it more tokens, ask a better "
                "judge, or let such answers score 0.5"
            )
        if _doubled(before, after):
            _log.warning(
                "plaudit: %s gave no verdict on %d of %d pictures so far; each scores %g",
                judge, after, total, invalid_score,
            )  # fmt: skip
        return [verdict if verdict is not None else float(invalid_score or 0.0) for verdict in verdicts]


def _doubled(before: int, after: int) -> bool:
    """Whether a count reached the next power of two: often enough to be seen, too seldom to fill a log."""
    return before.bit_length() != after.bit_length()
