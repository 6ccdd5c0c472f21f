"""GenEval's scorer (Ghosh et al. 2023): a detector finds the objects, rules say whether the prompt's requirements hold.

Differs from the released evaluation: Mask2Former runs through the model library with its authors' own COCO weights,
where the release takes the same network as trained by MMDetection; any Detector can stand in. One that finds whatever
it is asked for is told all of COCO's classes, so that they compete for an object as Mask2Former's do. Beside right or
wrong there is partial credit (see geneval_rules).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from plaudit.core.hub import OutOfReach
from plaudit.suites.detectors import Detection, Detector, load_detector
from plaudit.suites.detectors_owlv2 import Owlv2
from plaudit.suites.geneval_colours import ColourNamer, load_clip_colours
from plaudit.suites.geneval_rules import COUNTING, Rules, Ruling, clauses_of, kept, rulings
from plaudit.suites.suite import Opinion, SuitePrompt

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote", "computer keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's, under the names that GenEval's prompts give them"""
INSTEAD = "owlv2-base"
"""finds all of them too, less surely than the rules expect"""


class GenevalScorer:
    """Right or wrong, and the share of requirements that hold. Keeps the Scorer contract.

    A prompt's facts are its row of the benchmark: "tag", "include" and, where there is one, "exclude".
    """

    def __init__(self, detector: Detector, colours: ColourNamer, *, rules: Rules | None = None) -> None:
        self.detector = detector
        self.colours = colours
        self.rules = rules or Rules()

    def __call__(self, images: Tensor, prompts: Sequence[SuitePrompt]) -> list[Opinion]:
        """One opinion per image of images (B, 3, H, W) in [0, 1]."""
        found = self.detector(images, [classes_of(prompt) for prompt in prompts])
        return [self._judge(*one) for one in zip(images, found, prompts, strict=True)]

    def _judge(self, image: Tensor, found: Sequence[Detection], prompt: SuitePrompt) -> Opinion:
        counting = prompt.facts.get("tag", prompt.category) == COUNTING
        objects = kept(found, counting=counting, rules=self.rules)
        made = rulings(
            objects,
            prompt.facts,
            lambda those, label: self.colours(image, those, label),
            margin=self.rules.margin,
        )
        return opinion_of(made)


def geneval_scorer(
    *,
    detector: Detector | str = "mask2former-swin-s",
    colours: ColourNamer | str = "clip-vit-l14",
    rules: Rules | None = None,
    device: torch.device | str | None = None,
) -> GenevalScorer:
    """GenEval's scorer; a name loads that detector, or that CLIP score to name colours. Raises as loading them does."""
    return GenevalScorer(
        _loaded(detector, device) if isinstance(detector, str) else detector,
        load_clip_colours(colours, device=device) if isinstance(colours, str) else colours,
        rules=rules,
    )


def _loaded(detector: str, device: torch.device | str | None) -> Detector:
    """The detector of that name; one of anything knows what else an object may be. Raises as `load_detector`."""
    try:
        found = load_detector(detector, device=device)
    except OutOfReach as error:
        if detector == INSTEAD:
            raise
        raise OutOfReach(
            f"{error}; or have another detector look, whose counts read too low: plaudit evaluate geneval "
            f"--detector {INSTEAD}"
        ) from error
    return found.against(CLASSES) if isinstance(found, Owlv2) else found


def classes_of(prompt: SuitePrompt) -> list[str]:
    """All classes that a prompt's requirements name, each once. Raises BadConfig if there are none."""
    clauses = [clause for key in ("include", "exclude") for clause in clauses_of(prompt.facts, key)]
    return list(dict.fromkeys(clause["class"] for clause in clauses))


def opinion_of(made: Sequence[Ruling]) -> Opinion:
    """Right if every requirement holds; the score is the share that does."""
    parts: dict[str, float] = {}
    for ruling in made:
        name, number = ruling.requirement, 2
        while name in parts:
            name, number = f"{ruling.requirement} ({number})", number + 1
        parts[name] = float(ruling.holds)
    return Opinion(
        score=sum(parts.values()) / len(parts),
        right=all(ruling.holds for ruling in made),
        reasons=tuple(ruling.reason for ruling in made if ruling.reason),
        parts=parts,
    )
