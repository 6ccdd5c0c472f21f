"""GenEval's scorer on scenes whose right answers are certain: rendered, then found by the pocket world's judge."""

from dataclasses import replace

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.pocket.render import render
from plaudit.pocket.scenes import COLOURS, SHAPES, Scene, Thing
from plaudit.pocket.truth import failures
from plaudit.suites.detectors import Detection
from plaudit.suites.detectors_pocket import PocketDetector
from plaudit.suites.geneval import GenevalScorer, classes_of, geneval_scorer
from plaudit.suites.geneval_colours import BLANK, ClipColours
from plaudit.suites.geneval_pocket import pocket_geneval_scorer, pocket_requirements
from plaudit.suites.geneval_rules import Rules
from plaudit.suites.pocket_eval import pocket_eval_prompts
from plaudit.suites.suite import SuitePrompt


def thing(shape, colour, x, y, radius=10.0):
    return Thing(shape=shape, colour=colour, x=float(x), y=float(y), radius=radius)


def scene(*things):
    return Scene(background="white", things=things)


def prompt(tag, *include, exclude=()):
    facts = {"tag": tag, "include": list(include), "exclude": list(exclude)}
    return SuitePrompt(index=0, text="", category=tag, facts=facts)


class PaletteColours:
    """The nearest colour of the pocket world to the mean of an object's pixels."""

    def __call__(self, image, found, label):
        palette = torch.tensor(list(COLOURS.values())) / 255
        means = [image[:, detection.mask].mean(dim=1) for detection in found]
        return [list(COLOURS)[int((palette - mean).norm(dim=1).argmin())] for mean in means]


@pytest.fixture(scope="module")
def scorer():
    return GenevalScorer(PocketDetector(), PaletteColours())


RED_STAR, BLUE_RING = thing("star", "red", 16, 32), thing("ring", "blue", 48, 32)
STAR, RING = {"class": "star", "count": 1}, {"class": "ring", "count": 1}
LEFT = {"class": "star", "count": 1, "position": ["left of", 0]}
ABOVE = {"class": "star", "count": 1, "position": ["above", 0]}
THREE = tuple(thing("heart", "green", x, y) for x, y in ((16, 16), (48, 16), (16, 48)))
FEWER_THAN_FOUR = {"class": "heart", "count": 4}
TWO_HEARTS = prompt("counting", {"class": "heart", "count": 2}, exclude=[{"class": "heart", "count": 3}])
STAR_AND_NO_RING = prompt("single_object", STAR, exclude=[{"class": "ring", "count": 1}])
KNOWN = [
    ("one star", scene(RED_STAR), prompt("single_object", STAR), 1.0, ()),
    ("no ring", scene(RED_STAR), prompt("single_object", RING), 0.0, ("no ring",)),
    ("both", scene(RED_STAR, BLUE_RING), prompt("two_object", STAR, RING), 1.0, ()),
    ("one of both", scene(RED_STAR), prompt("two_object", STAR, RING), 0.5, ("no ring",)),
    ("three", scene(*THREE), prompt("counting", {"class": "heart", "count": 3}, exclude=[FEWER_THAN_FOUR]), 1.0, ()),
    ("two of three", scene(*THREE[:2]), prompt("counting", {"class": "heart", "count": 3}), 0.0, ("2 of 3 heart",)),
    # As the published rows have it: as many are included, one more is excluded.
    ("none, not two", scene(RED_STAR), TWO_HEARTS, 0.0, ("no heart",)),
    ("one, not two", scene(*THREE[:1]), TWO_HEARTS, 0.0, ("1 of 2 heart",)),
    ("just two", scene(*THREE[:2]), TWO_HEARTS, 1.0, ()),
    ("three, not two", scene(*THREE), TWO_HEARTS, 0.0, ("3 heart, wanted fewer than 3",)),
    ("a star and no ring", scene(RED_STAR), STAR_AND_NO_RING, 1.0, ()),
    ("neither", scene(*THREE), STAR_AND_NO_RING, 0.0, ("no star",)),
    ("a ring too", scene(RED_STAR, BLUE_RING), STAR_AND_NO_RING, 0.5, ("1 ring, wanted fewer than 1",)),
    ("red star", scene(RED_STAR), prompt("colors", {**STAR, "color": "red"}), 1.0, ()),
    ("not blue", scene(RED_STAR), prompt("colors", {**STAR, "color": "blue"}), 0.5, ("star is red, not blue",)),
    ("left", scene(RED_STAR, BLUE_RING), prompt("position", RING, LEFT), 1.0, ()),
    (
        "not above",
        scene(RED_STAR, BLUE_RING),
        prompt("position", RING, ABOVE),
        2 / 3,
        ("star is left of ring, not above it",),
    ),
    (
        "colours of their own",
        scene(RED_STAR, BLUE_RING),
        prompt("color_attr", {**STAR, "color": "red"}, {**RING, "color": "blue"}),
        1.0,
        (),
    ),
    (
        "colours exchanged",
        scene(RED_STAR, BLUE_RING),
        prompt("color_attr", {**STAR, "color": "blue"}, {**RING, "color": "red"}),
        0.5,
        ("star is red, not blue", "ring is blue, not red"),
    ),
]


