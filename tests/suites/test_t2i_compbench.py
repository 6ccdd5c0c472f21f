"""T2I-CompBench's scorer: which model is asked what, and known answers on rendered scenes."""

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.pocket.questions import requirements
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, Thing
from plaudit.pocket.vqa_judge import load_pocket_vqa
from plaudit.rewards.table import load_reward
from plaudit.rewards.vqa_score import BlipVqa
from plaudit.suites.detectors import Detection
from plaudit.suites.detectors_pocket import PocketDetector
from plaudit.suites.suite import SuitePrompt
from plaudit.suites.t2i_compbench import CompBenchScorer, t2i_compbench_scorer


def prompt(category, text):
    return SuitePrompt(index=0, text=text, category=category)


def scene(*things):
    return Scene(
        background="white",
        things=tuple(Thing(shape=s, colour=c, x=float(x), y=float(y), radius=10.0) for s, c, x, y in things),
    )


class Answers:
    """P(yes) by question; what was asked is kept."""

    def __init__(self, **yes):
        self.yes, self.asked = yes, []

    def yes_to_each(self, images, questions):
        self.asked += questions
        return [torch.tensor([self.yes[text.rstrip("?").split()[-1]] for text in those]) for those in questions]


class Found:
    """Finds the same things in every picture; what it was asked for is kept."""

    def __init__(self, *things):
        self.things, self.asked = things, []

    def __call__(self, images, labels):
        self.asked += labels
        return [[one for one in self.things if one.label in those] for those in labels]


@pytest.fixture(scope="module")
def clip():
    return load_reward("pocket-clip")


LEFT = Detection(label="goat", score=0.8, box=(0.0, 20.0, 10.0, 30.0))
RIGHT = Detection(label="kite", score=0.6, box=(50.0, 20.0, 60.0, 30.0))
BLANK = torch.zeros(1, 3, 64, 64)


def test_attributes_are_the_product_of_the_phrases_answers(clip):
    vqa = Answers(lamp=0.9, bucket=0.5)
    (opinion,) = CompBenchScorer(Found(), vqa, clip)(BLANK, [prompt("color", "a green lamp and a tin bucket")])
    assert vqa.asked == [["a green lamp?", "a tin bucket?"]]
    assert opinion.score == pytest.approx(0.45)
    assert opinion.right is None
    assert opinion.parts == {"1. a green lamp?": pytest.approx(0.9), "2. a tin bucket?": 0.5}
    assert opinion.reasons == ("no to 'a tin bucket?'",)


@pytest.mark.parametrize("category", ["shape", "texture", "Colour"])
def test_all_attributes_are_asked_alike(category, clip):
    vqa = Answers(lamp=0.9, bucket=0.5)
    (opinion,) = CompBenchScorer(Found(), vqa, clip)(BLANK, [prompt(category, "a lamp and a bucket")])
    assert opinion.score == pytest.approx(0.45)


def test_places_are_scored_by_what_is_found(clip):
    detector = Found(LEFT, RIGHT)
    scorer = CompBenchScorer(detector, Answers(), clip)
    prompts = [prompt("spatial", f"a goat on the {side} of a kite") for side in ("left", "right")]
    first, second = scorer(BLANK.expand(2, -1, -1, -1), prompts)
    assert detector.asked == [["goat", "kite"], ["goat", "kite"]]
    assert first.score == pytest.approx(0.85)
    assert first.parts == {"goat": 0.8, "kite": 0.6, "goat left of kite": 1.0}
    assert second.score == 0
    assert second.reasons == ("not: goat right of kite",)


@pytest.mark.parametrize(("score", "reasons"), [(0.2, ("no goat",)), (0.21, ())])
def test_what_is_too_unsure_is_not_there(score, reasons, clip):
    unsure = Detection(label="goat", score=score, box=LEFT.box)
    scorer = CompBenchScorer(Found(unsure, RIGHT), Answers(), clip)
    (opinion,) = scorer(BLANK, [prompt("spatial", "a goat on the left of a kite")])
    assert opinion.parts["goat"] == (0 if reasons else score)
    assert opinion.reasons == reasons


def test_numbers_are_scored_by_what_is_found(clip):
    detector = Found(LEFT, RIGHT)
    (opinion,) = CompBenchScorer(detector, Answers(), clip)(BLANK, [prompt("numeracy", "one goat and ten kites")])
    assert detector.asked == [["goat", "kite"]]
    assert opinion.score == pytest.approx(0.75)
    assert opinion.reasons == ("not: 10 kite",)


