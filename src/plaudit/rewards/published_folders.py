"""Folders that hold a published reward in its own format, found out by the names of their files.

For machines that the hub is out of reach of: the files of a row's repositories, all in one folder. What they hold is up
to their owner, so no sha256 is asked for; still nothing but tensors is read from a pickle.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.core.errors import BadConfig
from plaudit.rewards.published import AESTHETIC_CHECKPOINT, HPS_CHECKPOINTS

if TYPE_CHECKING:
    import torch

    from plaudit.rewards.reward import Reward


def load_published_folder(folder: Path, *, device: "torch.device | str | None" = None) -> "Reward | None":
    """The reward whose checkpoint the folder holds, as in its row; None if it holds none.

    ImageReward.pt needs med_config.json and BERT's tokenizer beside it, HPS_v2.1_compressed.pt config.json and
    tokenizer of LAION's CLIP ViT-H/14, the aesthetic head OpenAI's whole CLIP ViT-L/14. Raises BadConfig if they lack.
    """
    if (folder / "ImageReward.pt").is_file():
        from plaudit.rewards.image_reward import load_image_reward

        return load_image_reward(folder, tokenizer=folder, device=device)
    if versions := [name for name in HPS_CHECKPOINTS if (folder / name).is_file()]:
        from plaudit.rewards.hps import load_hps

        if len(versions) > 1:
            raise BadConfig(f"{folder} holds {' and '.join(versions)}; leave one of them in it")
        return load_hps(folder, checkpoint=folder / versions[0], device=device)
    if (folder / AESTHETIC_CHECKPOINT).is_file():
        from plaudit.rewards.aesthetic import load_aesthetic

        return load_aesthetic(folder, checkpoint=folder / AESTHETIC_CHECKPOINT, device=device)
    return None