@pytest.mark.parametrize(
    ("scene_", "prompt_", "score", "reasons"), [case[1:] for case in KNOWN], ids=[c[0] for c in KNOWN]
)
def test_rendered_scenes_are_judged_as_they_are(scorer, scene_, prompt_, score, reasons):
    (opinion,) = scorer(render([scene_]), [prompt_])
    assert opinion.right == (not reasons)
    assert opinion.score == pytest.approx(score)
    assert opinion.reasons == reasons


@pytest.mark.parametrize("size", [(64, 64), (128, 128)])
def test_all_of_pocket_eval_is_judged_as_the_scenes_say(scorer, size):
    """Every fourth request against a scene that meets it and against another request's."""
    requests = [one.request for one in pocket_eval_prompts()][::4]
    scenes = [drawn_for(request) for request in requests]
    images = torch.nn.functional.interpolate(render(scenes), size)
    for shift in (0, 1):
        asked = requests[shift:] + requests[:shift]
        prompts = [
            SuitePrompt(index=0, text="", category=request.task, facts=pocket_requirements(request))
            for request in asked
        ]
        truth = [not failures(*pair) for pair in zip(scenes, asked, strict=True)]
        opinions = scorer(images, prompts)
        assert [opinion.right for opinion in opinions] == truth
        assert all((opinion.score == 1.0) == opinion.right for opinion in opinions)
        assert sum(truth) == len(truth) if shift == 0 else 0 < sum(truth) < len(truth) / 2


def drawn_for(request):
    """A scene that meets a request."""
    corners = [(16, 16), (48, 48), (48, 16), (16, 48)]
    if request.relation:
        corners = {"left": [(16, 32), (48, 32)], "right": [(48, 32), (16, 32)], "above": [(32, 16), (32, 48)]}.get(
            request.relation, [(32, 48), (32, 16)]
        )
    places = iter(corners)
    wanted = [one for one in request.wanted for _ in range(one.count)]
    things = [thing(one.shape, one.colour or "purple", *next(places)) for one in wanted]
    return scene(*things)


def test_opinions_do_not_depend_on_the_batch(scorer):
    images, prompts = render([case[1] for case in KNOWN]), [case[2] for case in KNOWN]
    assert scorer(images, prompts) == [scorer(images[i : i + 1], prompts[i : i + 1])[0] for i in range(len(prompts))]


def test_pocket_clip_names_the_colours_of_every_shape():
    scorer = pocket_geneval_scorer()
    cases = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    images = render([scene(thing(shape, colour, 32, 32, 13.0)) for shape, colour in cases])
    prompts = [prompt("colors", {"class": shape, "count": 1, "color": colour}) for shape, colour in cases]
    assert all(opinion.right for opinion in scorer(images, prompts))
    others = [
        {**one.facts["include"][0], "color": "red" if one.facts["include"][0]["color"] != "red" else "blue"}
        for one in prompts
    ]
    assert not any(opinion.right for opinion in scorer(images, [prompt("colors", other) for other in others]))


def test_pocket_clip_tells_two_things_colours_apart():
    scorer = pocket_geneval_scorer()
    pairs = [
        ("star", "red", "ring", "blue"),
        ("heart", "green", "cross", "orange"),
        ("circle", "pink", "square", "cyan"),
    ]
    for a, a_colour, b, b_colour in pairs:
        image = render([scene(thing(a, a_colour, 16, 30), thing(b, b_colour, 48, 34))])
        for colours, right in (((a_colour, b_colour), True), ((b_colour, a_colour), False)):
            clauses = [
                {"class": name, "count": 1, "color": colour} for name, colour in zip((a, b), colours, strict=True)
            ]
            assert scorer(image, [prompt("color_attr", *clauses)])[0].right == right


PURE = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class MeanColour:
    """Stands in for CLIP: an image is its mean colour, a sentence the colour that it names."""

    def __init__(self):
        self.seen, self.read = [], []

    def embed_images(self, images):
        self.seen.append(images[0])
        return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)

    def embed_texts(self, prompts):
        self.read += prompts
        named = [next(value for name, value in PURE.items() if name in prompt) for prompt in prompts]
        return torch.tensor(named)


