"""A reward whose scores are kept on disk: for slow ones that meet the same pictures again.

The key of a score is all that decides it: the picture's exact numbers and size, the prompt, the reward's identity, the
version of Plaudit and the kind of device. Numbers in a file have no gradient: where one is wanted, the reward is asked.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from plaudit import __version__
from plaudit.rewards.reward import Reward
from plaudit.rewards.score_store import ScoreStore


class Cached:
    """A reward and the store of its scores. A score that is not finite is never kept."""

    def __init__(self, reward: Reward, store: ScoreStore, *, identity: str) -> None:
        """`identity` tells this reward, with all its settings, from all others that ever share the store."""
        self.reward, self.store, self.identity = reward, store, identity
        self.differentiable = reward.differentiable

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        if self.differentiable and images.requires_grad and torch.is_grad_enabled():
            return self.reward(images, prompts)
        keys = [self.key(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        known = self.store.get(keys)
        # Each picture once, even where a batch holds it twice.
        missing = list({key: place for place, key in enumerate(keys) if key not in known}.values())
        if missing:
            fresh = self.reward(images[missing].detach(), [prompts[place] for place in missing])
            found = {keys[place]: score for place, score in zip(missing, fresh.tolist(), strict=True)}
            known |= found
            self.store.put({key: score for key, score in found.items() if score - score == 0})
        return torch.tensor([known[key] for key in keys], dtype=torch.float32, device=images.device)

    def key(self, image: Tensor, prompt: str) -> bytes:
        """32 bytes for one image (3, H, W) and its prompt."""
        exact = image.detach().float().cpu().contiguous()
        facts = (self.identity, __version__, image.device.type, str(image.dtype), str(tuple(image.shape)), prompt)
        digest = hashlib.sha256(exact.numpy().tobytes())
        for fact in facts:
            digest.update(f"|{len(fact)}:{fact}".encode())
        return digest.digest()
