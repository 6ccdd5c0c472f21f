"""The table of detectors. To add one, add a row; nothing is imported until a row is built.

Commits are pinned where one was to be had: OWLv2's row means the same weights tomorrow, Mask2Former's the newest when
they are downloaded, which the hub's cache remembers.
"""

from plaudit.core.hub import HubFiles
from plaudit.core.registry import Entry, Registry

FAMILIES = {
    "mask2former": "plaudit.suites.detectors_mask2former:load_mask2former",
    "owlv2": "plaudit.suites.detectors_owlv2:load_owlv2",
}
"""by a folder's model_type: who loads it, as loader(folder, device=...)"""

_MASK2FORMER = "facebook/mask2former-swin-small-coco-instance"
_OWLV2 = "google/owlv2-base-patch16-ensemble"
_OWLV2_COMMIT = "cfd3195ba4ea9592eec887ded089f4c08eff231d"

DETECTORS = Registry(
    "detector",
    [
        Entry(
            name="mask2former-swin-s",
            target=FAMILIES["mask2former"],
            arguments={
                "folder": HubFiles(
                    hub_id=_MASK2FORMER, patterns=("config.json", "preprocessor_config.json", "model.safetensors")
                )
            },
            summary="COCO's 80 classes with masks: GenEval's detector, in its authors' own training",
            hub_id=_MASK2FORMER,
            licence="MIT (of its code; the weights' page says 'other')",
            size_mb=275.0,
            facts={"paper": "Cheng et al. 2022, Mask2Former", "memory_mb": 275.0, "masks": True, "labels": "COCO's 80"},
        ),
        Entry(
            name="owlv2-base",
            target=FAMILIES["owlv2"],
            arguments={
                "folder": HubFiles(
                    hub_id=_OWLV2,
                    patterns=(
                        "config.json",
                        "preprocessor_config.json",
                        "merges.txt",
                        "vocab.json",
                        "added_tokens.json",
                        "special_tokens_map.json",
                        "tokenizer_config.json",
                        "model.safetensors",
                    ),
                    revision=_OWLV2_COMMIT,
                )
            },
            summary="anything that has a name, without masks",
            hub_id=_OWLV2,
            revision=_OWLV2_COMMIT,
            size_mb=620.0,
            facts={"paper": "Minderer et al. 2023, OWLv2", "memory_mb": 620.0, "masks": False, "labels": "any"},
        ),
        Entry(
            name="pocket-judge",
            target="plaudit.suites.detectors_pocket:load_pocket_detector",
            summary="the shapes of the pocket world, found by rule, with masks",
            facts={"paper": "", "memory_mb": 0.0, "masks": True, "labels": "the pocket world's shapes"},
        ),
    ],
)