def test_deeds_are_the_cosine_of_clip(clip):
    images = render([scene(("star", "red", 32, 32))])
    (opinion,) = CompBenchScorer(Found(), Answers(), clip)(images, [prompt("non_spatial", "a red star")])
    score = float(clip(images, ["a red star"])) / float(clip.model.logit_scale.exp())
    assert opinion.score == pytest.approx(score, abs=1e-5)
    assert 0 < opinion.score < 1


def test_complex_prompts_are_the_mean_of_what_they_are_about(clip):
    images = render([scene(("star", "red", 32, 32))])
    scorer = CompBenchScorer(Found(LEFT, RIGHT), Answers(goat=0.9, kite=0.8, sat=0.9, slept=0.7), clip)

    def deeds(text):
        return max(0.0, float((clip.embed_images(images) * clip.embed_texts([text])).sum()))

    cases = {
        "The goat was on the left of the kite": (0.72 + 0.85) / 2,
        "The goat sat on the left of the kite": (0.9 * 0.8 + 0.85 + deeds("The goat sat on the left of the kite")) / 3,
        "The goat slept": (0.7 + deeds("The goat slept")) / 2,
    }
    for text, score in cases.items():
        (opinion,) = scorer(images, [prompt("complex", text)])
        assert opinion.score == pytest.approx(score, abs=1e-5)
    assert set(scorer(images, [prompt("complex", "The goat slept")])[0].parts) == {
        "attribute: 1. The goat slept?", "non_spatial: clip",
    }  # fmt: skip


def test_of_complex_prompts_the_detector_is_asked_for_things_and_blip_for_their_looks(clip):
    vqa, detector = Answers(goat=0.9, kite=0.8), Found(LEFT, RIGHT)
    text = "The small brown goat was on the left of the orange kite"
    (opinion,) = CompBenchScorer(detector, vqa, clip)(BLANK, [prompt("complex", text)])
    assert detector.asked == [["goat", "kite"]]
    assert vqa.asked == [["The small brown goat?", "the orange kite?"]]
    assert opinion.score == pytest.approx((0.9 * 0.8 + 0.85) / 2)


MODELS = {"detector": "load_detector", "vqa": "load_asker", "clip": "load_reward"}


@pytest.fixture
def loaded(monkeypatch, clip):
    """Which models were loaded, by name; any of them is a stand-in."""
    names = []

    def loading(model):
        def load(name, *, device):
            assert device == "cpu"
            names.append(name)
            return model

        return load

    stand_ins = {"detector": Found(LEFT, RIGHT), "vqa": Answers(goat=0.9, kite=0.8), "clip": clip}
    for role, function in MODELS.items():
        monkeypatch.setattr(f"plaudit.suites.t2i_compbench.{function}", loading(stand_ins[role]))
    return names


@pytest.mark.parametrize(
    ("category", "text", "needed"),
    [
        ("color", "a goat and a kite", ["vqa"]),
        ("spatial", "a goat next to a kite", ["detector"]),
        ("numeracy", "one goat and one kite", ["detector"]),
        ("non_spatial", "a goat flies a kite", ["clip"]),
        ("complex", "The goat is next to the kite", ["detector", "vqa"]),
    ],
)
def test_a_model_is_loaded_when_a_prompt_takes_it(category, text, needed, loaded):
    scorer = t2i_compbench_scorer(detector="detector", vqa="vqa", clip="clip", device="cpu")
    assert loaded == []
    scorer.get_ready([prompt(category, text)] * 2)
    assert loaded == needed
    scorer(BLANK, [prompt(category, text)])
    assert loaded == needed
    unprepared = t2i_compbench_scorer(detector="detector", vqa="vqa", clip="clip", device="cpu")
    unprepared(BLANK, [prompt(category, text)])
    assert sorted(loaded) == sorted(needed * 2)


@pytest.mark.parametrize(
    ("category", "text", "words"),
    [
        ("3d_spatial", "a cat behind a dog", "no rule for '3d_spatial' prompts; it has them for color, shape"),
        ("spatial", "a cat and a dog", "tells no place that can be measured"),
        ("numeracy", "the cats", "names no number of things"),
    ],
)
def test_what_cannot_be_measured_is_refused(category, text, words, clip):
    with pytest.raises(BadConfig, match=words):
        CompBenchScorer(Found(), Answers(), clip)(BLANK, [prompt(category, text)])


