"""Settings for GRPO on autoregressive image models with LOO-FID (Baran, Kandemir & Cinbis 2026, arXiv 2603.23086).

`llamagen` has the numbers of the released script as far as they are known: the paper's own tables could not be had.
"""

from dataclasses import dataclass, field, replace

from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.presets.task import Task
from plaudit.rewards.loo_fid import LooFidSettings
from plaudit.suites.reference_sets import RENDERS


@dataclass(frozen=True, kw_only=True)
class ArTask(Task):
    """What such a training takes besides: whom its pictures shall be like as a whole."""

    net: str = ""
    """feature net that sees both; "": pictures are judged one by one only"""
    reference: str = ""
    """renders, a file of feature statistics, or a folder of pictures"""
    start_images: int = 0
    """pictures of the model before training that the distribution reward begins with"""
    memory: LooFidSettings = field(default_factory=LooFidSettings)
    """how the distribution reward remembers and compares"""


def pocket_llamagen() -> ArTask:
    """Ours: shapes in colours on pocket-llamagen, without guidance; LOO-FID on pocket-clip's image tower.

    The entropy's target is that of pictures at guidance 1.5; before training it is a little higher.
    """
    from plaudit.presets.rlcm import things

    config = ArGrpoConfig(
        updates=120, prompts_per_update=16, images_per_prompt=8, distribution_weight=2.0, spread="update", lr=1e-4,
        warmup=5, decay="cosine", kl_weight=0.01, entropy_target=0.145, entropy_rate=0.02, entropy_limit=0.1,
        batch_size=128,
    )  # fmt: skip
    return ArTask(
        model="pocket-llamagen", rewards=("hps:1", "clip:0.1"), held_out="imagereward", prompts=things(), rank=0,
        alpha=0.0, config=config, net="pocket-clip", reference=RENDERS, start_images=512,
        memory=LooFidSettings(form="second-order", decay=0.9),
        origin="ours, for the pocket world on two CPU cores",
    )  # fmt: skip


def pocket_llamagen_instance() -> ArTask:
    """Ours: the same without LOO-FID, which is measured only; pictures become alike."""
    task = pocket_llamagen()
    return replace(task, config=replace(task.config, distribution_weight=0.0))


def llamagen() -> ArTask:
    """For LlamaGen-L at 256 pixels: the released script's batch, rate, guidance and weights; its classes by number.

    Ours: the divergence per token and so its smaller weight, moments that remember longer, the whole covariance, the
    feature net, and the reference, which has to be given with --reference.
    """
    config = ArGrpoConfig(
        updates=600, prompts_per_update=12, images_per_prompt=12, distribution_weight=2.0, ratio="sequence", clip=0.2,
        kl_weight=0.02, guidance=1.5, passes=2, lr=1e-5, weight_decay=0.01, batch_size=24,
    )  # fmt: skip
    return ArTask(
        model="llamagen-l-256", rewards=("clip-vit-l14:1", "hpsv2.1:1"), held_out="pickscore-v1",
        prompts=tuple(str(number) for number in range(1000)), rank=0, alpha=0.0, config=config, net="dinov2-base",
        start_images=10_000, memory=LooFidSettings(form="second-order", decay=0.98, refresh=5),
        origin="groups, passes, rate and guidance: the released code's script (Baran et al. 2026); the rest ours",
    )  # fmt: skip


TASKS = {"pocket-llamagen": pocket_llamagen, "pocket-llamagen-instance": pocket_llamagen_instance, "llamagen": llamagen}
