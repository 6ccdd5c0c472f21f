"""Fidelity: how close a model's pictures are to real ones as a whole, and how varied they are among themselves.

    net = load_feature_net("pocket-pickscore")
    reference = pocket_renders(seed=1).features(net)        # or read_features("renders.safetensors", net)
    print(fidelity(batches_of_pictures, reference, net).to_json())

FID, KID, CMMD, precision and recall, distance within groups, and the Vendi score, all in one pass over the pictures
with one feature net. Choose one that nothing was trained on: to a net that it was tuned on, a model looks better than
it is.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.feature_nets import FeatureNet
from plaudit.rewards.feature_statistics import SAMPLE, FeatureSet, check_same_net, features_of
from plaudit.suites.distribution_distances import (
    NEIGHBOURS,
    cmmd,
    frechet_distance,
    kernel_distance,
    pairwise_distance,
    precision_recall,
    vendi,
)


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What the suite says of a set of pictures.

    There are no intervals: FID of a resample with doubles is higher than FID, by about as much as it is biased already,
    so a bootstrap would be wrong. Draw the pictures anew with other seeds instead, and report their spread.
    """

    fid: float
    """lower is better; too high for few pictures, so compare equal numbers only"""
    kid: float
    """lower is better; around 0 for the same distribution, at any number of pictures"""
    cmmd: float
    """lower is better; around 0 for the same distribution. On other nets than CLIP's, an MMD like it"""
    precision: float
    """share of the pictures that look like the reference's, 0..1"""
    recall: float
    """share of the reference's pictures that the others look like, 0..1"""
    pairwise_distance: float | None
    """mean of 1 less the cosine of two pictures of a group, 0..2; None if no group has two"""
    vendi: float
    """how many different pictures there seem to be, among `equal` of them"""
    reference_pairwise_distance: float | None
    """of the reference, for comparison"""
    reference_vendi: float
    images: int
    reference_images: int
    sample: int
    """pictures that KID, CMMD and distances within groups looked at; all others see every one, or `equal`"""
    reference_sample: int
    equal: int
    """pictures of either set that precision, recall and Vendi looked at"""
    neighbours: int
    """k of precision and recall"""
    dimensions: int
    net: str
    fingerprint: str
    reference: str
    """in a phrase, what the reference is"""
    notes: tuple[str, ...]
    """what to keep in mind when reading the numbers"""

    def to_json(self) -> dict[str, Any]:
        """All fields, as what JSON knows."""
        return {**asdict(self), "notes": list(self.notes)}


def fidelity(
    batches: Iterable[Tensor],
    reference: FeatureSet,
    net: FeatureNet,
    *,
    groups: Sequence[Hashable] | None = None,
    neighbours: int = NEIGHBOURS,
    sample: int = SAMPLE,
) -> Fidelity:
    """How the images of all batches, (B, 3, H, W) in [0, 1] each, compare with the reference.

    `groups`: one label per image, in order, for those of one prompt or class; None takes all for one group. Results do
    not depend on how the images are batched. Raises BadConfig if the reference was seen by another net, and as
    `compare`.
    """
    # Before minutes of drawing, not after them.
    check_same_net(reference, net.name, net.fingerprint)
    return compare(features_of(batches, net, groups=groups, sample=sample), reference, neighbours=neighbours)


def compare(made: FeatureSet, reference: FeatureSet, *, neighbours: int = NEIGHBOURS) -> Fidelity:
    """How one set that was seen already compares with the other.

    Raises BadConfig if two nets saw them, for less than 2 images, and for no more than `neighbours`.
    """
    check_same_net(reference, made.net, made.fingerprint)
    equal = min(len(made.sample), len(reference.sample))
    _check_enough(made, reference, neighbours)
    ours, theirs = _some(made.sample, equal), _some(reference.sample, equal)
    precision, recall = precision_recall(theirs, ours, neighbours=neighbours)
    return Fidelity(
        fid=frechet_distance(made.moments, reference.moments),
        kid=kernel_distance(made.sample, reference.sample),
        cmmd=cmmd(made.sample, reference.sample),
        precision=precision,
        recall=recall,
        pairwise_distance=_distance_within(made),
        vendi=vendi(ours),
        reference_pairwise_distance=_distance_within(reference),
        reference_vendi=vendi(theirs),
        images=made.moments.count,
        reference_images=reference.moments.count,
        sample=len(made.sample),
        reference_sample=len(reference.sample),
        equal=equal,
        neighbours=neighbours,
        dimensions=made.moments.dimensions,
        net=made.net,
        fingerprint=made.fingerprint,
        reference=reference.images,
        notes=_notes(made, reference),
    )


def _check_enough(made: FeatureSet, reference: FeatureSet, neighbours: int) -> None:
    least = max(2, neighbours + 1)
    for name, features in (("the pictures", made), ("the reference pictures", reference)):
        if len(features.sample) < least:
            raise BadConfig(
                f"{name} are too few: FID needs 2 images, and precision and recall more than their {neighbours} "
                f"neighbours, so at least {least}; got {len(features.sample)}"
            )


def _distance_within(features: FeatureSet) -> float | None:
    if features.groups is not None and int(features.groups.bincount().max()) < 2:
        return None
    return pairwise_distance(features.sample, features.groups)


def _some(features: Tensor, count: int) -> Tensor:
    """`count` of the rows, drawn evenly, always the same ones; all if there are no more."""
    if len(features) == count:
        return features
    drawn = np.random.default_rng(1).choice(len(features), size=count, replace=False)
    return features[torch.from_numpy(np.sort(drawn))]


def _notes(made: FeatureSet, reference: FeatureSet) -> tuple[str, ...]:
    notes = []
    for name, features in (("pictures", made), ("reference pictures", reference)):
        count, dimensions = features.moments.count, features.moments.dimensions
        if count <= dimensions:
            notes.append(
                f"{count} {name} in {dimensions} dimensions have a covariance without full rank: FID is far too high; "
                "read KID instead"
            )
        if len(features.sample) < count:
            notes.append(f"all but FID looked at {len(features.sample)} of {count} {name}")
    if made.moments.count != reference.moments.count:
        notes.append("FID depends on the numbers of pictures: compare it only with one of the same numbers")
    if made.groups is None:
        notes.append("no groups were given, so distances are between any two of the pictures")
    return tuple(notes)
