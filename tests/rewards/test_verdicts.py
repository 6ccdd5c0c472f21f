"""What judges write is read whatever they write: never an error, never slowly, never a zero that nobody said."""

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plaudit.core.errors import BadConfig
from plaudit.rewards.chat_server import ChatAnswer
from plaudit.rewards.http_judge import read_first_token
from plaudit.rewards.noun_phrases import noun_phrases
from plaudit.rewards.verdicts import (
    NEUTRAL,
    PROTOCOLS,
    NoVerdict,
    Tally,
    check_invalid_score,
    questions_for,
    read_boxed,
    read_yes_or_no,
    share_met,
)

PIECES = (
    "\\boxed", "\\boxed{", "\\", "boxed{1}", "{", "}", "{}", "1", "0", "yes", "No", " ", "\t\n", "\u2003", "*", '"',
    "_", "-", "'", ",", "a", "a red star", "and", "of", "flying", "\u0130", "\u0661", "\u00b9", "\x00", "\ud800",
    "\U0001f98a",
)  # fmt: skip
"""what answers and prompts are made of, and what looks like it"""
ANYTHING = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))
SPACES = st.text(st.sampled_from(" \t\n\r\u2003"), max_size=3)
READERS = {"boxed": read_boxed, "word": read_yes_or_no, "things": noun_phrases}
LENGTHS = {"boxed": (2_000, 20_000, 200_000), "word": (2_000, 20_000, 200_000), "things": (1_000, 10_000)}
"""characters; what takes cubic or quadratic time fails before it would take hours. No prompt is that long: the rule
that finds things may take the square of a phrase's length"""
MOST_SECONDS = 0.5


def seconds(read, text):
    begun = time.thread_time()  # of this thread alone: other work of the machine does not count
    read(text)
    return time.thread_time() - begun


@settings(max_examples=500, deadline=None)
@given(ANYTHING)
def test_any_answer_is_a_verdict_or_none(answer):
    assert read_boxed(answer) in (0.0, 1.0, None)
    assert read_yes_or_no(answer) in (0.0, 1.0, None)


@settings(max_examples=500, deadline=None)
@given(ANYTHING)
def test_a_zero_was_written_as_one(answer):
    if read_boxed(answer) is not None:
        after_marks = [part.lstrip() for part in answer.split("\\boxed")[1:]]
        content, closed, _ = [part[1:] for part in after_marks if part.startswith("{")][-1].partition("}")
        assert closed
        assert content.strip() == str(int(read_boxed(answer)))
    word = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in answer).split()[:1]
    assert read_yes_or_no(answer) == {"yes": 1.0, "no": 0.0}.get("".join(word).lower())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        ("\\boxed{", " "), ("\\boxed", " "), ("\\boxed{", "1"), ("", "\\boxed{"), ("", "\\boxed{ "), ("", "\\boxed "),
        ("", "\\boxed{0}"), ("\\boxed{1}", "}"), ("", "{"), ("", " "), ("", "*"), ("", "yes"), ("", "\\"),
        ("no", "\u0130"), ("", "a "), ("", ", "), ("", "- "), ("", "of "), ("", "'"), ("a ", "flying "),
    ],
)  # fmt: skip
def test_a_long_answer_is_read_at_once(reader, head, unit):
    for length in LENGTHS[reader]:
        assert seconds(READERS[reader], head + unit * (length // len(unit))) < MOST_SECONDS, length


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(READERS)), st.lists(st.sampled_from(PIECES), max_size=3), st.lists(st.sampled_from(PIECES))
)
def test_whatever_is_repeated_is_read_at_once(reader, head, unit):
    unit = "".join(unit) or " "
    for length in LENGTHS[reader][:2]:
        assert seconds(READERS[reader], "".join(head) + unit * (length // len(unit))) < MOST_SECONDS, length


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.sampled_from([0, 1]), SPACES, SPACES, SPACES, ANYTHING)
@example("\\boxed{0} no, \\boxed", 1, "", " ", "", "} {0}")
@example("\\boxed{ ", 0, "", "", "", "")
def test_a_boxed_verdict_is_found_in_any_noise(before, verdict, gap, left, right, after):
    after = after.replace("\\", "/")
    assert read_boxed(f"{before}\\boxed{gap}{{{left}{verdict}{right}}}{after}") == verdict


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.text().map(str.strip).filter(lambda it: it not in ("0", "1")), SPACES)
@example("\\boxed{1} ", "\\text{0}", "")
@example("\\boxed{0} ", "", "")
def test_the_last_box_is_the_verdict_even_if_it_is_none(before, content, space):
    assert read_boxed(f"{before}\\boxed{{{space}{content}}}") is None or "\\boxed" in content
    if "}" not in content and "\\boxed" not in content:
        assert read_boxed(f"{before}\\boxed{{{content}") is None, "a box without an end"


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from(" *\"'(#>-.\n\u2003\u201c"), max_size=5),
    st.sampled_from(["Yes", "yes", "YES", "No", "no", "NO"]),
    st.sampled_from(["", ".", "!", ",", "**", " ", "\n", '"']),
    ANYTHING,
)
def test_yes_and_no_are_found_behind_marks_and_before_any_noise(marks, word, end, after):
    assert read_yes_or_no(f"{marks}{word}{end}{after if end else ''}") == (word.lower() == "yes")


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=20),
    st.none() | st.dictionaries(st.sampled_from(["Yes", " yes", "No", "NO ", "The", ""]), st.floats(), max_size=6),
)
@example("No", {"Yes": math.nan})
@example("No", {"Yes": math.inf})
@example("No", {})
def test_what_a_server_tells_of_the_first_token_is_a_probability_or_none(text, first):
    """Servers send NaN and infinities as JSON, too."""
    found = read_first_token(ChatAnswer(text=text, first=first))
    assert found is None or 0.0 <= found <= 1.0
    if first is None:
        assert found == read_yes_or_no(text)
    elif not any(value > math.log(0.001) for value in first.values() if not math.isnan(value)):
        assert found is None, "neither word is likely, which is no zero"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, None]), max_size=12))
