import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detectors import COCO, save_mask2former, save_owlv2

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.hub import HubFiles
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, Thing
from plaudit.suites.detectors import Detection, load_detector, overlap
from plaudit.suites.detectors_mask2former import Mask2Former, ReadingSize
from plaudit.suites.detectors_owlv2 import Owlv2
from plaudit.suites.detectors_pocket import PocketDetector
from plaudit.suites.detectors_table import DETECTORS
from plaudit.suites.geneval import CLASSES, GenevalScorer, geneval_scorer
from plaudit.suites.geneval_rules import Rules
from plaudit.suites.suite import SuitePrompt

SMALL = ReadingSize(short=64, long=107)
LABELS = [["person", "car"], ["motorcycle", "couch"], ["person", "hair dryer", "computer mouse"]]
THINGS = [["red circle", "blue star"], ["ring"], ["square", "red circle"]]


@pytest.fixture(scope="module")
def mask2former_folder(tmp_path_factory):
    return save_mask2former(tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="module")
def owlv2_folder(tmp_path_factory):
    return save_owlv2(tmp_path_factory.mktemp("owlv2"))


@pytest.fixture(scope="module")
def mask2former(mask2former_folder):
    return Mask2Former.from_pretrained(mask2former_folder, size=SMALL)


@pytest.fixture(scope="module")
def owlv2(owlv2_folder):
    return Owlv2.from_pretrained(owlv2_folder)


def pictures(count=3, height=24, width=36):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def same(first: Detection, second: Detection) -> bool:
    masks = (first.mask is None) == (second.mask is None) and (
        first.mask is None or float((first.mask == second.mask).float().mean()) > 0.99
    )
    close = np.allclose([first.score, *first.box], [second.score, *second.box], atol=1e-3)
    return first.label == second.label and close and masks


@pytest.mark.parametrize(("name", "labels"), [("mask2former", LABELS), ("owlv2", THINGS)])
def test_what_is_found_keeps_the_contract(name, labels, request):
    detector, images = request.getfixturevalue(name), pictures()
    found = detector(images, labels)
    assert len(found) == 3
    assert sum(map(len, found)) > 5
    for those, asked in zip(found, labels, strict=True):
        assert [one.score for one in those] == sorted((one.score for one in those), reverse=True)
        for one in those:
            assert one.label in asked
            assert 0 < one.score <= 1
            left, top, right, bottom = one.box
            assert 0 <= left < right <= 36
            assert 0 <= top < bottom <= 24
            if one.mask is not None:
                assert one.mask.shape == (24, 36)
                assert one.mask.dtype == torch.bool
                rows, columns = one.mask.nonzero().unbind(1)
                assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(("name", "labels"), [("mask2former", LABELS), ("owlv2", THINGS)])
def test_what_is_found_does_not_depend_on_the_batch(name, labels, request):
    detector, images = request.getfixturevalue(name), pictures()
    together = detector(images, labels)
    for row in range(3):
        (alone,) = detector(images[row : row + 1], labels[row : row + 1])
        assert len(alone) == len(together[row])
        assert all(same(*pair) for pair in zip(alone, together[row], strict=True))


def test_mask2former_finds_what_the_model_library_finds(mask2former):
    """The library's own post-processing, made to return overlapping masks, on a picture that needs no resizing."""
    from transformers import Mask2FormerImageProcessorPil

    images = pictures(1, 384, 384)
    detector = Mask2Former(mask2former.model, size=ReadingSize(short=384))
    (found,) = detector(images, [list(COCO)])
    with torch.no_grad():
        seen = detector.model(pixel_values=detector.preprocess(images)[0])
    processor = Mask2FormerImageProcessorPil()
    (theirs,) = processor.post_process_instance_segmentation(
        seen, threshold=0.05, target_sizes=[(384, 384)], return_binary_maps=True
    )
    # Theirs keeps as many pairs of query and class as there are queries; ours a hundred.
    assert 3 <= len(theirs["segments_info"]) <= len(found)
    ours = {(one.label, round(one.score, 4)): one for one in found}
    for info, mask in zip(theirs["segments_info"], theirs["segmentation"], strict=True):
        one = ours[COCO[info["label_id"]], round(info["score"], 4)]
        assert torch.equal(one.mask, mask.bool())


def test_masks_leave_out_the_padding(mask2former):
    images = pictures(1, 24, 30)
    (found,) = mask2former(images, [list(COCO)])
    pixels, height, width = mask2former.preprocess(images)
    assert (height, width, *pixels.shape[-2:]) == (64, 80, 64, 96)
    with torch.no_grad():
        logits = mask2former.model(pixel_values=pixels).masks_queries_logits
    whole = torch.nn.functional.interpolate(logits, (64, 96), mode="bilinear")[..., :80]
    masks = torch.nn.functional.interpolate(whole, (24, 30), mode="bilinear")[0] > 0
    assert found
    assert all(any(torch.equal(one.mask, mask) for mask in masks) for one in found)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (200, 96), (90, 300)])