@pytest.fixture(scope="module")
def pocket(clip):
    return t2i_compbench_scorer(detector=PocketDetector(), vqa=load_pocket_vqa(), clip=clip, questions=requirements)


STAR_RING = scene(("star", "red", 16, 32), ("ring", "blue", 48, 32))
EXCHANGED = scene(("star", "blue", 16, 32), ("ring", "red", 48, 32))
UPRIGHT = scene(("star", "red", 32, 16), ("ring", "blue", 32, 48))
HEARTS = scene(("heart", "green", 16, 16), ("heart", "green", 48, 16), ("heart", "green", 16, 48))
KNOWN = [
    ("color", "a red star and a blue ring", STAR_RING, 1.0),
    ("color", "a red star and a blue ring", EXCHANGED, 0.0),
    ("shape", "a star and a ring", UPRIGHT, 1.0),
    ("shape", "a star and a cross", UPRIGHT, 0.0),
    ("spatial", "a red star on the left of a blue ring", STAR_RING, 1.0),
    ("spatial", "a red star on the right of a blue ring", STAR_RING, 0.5),
    ("spatial", "a star on the top of a ring", UPRIGHT, 1.0),
    ("spatial", "a star on the bottom of a ring", UPRIGHT, 0.5),
    ("spatial", "a star on the left of a ring", UPRIGHT, 0.5),
    ("spatial", "a star next to a ring", STAR_RING, 1.0),
    ("spatial", "a star next to a cross", STAR_RING, 0.0),
    ("numeracy", "three hearts", HEARTS, 1.0),
    ("numeracy", "two hearts", HEARTS, 0.5),
    ("numeracy", "three hearts and one star", HEARTS, 0.5),
    ("complex", "a red star is on the left of a blue ring", STAR_RING, 1.0),
]


def test_rendered_scenes_score_as_they_are(pocket):
    mixed = [KNOWN[7 * row % len(KNOWN)] for row in range(len(KNOWN))]
    images = render([one for _, _, one, _ in mixed])
    prompts = [prompt(category, text) for category, text, _, _ in mixed]
    opinions = pocket(images, prompts)
    for opinion, (category, text, _, score) in zip(opinions, mixed, strict=True):
        assert opinion.score == pytest.approx(score, abs=0.05), (category, text)
    for row in range(len(mixed)):
        (alone,) = pocket(images[row : row + 1], prompts[row : row + 1])
        assert alone.score == pytest.approx(opinions[row].score, abs=1e-5)
        assert alone.reasons == opinions[row].reasons


def test_deeds_prefer_their_own_picture(pocket):
    images = render([STAR_RING, HEARTS])
    own, others = (
        [one.score for one in pocket(images, [prompt("non_spatial", text) for text in texts])]
        for texts in (
            ("a red star and a blue ring", "three green hearts"),
            ("three green hearts", "a red star and a blue ring"),
        )
    )
    assert all(mine > other for mine, other in zip(own, others, strict=True))


def test_the_published_measure_is_the_reward_of_that_name(clip):
    """Asked for its phrases, BLIP-VQA as a reward and as a scorer say the same."""
    vqa = BlipVqa(load_pocket_vqa().model, load_pocket_vqa().tokenizer)
    images, text = render([STAR_RING, EXCHANGED]), "a red star and a blue ring"
    opinions = CompBenchScorer(Found(), vqa, clip)(images, [prompt("color", text)] * 2)
    assert [one.score for one in opinions] == pytest.approx(vqa(images, [text] * 2).tolist(), abs=1e-6)


def test_names_load_models_or_say_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert isinstance(
        t2i_compbench_scorer(detector="pocket-judge", vqa="pocket-vqa", clip="pocket-clip"), CompBenchScorer
    )
    deed, place = prompt("non_spatial", "a goat flies a kite"), prompt("spatial", "a goat next to a kite")
    with pytest.raises(BadConfig, match="which 'pocket-vqa' is not"):
        t2i_compbench_scorer(detector="pocket-judge", vqa="pocket-vqa", clip="pocket-vqa").get_ready([place, deed])
    with pytest.raises(BadConfig, match="plaudit fetch owlv2-base"):
        t2i_compbench_scorer(vqa="pocket-vqa", clip="pocket-clip").get_ready([deed, place])
