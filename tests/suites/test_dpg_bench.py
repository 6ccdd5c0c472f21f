"""DPG-Bench's scorer: questions that hang on each other, by constructed answers and on rendered scenes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.core.errors import BadConfig
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, Thing
from plaudit.pocket.vqa_judge import load_pocket_vqa
from plaudit.suites.dpg_bench import DpgScorer, category_scores, dpg_scorer, holding, opinion_of
from plaudit.suites.dpg_bench_questions import Question, questions_of
from plaudit.suites.suite import SuitePrompt


def row(number, text, dependency="0", said="entity - whole (it)"):
    return {
        "proposition_id": str(number), "dependency": dependency, "tuple": said, "question_natural_language": text,
    }  # fmt: skip


def prompt(*rows):
    return SuitePrompt(index=0, text="a red star left of a blue ring", category="all", facts={"questions": rows})


STAR_AND_RING = (
    row(1, "is there a star?"),
    row(2, "is there a ring?"),
    row(3, "is there a red star?", "1", "attribute - color (star, red)"),
    row(4, "is there a blue ring?", "2", "attribute - color (ring, blue)"),
    row(5, "is a star left of a ring?", "1,2", "relation - spatial (star, ring, left of)"),
)


class Answers:
    """Says yes to those questions."""

    def __init__(self, *yes):
        self.yes = yes

    def yes_to_each(self, images, questions):
        return [torch.tensor([0.9 if text in self.yes else 0.2 for text in those]) for those in questions]


def test_a_yes_counts_only_if_what_it_hangs_on_is_there():
    vqa = Answers("is there a ring?", "is there a red star?", "is there a blue ring?", "is a star left of a ring?")
    (opinion,) = DpgScorer(vqa)(torch.zeros(1, 3, 8, 8), [prompt(*STAR_AND_RING)])
    assert opinion.score == pytest.approx(2 / 5)  # the ring, and that it is blue
    assert opinion.right is False
    assert opinion.reasons == (
        "no to 'is there a star?'",
        "'is there a red star?' hangs on a no",
        "'is a star left of a ring?' hangs on a no",
    )
    assert opinion.parts == {
        "entity: is there a star?": 0.0,
        "entity: is there a ring?": 1.0,
        "attribute: is there a red star?": 1.0,
        "attribute: is there a blue ring?": 1.0,
        "relation: is a star left of a ring?": 1.0,
    }


@pytest.mark.parametrize(("answer", "right"), [(0.5, False), (0.51, True)])
def test_a_yes_is_likelier_than_a_no(answer, right):
    opinion = opinion_of([Question(number=1, text="is there a star?")], [answer])
    assert (opinion.right, opinion.score) == (right, float(right))


def test_all_yes_is_right():
    vqa = Answers(*(one["question_natural_language"] for one in STAR_AND_RING))
    (opinion,) = DpgScorer(vqa)(torch.zeros(1, 3, 8, 8), [prompt(*STAR_AND_RING)])
    assert (opinion.score, opinion.right, opinion.reasons) == (1.0, True, ())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_dependencies_are_followed_as_published(data):
    """Against the released order of steps, for lists in which each question comes after those that it hangs on."""
    count = data.draw(st.integers(1, 8))
    parents = [data.draw(st.lists(st.integers(1, number), max_size=2)) if number else [] for number in range(count)]
    yes = {number + 1: data.draw(st.booleans()) for number in range(count)}
    scores = {number: float(said) for number, said in yes.items()}
    for number, those in enumerate(parents, start=1):
        if any(scores[parent] == 0 for parent in those):
            scores[number] = 0.0
    questions = [Question(number=n, text=str(n), parents=tuple(those)) for n, those in enumerate(parents, start=1)]
    assert holding(questions, yes) == {number: bool(score) for number, score in scores.items()}


def test_a_no_reaches_questions_however_they_are_ordered():
    chain = [
        Question(number=1, text="a", parents=(2,)),
        Question(number=2, text="b", parents=(3,)),
        Question(number=3, text="c"),
    ]
    assert holding(chain, {1: True, 2: True, 3: False}) == {1: False, 2: False, 3: False}
    circle = [Question(number=1, text="a", parents=(2,)), Question(number=2, text="b", parents=(1,))]
    assert holding(circle, {1: True, 2: True}) == {1: True, 2: True}
    assert holding(circle, {1: True, 2: False}) == {1: False, 2: False}


def test_categories_are_summed_over_all_questions_of_all_pictures():
    entity, colour = (
        Question(number=n, text=str(n), category=c) for n, c in ((1, "entity - whole"), (2, "attribute - color"))
    )
    opinions = [opinion_of([entity], [0.9]), opinion_of([entity], [0.9]), opinion_of([entity, colour], [0.1, 0.9])]
    assert category_scores(opinions) == {"entity": pytest.approx(2 / 3), "attribute": 1.0}


def test_rows_of_a_csv_are_read():
    rows = [
        row(1, " Is there a cube? ", "0"),
        row(2, "Is it purple?", "1, purple", "attribute - color (cube, purple)"),
        row(3, "Is it on itself?", "3", "relation - spatial (cube, cube, on)"),
        row(4, "Is it a photo?", "1,9", "global - (photo)"),
        row(5, "Anything else?", "", ""),
    ]
    questions = questions_of({"questions": rows}, "a cube")
    assert [one.text for one in questions][:2] == ["Is there a cube?", "Is it purple?"]
    assert [one.parents for one in questions] == [(), (1,), (), (1,), ()]
    assert [one.broad for one in questions] == ["entity", "attribute", "relation", "global", "other"]
    assert questions[1].category == "attribute - color"


def test_of_two_questions_with_one_number_the_later_is_asked():
    assert [one.text for one in questions_of({"questions": [row(1, "a?"), row(1, "b?")]}, "")] == ["b?"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "there are no questions for 'a cube'; they come from the benchmark's CSV"),
        ({"questions": [row("x", "Is it?")]}, "a whole number in 'proposition_id'"),
        ({"questions": [{"proposition_id": 1}]}, "a text in 'question_natural_language'"),
        ({"questions": [row(3, "  ")]}, "question 3 is empty"),
    ],
)
def test_what_is_no_question_is_refused(facts, words):
    with pytest.raises(BadConfig, match=words):
        questions_of(facts, "a cube")


def scene(*things):
    named = [Thing(shape=s, colour=c, x=float(x), y=32.0, radius=10.0) for s, c, x in things]
    return Scene(background="white", things=tuple(named))


SCENES = [
    (scene(("star", "red", 16), ("ring", "blue", 48)), 1.0),
    (scene(("star", "red", 16)), 2 / 5),  # the star, and that it is red
    (scene(("star", "blue", 16), ("ring", "red", 48)), 3 / 5),  # both are there and in their places
    (scene(("star", "red", 48), ("ring", "blue", 16)), 4 / 5),  # but the wrong way round
    (scene(("heart", "green", 32)), 0.0),
]


def test_pocket_vqa_scores_rendered_scenes_as_they_are():
    scorer = dpg_scorer(vqa="pocket-vqa")
    images = render([one for one, _ in SCENES])
    opinions = scorer(images, [prompt(*STAR_AND_RING)] * len(SCENES))
    assert [opinion.score for opinion in opinions] == pytest.approx([score for _, score in SCENES])
    alone = [scorer(images[i : i + 1], [prompt(*STAR_AND_RING)])[0] for i in range(len(SCENES))]
    assert alone == opinions


def test_a_picture_is_read_once_for_all_its_questions():
    vqa = load_pocket_vqa()
    images, questions = (
        render([SCENES[0][0], SCENES[1][0]]),
        [["is there a star?", "is there a ring?"], ["is there a red star?"]],
    )
    one_by_one = [vqa.yes(images[row : row + 1], [text]) for row, those in enumerate(questions) for text in those]
    each = vqa.yes_to_each(images, questions)
    assert [len(answers) for answers in each] == [2, 1]
    assert torch.allclose(torch.cat(each), torch.cat(one_by_one), atol=1e-5)


def test_what_answers_no_questions_is_refused(tmp_path, monkeypatch):
    with pytest.raises(BadConfig, match="which 'pocket-clip' is not"):
        dpg_scorer(vqa="pocket-clip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match="plaudit fetch blip-vqa"):
        dpg_scorer()