def test_mask2former_reads_pictures_as_the_model_library_does(mask2former, height, width):
    from transformers import Mask2FormerImageProcessorPil

    bytes_ = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(bytes_).resize((width, height))
    processor = Mask2FormerImageProcessorPil(
        size={"shortest_edge": 64, "longest_edge": 107}, size_divisor=1,
        image_mean=[0.48, 0.46, 0.41], image_std=[0.23, 0.22, 0.24],
    )  # fmt: skip
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    ours, tall, wide = mask2former.preprocess(images)
    assert (tall, wide) == theirs.shape[-2:]
    assert all(side % 32 == 0 for side in ours.shape[-2:])
    # Pillow rounds to whole bytes after each direction: up to a byte, and a byte is 1 / (255 * 0.22).
    assert float((ours[..., :tall, :wide] - theirs).abs().max()) < 1.1 / (255 * 0.22)
    assert float(ours[..., tall:, :].abs().sum() + ours[..., wide:].abs().sum()) == 0


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(512, 512, (800, 800)), (1024, 1024, (800, 800)), (480, 640, (800, 1067)), (500, 1000, (667, 1333))],
)
def test_pictures_are_read_at_the_published_test_size(height, width, expected):
    assert ReadingSize().of(height, width) == expected


def test_owlv2_finds_what_the_model_library_finds(owlv2):
    """The library's whole forward pass and post-processing, for the labels of one picture."""
    from transformers import Owlv2ImageProcessorPil

    images, labels = pictures()[2:], ["red circle", "blue star", "square"]
    (found,) = owlv2(images, [labels])
    asked = [f"a photo of a {label}" for label in labels]
    read = owlv2.tokenizer(asked, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        seen = owlv2.model(pixel_values=owlv2.preprocess(images), **read)
    (theirs,) = Owlv2ImageProcessorPil().post_process_object_detection(seen, threshold=0.05, target_sizes=[(24, 36)])
    boxes = theirs["boxes"].clamp(min=0).minimum(torch.tensor([36.0, 24.0, 36.0, 24.0]))
    rows = sorted(zip(theirs["scores"].tolist(), theirs["labels"].tolist(), boxes.tolist(), strict=True))[::-1]
    kept = []
    for score, label, box in rows:
        inside = box[2] > box[0] and box[3] > box[1]
        if inside and all(one[1] != labels[label] or overlap(tuple(one[2]), tuple(box)) <= 0.5 for one in kept):
            kept.append((score, labels[label], box))
    assert len(kept) == len(found) > 2
    assert len({one.label for one in found}) == 2
    for one, (score, label, box) in zip(found, kept, strict=True):
        assert one.label == label
        assert np.allclose([one.score, *one.box], [score, *box], atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 72), (96, 50)])