def test_clip_is_shown_the_object_alone_on_grey():
    image = torch.zeros(3, 20, 20)
    image[0] = 1.0  # red all over
    image[:, 4:8, 10:14] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]  # with a blue spot
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[4:8, 10:14] = True
    detection = Detection(label="cat", score=1.0, box=(9.0, 3.0, 15.0, 9.0), mask=mask)
    clip = MeanColour()
    colours = ClipColours(clip, colours=tuple(PURE))
    assert colours(image, [detection], "cat") == ["blue"]
    assert clip.seen[0].shape == (3, 6, 6)
    assert torch.equal(clip.seen[0][:, 1:5, 1:5], image[:, 4:8, 10:14])
    assert torch.equal(clip.seen[0][:, 0], torch.full((3, 6), BLANK))
    assert clip.read[:3] == ["a photo of a red cat", "a photo of a red-colored cat", "a photo of a red object"]
    assert colours(image, [replace(detection, mask=None, box=(0.0, 0.0, 20.0, 20.0))], "cat") == ["red"]


def test_a_detection_thinner_than_a_pixel_still_shows_something():
    colours = ClipColours(MeanColour(), colours=("red",))
    for box in ((20.0, 20.0, 20.0, 20.0), (3.2, 3.2, 3.3, 3.4), (19.8, 0.0, 20.0, 20.0)):
        assert min(colours.cut_out(torch.rand(3, 20, 20), Detection(label="", score=1.0, box=box)).shape) >= 1


def test_the_detector_is_asked_for_each_image_s_own_classes():
    asked = []

    def detector(images, labels):
        asked.extend(labels)
        return [[] for _ in images]

    excluded = prompt("counting", STAR, exclude=[{"class": "star", "count": 2}, {"class": "ring", "count": 1}])
    GenevalScorer(detector, PaletteColours())(torch.zeros(2, 3, 8, 8), [excluded, prompt("single_object", RING)])
    assert asked == [["star", "ring"], ["ring"]]


@pytest.mark.parametrize(("tag", "right"), [("counting", False), ("single_object", True)])
def test_what_is_counted_must_be_surer(tag, right):
    def detector(images, _labels):
        return [[Detection(label="star", score=0.6, box=(0.0, 0.0, 4.0, 4.0))] for _ in images]

    assert GenevalScorer(detector, PaletteColours())(torch.zeros(1, 3, 8, 8), [prompt(tag, STAR)])[0].right == right


def test_other_rules_are_kept_to():
    found = [
        Detection(label="star", score=0.6, box=(0.0, 0.0, 4.0, 4.0)),
        Detection(label="ring", score=0.6, box=(10.0, 3.0, 14.0, 7.0)),
    ]

    def right(asked, **rules):
        scorer = GenevalScorer(lambda images, _labels: [found for _ in images], PaletteColours(), rules=Rules(**rules))
        return scorer(torch.zeros(1, 3, 16, 16), [asked])[0].right

    one, counted, beside = prompt("single_object", STAR), prompt("counting", STAR), prompt("position", RING, LEFT)
    assert right(one, threshold=0.59)
    assert not right(one, threshold=0.6)
    assert right(counted, counting_threshold=0.59)
    assert not right(counted, counting_threshold=0.6)
    # The centres lie 10 apart across, of 10.44 in all, and both boxes are 8 wide together.
    assert right(beside, margin=0.59)
    assert not right(beside, margin=0.61)


def test_a_prompt_without_requirements_is_refused():
    with pytest.raises(BadConfig, match="under 'include'"):
        classes_of(SuitePrompt(index=0, text="a cat", category="single_object"))


def test_without_its_models_it_says_what_to_fetch(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match=r"plaudit fetch mask2former-swin-s; or have .* --detector owlv2-base"):
        geneval_scorer()
    with pytest.raises(BadConfig, match=r"plaudit fetch owlv2-base$"):
        geneval_scorer(detector="owlv2-base")
    with pytest.raises(BadConfig, match="which 'pocket-imagereward' is not"):
        geneval_scorer(detector="pocket-judge", colours="pocket-imagereward")


def test_requirements_of_two_things_of_one_shape_name_their_colours():
    request = next(
        one.request
        for one in pocket_eval_prompts()
        if len({wanted.shape for wanted in one.request.wanted}) == 1 < len(one.request.wanted)
    )
    names = [f"{wanted.colour} {wanted.shape}" for wanted in request.wanted]
    assert sorted(clause["class"] for clause in pocket_requirements(request)["include"]) == sorted(names)