def test_the_share_is_of_the_answers_that_could_be_read(answers):
    share = share_met(answers)
    readable = answers.count(0.0) + answers.count(1.0)
    assert share == (answers.count(1.0) / readable if readable else None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=5)))
def test_every_answer_is_counted_once_and_none_becomes_a_zero(answers):
    tally = Tally()
    verdicts = tally.shares(answers, judge="it")
    scores = tally.settle(verdicts, invalid_score=NEUTRAL, judge="it")
    nothing = [set(those) == {None} for those in answers]
    assert [score for score, empty in zip(scores, nothing, strict=True) if empty] == [NEUTRAL] * sum(nothing)
    assert all(0.0 in those for those, score in zip(answers, scores, strict=True) if score == 0.0)
    assert (tally.invalid, tally.verdicts) == (sum(nothing), len(answers) - sum(nothing))
    assert tally.left_out == sum(those.count(None) for those, empty in zip(answers, nothing, strict=True) if not empty)


def test_answers_that_cannot_be_read_are_told_ever_more_seldom(caplog):
    tally = Tally()
    for _ in range(9):
        tally.settle(tally.shares([[None], [1.0, None]], judge="it"), invalid_score=0.0, judge="it")
    told = [record.getMessage() for record in caplog.records]
    assert [it.split()[6] for it in told if "no verdict on" in it] == ["1", "2", "4", "8"]
    assert [it.split()[8] for it in told if "neither yes nor no" in it] == ["1", "2", "4", "8"]
    assert "each scores 0" in told[-1]
    assert repr(tally) == "Tally(verdicts=9, invalid=9, asked_again=0, left_out=9)"


def test_that_nothing_could_be_read_can_be_an_error():
    with pytest.raises(NoVerdict, match="no verdict on 1 of 2 pictures"):
        Tally().settle([1.0, None], invalid_score=None, judge="it")


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_an_unread_answer_is_worth_a_number_of_the_scale(score):
    with pytest.raises(BadConfig, match=r"must lie in 0\.\.1"):
        check_invalid_score(score)


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.sampled_from(PROTOCOLS))
def test_any_prompt_is_asked_about(prompt, protocol):
    questions = questions_for(prompt, protocol)
    assert questions
    if protocol != "requirements":
        assert questions == [questions[0]]
        assert prompt in questions[0]


def test_a_requirement_is_a_thing_of_the_prompt():
    asked = questions_for("a photo of a red book and two yellow vases on the left", "requirements")
    assert asked == [
        'Does this figure show "a red book"? Please answer Yes or No.',
        'Does this figure show "two yellow vases"? Please answer Yes or No.',
    ]


def test_one_requirement_is_the_question_of_p_yes():
    assert questions_for("three blue stars", "requirements") == questions_for("three blue stars", "yes")


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_things_are_words_of_the_prompt_in_their_order(prompt):
    rest = prompt
    things = noun_phrases(prompt)
    assert things
    for word in " ".join(things).split():
        _, found, rest = rest.partition(word)
        assert found
