"""A tiny random checkpoint of every family, and what a sample and its gradient cost."""

import weakref
from contextlib import contextmanager

import torch
from conftest import save_stable_diffusion
from test_flux import save_flux
from test_lcm import save_lcm
from test_pixart import save_pixart
from test_sana import save_sana
from test_sd3 import save_sd3
from test_sdxl import save_sdxl
from torch.utils._python_dispatch import TorchDispatchMode

from plaudit.generators.flux import Flux
from plaudit.generators.table import load_generator

PROMPTS = ["a red circle", "two star"]

FAMILIES = {
    "stable-diffusion": save_stable_diffusion,
    "sdxl": save_sdxl,
    "sd3": save_sd3,
    "pixart": save_pixart,
    "flux": save_flux,
    "sana": save_sana,
    "lcm": save_lcm,
}


def load_tiny(folder, family):
    # A folder of FLUX is run at 64 latents a side unless told.
    return Flux.from_pretrained(folder, image_size=16) if family == "flux" else load_generator(str(folder))


def noise_of(generator, rows=2):
    return torch.randn(rows, *generator.noise_shape, generator=torch.Generator().manual_seed(1))


def slope_of(images):
    return torch.linspace(0.5, 1.5, images.numel()).view_as(images)


def sample_with_gradient(generator, rows=2):
    """Images, and the gradient of a weighted sum of them in the noise."""
    noise = noise_of(generator, rows).requires_grad_()
    images = generator.sample(noise, generator.encode((PROMPTS * rows)[:rows]))
    return images.detach(), torch.autograd.grad((images * slope_of(images)).sum(), noise)[0]


def difference(found, expected):
    """The largest difference, as a share of the largest value expected."""
    assert expected.abs().max() > 0.1
    return (found - expected).abs().max() / expected.abs().max()


@contextmanager
def count_kept(generator):
    """The bytes that autograd keeps of what is computed inside, without the generator's own tensors."""
    networks = (generator.denoiser, generator.vae, *generator.text_encoders)
    own = {t.untyped_storage().data_ptr() for net in networks for t in (*net.parameters(), *net.buffers())}
    kept, alive = {}, []

    def pack(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor.untyped_storage().nbytes()
            alive.append(tensor)  # so that no later tensor takes its place
        return tensor

    counted = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield counted
    counted.append(sum(kept.values()))


class Ledger:
    """Bytes of the storages that are alive, and the most there ever were at once."""

    def __init__(self):
        self.now = self.most = 0
        self._seen = {}

    def enter(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self.now += size
        self.most = max(self.most, self.now)
        self._seen[key] = weakref.ref(storage, lambda _: self._leave(key, size))

    def _leave(self, key, size):
        del self._seen[key]
        self.now -= size


class LiveTensors(TorchDispatchMode):
    """Enters every result of every operation inside, forward and backward, into a ledger."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for part in found if isinstance(found, tuple | list) else (found,):
            if isinstance(part, torch.Tensor):
                self.ledger.enter(part)
        return found
