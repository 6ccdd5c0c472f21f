"""The suite as a whole, on renders and what becomes of them when they are spoilt."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import FeatureSet, features_of, read_features
from plaudit.rewards.feature_table import load_feature_net
from plaudit.suites.distribution_distances import cmmd, frechet_distance, kernel_distance, pairwise_distance, vendi
from plaudit.suites.fidelity import Fidelity, compare, fidelity
from plaudit.suites.reference_sets import pocket_renders

SIDE = 150
"""prompts of the pocket's renders; one picture each, more than the net has dimensions"""


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    return load_feature_net("pocket-pickscore")


@pytest.fixture(scope="module")
def reference(net) -> FeatureSet:
    return pocket_renders(num_prompts=SIDE, images_per_prompt=1, seed=1).features(net)


@pytest.fixture(scope="module")
def fresh() -> Tensor:
    return torch.cat(list(pocket_renders(num_prompts=SIDE, images_per_prompt=1, seed=2).batches()))


@pytest.fixture(scope="module")
def clean(fresh, reference, net) -> Fidelity:
    return fidelity(fresh.split(40), reference, net)


def noisy(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.2 * noise).clamp(0, 1)


SPOILT = {
    "blurred": lambda images: F.avg_pool2d(images, 9, 1, 4),
    "noisy": noisy,
    "noise": lambda images: torch.rand(images.shape, generator=torch.Generator().manual_seed(0)),
    "dark": lambda images: images / 2,
    "one picture": lambda images: images[:1].expand_as(images),
}


@pytest.mark.parametrize("how", SPOILT)
def test_fresh_renders_are_nearer_to_renders_than_spoilt_ones(how, fresh, reference, net, clean) -> None:
    spoilt = fidelity([SPOILT[how](fresh)], reference, net)
    assert spoilt.fid > 1.3 * clean.fid
    assert spoilt.kid > max(0.1, 2 * clean.kid)
    assert spoilt.cmmd > max(0.05, 2 * clean.cmmd)
    assert spoilt.recall <= clean.recall


def test_fresh_renders_are_as_good_as_renders(clean) -> None:
    assert abs(clean.kid) < 0.5
    assert clean.precision > 0.85
    assert clean.recall > 0.85
    assert clean.vendi == pytest.approx(clean.reference_vendi, rel=0.1)
    assert clean.pairwise_distance == pytest.approx(0.9, abs=0.2)


def test_losing_every_kind_but_one_is_seen_as_lost_variety(fresh, reference, net, clean) -> None:
    few = fidelity([fresh[:5].repeat(30, 1, 1, 1)], reference, net)
    assert few.precision > 0.8
    assert few.recall < 0.3 < clean.recall
    assert few.vendi <= 5 < clean.vendi
    assert few.reference_vendi == clean.reference_vendi


def test_a_set_against_itself_is_perfect(reference) -> None:
    found = compare(reference, reference)
    assert found.fid == pytest.approx(0, abs=1e-8)
    assert (found.precision, found.recall) == (1.0, 1.0)
    assert found.pairwise_distance == found.reference_pairwise_distance
    assert found.vendi == found.reference_vendi
    # Unbiased estimates do not count a picture with itself, and so find a set nearer to itself than to a fresh one.
    assert found.kid < 0


def test_the_numbers_are_those_of_the_distances(fresh, reference, net) -> None:
    groups = [index // 3 for index in range(SIDE)]
    found = fidelity(fresh.split(40), reference, net, groups=groups)
    features = net(fresh)
    seen = features_of([fresh], net)
    assert found.fid == pytest.approx(frechet_distance(seen.moments, reference.moments), rel=1e-9)
    assert found.kid == pytest.approx(kernel_distance(features, reference.sample), rel=1e-3, abs=1e-4)
    assert found.cmmd == pytest.approx(cmmd(features, reference.sample), rel=1e-3, abs=1e-4)
    assert found.vendi == pytest.approx(vendi(features), rel=1e-5)
    assert found.pairwise_distance == pytest.approx(pairwise_distance(features, torch.tensor(groups)), rel=1e-5)
    assert found.pairwise_distance != fidelity(fresh.split(40), reference, net).pairwise_distance


def test_batches_do_not_matter(fresh, reference, net, clean) -> None:
    one_by_one = fidelity(fresh.split(7), reference, net)
    assert one_by_one.fid == pytest.approx(clean.fid, rel=1e-4)
    assert one_by_one.recall == pytest.approx(clean.recall, abs=0.02)
    assert one_by_one.cmmd == pytest.approx(clean.cmmd, rel=1e-3, abs=1e-4)


def test_a_reference_from_its_file_gives_the_same_numbers(tmp_path, fresh, reference, net, clean) -> None:
    reference.save(tmp_path / "renders.safetensors")
    assert fidelity(fresh.split(40), read_features(tmp_path / "renders.safetensors", net), net) == clean


def test_two_nets_are_refused_before_any_picture_is_drawn(reference) -> None:
    def never():
        raise AssertionError("drew a picture")
        yield

    with pytest.raises(BadConfig, match="make the reference anew"):
        fidelity(never(), reference, load_feature_net("pocket-clip"))
    with pytest.raises(BadConfig, match="one net for both"):
        compare(replace(reference, fingerprint="other"), reference)


def test_too_few_pictures_are_refused(fresh, reference, net) -> None:
    with pytest.raises(BadConfig, match="at least 4; got 3"):
        fidelity([fresh[:3]], reference, net)
    assert fidelity([fresh[:3]], reference, net, neighbours=2).images == 3
    with pytest.raises(BadConfig, match="the pictures are too few"):
        fidelity([], reference, net)
    with pytest.raises(BadConfig, match="the reference pictures are too few"):
        fidelity([fresh], features_of([fresh[:2]], net), net)


def test_counts_and_notes_say_what_the_numbers_rest_on(fresh, reference, net, clean) -> None:
    assert (clean.images, clean.reference_images, clean.dimensions, clean.equal) == (SIDE, SIDE, 128, SIDE)
    assert (clean.net, clean.fingerprint) == (net.name, net.fingerprint)
    assert not any("rank" in note for note in clean.notes)
    few = fidelity([fresh[:20]], reference, net, groups=range(20), sample=15)
    assert (few.images, few.sample, few.reference_sample, few.equal) == (20, 15, SIDE, 15)
    assert any(note.startswith("20 pictures in 128 dimensions") for note in few.notes)
    assert any("15 of 20 pictures" in note for note in few.notes)
    assert any("same numbers" in note for note in few.notes)
    assert few.pairwise_distance is None
    assert few.reference_pairwise_distance is None


def test_a_small_set_is_compared_with_as_many_of_a_large_one(fresh, reference, net, clean) -> None:
    few = features_of([fresh[:12]], net)
    one_way, other_way = compare(few, reference), compare(reference, few)
    assert one_way.equal == other_way.equal == 12
    # No more different pictures than there are, and in all of the large set there are more.
    assert one_way.reference_vendi == other_way.vendi <= 12 < clean.reference_vendi
    assert (one_way.precision, one_way.recall) == (other_way.recall, other_way.precision)


def test_the_record_is_plain_json(clean) -> None:
    written = json.loads(json.dumps(clean.to_json(), allow_nan=False))
    assert written["fid"] == clean.fid
    assert written["notes"] == list(clean.notes)
    assert {"kid", "cmmd", "precision", "recall", "pairwise_distance", "vendi", "net", "fingerprint"} <= written.keys()