def test_owlv2_reads_pictures_as_the_model_library_does(owlv2, height, width):
    from transformers import Owlv2ImageProcessorPil

    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    picture = Image.fromarray((images[0].permute(1, 2, 0) * 255).round().byte().numpy())
    processor = Owlv2ImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.45], image_std=[0.27, 0.26, 0.28]
    )
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    ours = owlv2.preprocess(images)
    assert ours.shape == theirs.shape == (1, 3, 32, 32)
    # The library blurs with a Gaussian before it picks pixels, ours averages: alike but for the padding's edge.
    assert float((ours - theirs).abs().mean()) < 0.03
    inside = (slice(None), slice(None), slice(2, max(3, 32 * height // 96)), slice(2, max(3, 32 * width // 96)))
    assert float((ours[inside] - theirs[inside]).abs().max()) < 0.08


def test_a_rival_takes_the_boxes_that_are_more_its_own(owlv2_folder, owlv2):
    images = pictures()[2:]
    (alone,) = owlv2(images, [["red circle"]])
    (against,) = Owlv2.from_pretrained(owlv2_folder, rivals=["square"])(images, [["red circle"]])
    assert 0 < len(against) < len(alone)
    assert {one.label for one in against} == {"red circle"}


def test_the_same_detector_with_rivals_reads_alike(owlv2_folder, owlv2):
    images = pictures()[2:]
    loaded = Owlv2.from_pretrained(owlv2_folder, rivals=["square"])
    assert owlv2.against(["square"])(images, [["red circle"]]) == loaded(images, [["red circle"]])


def colourless(_image, found, _label):
    return ["grey"] * len(found)


def asked_for(count, kind, tag="two_object"):
    include, exclude = {"class": kind, "count": count}, {"class": kind, "count": count + 1}
    facts = {"tag": tag, "include": [include], "exclude": [exclude]}
    return SuitePrompt(index=0, text="", category=tag, facts=facts)


@pytest.mark.parametrize(("name", "kind"), [("mask2former", "car"), ("owlv2", "star")])
def test_genevals_scorer_goes_by_what_a_published_format_finds(name, kind, request):
    """On random weights: as many are asked for as the detector finds, one fewer, and one more."""
    detector, images = request.getfixturevalue(name), pictures(1)
    (found,) = detector(images, [[kind]])
    assert len(found) >= 2
    sure = sorted(one.score for one in found)[-2]
    there = sum(one.score > sure - 1e-6 for one in found)
    scorer = GenevalScorer(detector, colourless, rules=Rules(threshold=sure - 1e-6))
    prompts = [asked_for(there + more, kind) for more in (0, -1, 1)]
    opinions = scorer(images.expand(3, -1, -1, -1), prompts)
    assert [(one.right, one.score) for one in opinions] == [(True, 1.0), (False, 0.0), (False, 0.0)]
    assert opinions[1].reasons == (f"{there} {kind}, wanted fewer than {there}",)
    assert opinions[2].reasons == (f"{there} of {there + 1} {kind}",)


def test_genevals_scorer_loads_folders_of_both_formats(mask2former_folder, owlv2_folder):
    """Whatever is found is told of its rivals: all other classes of COCO, which Mask2Former knows by itself."""
    closed, open_ = (
        geneval_scorer(detector=str(folder), colours=colourless) for folder in (mask2former_folder, owlv2_folder)
    )
    assert isinstance(closed.detector, Mask2Former)
    assert isinstance(open_.detector, Owlv2)
    assert open_.detector.rivals == CLASSES
    assert len(set(CLASSES)) == 80


def test_one_class_has_many_names(mask2former):
    for name, index in (("motorcycle", 3), ("Airplane", 4), ("couch", 5), ("hair dryer", 6), ("computer mouse", 7)):
        assert mask2former.class_of(name) == index
    with pytest.raises(BadConfig, match="no class 'unicorn', it knows 8"):
        mask2former.class_of("unicorn")


def test_a_label_comes_back_as_it_was_asked_for(mask2former):
    (found,) = mask2former(pictures(1), [["Motorcycle", "couch"]])
    assert {one.label for one in found} <= {"Motorcycle", "couch"}


def test_nothing_asked_for_is_nothing_found(mask2former, owlv2):
    assert mask2former(pictures(2), [[], []]) == [[], []]
    assert owlv2(pictures(2), [[], []]) == [[], []]


def test_folders_load_by_their_format(mask2former_folder, owlv2_folder):
    assert isinstance(load_detector(str(mask2former_folder)), Mask2Former)
    assert isinstance(load_detector(str(owlv2_folder)), Owlv2)
    assert isinstance(load_detector("pocket-judge"), PocketDetector)


def test_what_is_no_detector_is_refused(tmp_path, mask2former_folder):
    with pytest.raises(BadConfig, match="model_type 'mask2former' or 'owlv2', got None"):
        load_detector(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mask2former"}))
    with pytest.raises(BadConfig, match="has no weights"):
        load_detector(str(tmp_path))
    with pytest.raises(BadConfig, match="holds no owlv2"):
        Owlv2.from_pretrained(mask2former_folder)
    with pytest.raises(UnknownName, match="Did you mean 'owlv2-base'"):
        load_detector("owlv2-bas")


def test_missing_weights_are_not_made_up(mask2former_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(mask2former_folder / "model.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("class_predictor")}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((mask2former_folder / "config.json").read_text())
    with pytest.raises(BadConfig, match="lacks 2 weights"):
        Mask2Former.from_pretrained(tmp_path)


def test_rows_say_what_a_user_must_know():
    for row in DETECTORS:
        assert row.licence
        assert row.summary
        if row.hub_id:
            (files,) = row.needs
            assert isinstance(files, HubFiles)
            assert files.hub_id == row.hub_id
            assert row.size_mb > 100
            assert any(name.endswith(".safetensors") for name in files.patterns)
            assert not any(name.endswith((".bin", ".pt")) for name in files.patterns)


def star(colour, x, y):
    return Thing(shape="star", colour=colour, x=x, y=y, radius=10.0)


def test_the_pocket_detector_boxes_what_was_drawn():
    images = render([Scene(background="grey", things=(star("red", 20.0, 20.0), star("blue", 44.0, 44.0)))])
    for scale in (1, 3):
        large = torch.nn.functional.interpolate(images, scale_factor=scale) if scale > 1 else images
        (found,) = PocketDetector()(large, [["star", "red star", "ring"]])
        assert [one.label for one in found] == ["star", "red star", "star"]
        for one, place in zip(found, (20, 20, 44), strict=True):
            left, _, right, _ = (edge / scale for edge in one.box)
            assert abs((left + right) / 2 - place) < 1.5
            assert 17 < right - left < 23
            assert one.mask.shape == large.shape[-2:]
    with pytest.raises(BadConfig, match="knows no 'dog'"):
        PocketDetector()(images, [["dog"]])


@pytest.mark.parametrize(
    ("second", "expected"),
    [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0), ((2, 2, 2, 2), 0.0)],
)
def test_overlap_by_hand(second, expected):
    assert overlap((0, 0, 10, 10), second) == pytest.approx(expected)
    assert overlap((4, 4, 4, 4), (4, 4, 4, 4)) == 0
