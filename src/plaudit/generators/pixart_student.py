"""PixArt-alpha-DMD as it is published: a transformer and a scheduler, to be put into PixArt-alpha's folder."""

from pathlib import Path
from typing import Any

import torch

from plaudit.core.checksums import sha256_of
from plaudit.core.errors import BadConfig
from plaudit.generators.parts import load_parts
from plaudit.generators.pixart import PARTS, PixArtAlpha

STUDENT_PARTS = ("transformer", "scheduler")
PICKLE = "transformer/diffusion_pytorch_model.bin"


def with_student(
    folder: str | Path,
    student: str | Path,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    steps: int = 1,
    guidance: float = 1.0,
) -> PixArtAlpha:
    """The generator of a PixArtAlphaPipeline folder with the transformer and the scheduler of the folder `student`.

    Neither folder need hold what the other one gives. Raises BadConfig if they do not hold the rest.
    """
    kept = [name for name in PARTS if name not in STUDENT_PARTS]
    parts = load_parts(Path(folder), kept, device=device, dtype=dtype)
    taken = _student_parts(Path(student), device=device, dtype=dtype)
    return PixArtAlpha(parts | taken, steps=steps, guidance=guidance)


def load_student(
    folder: Path,
    *,
    student: Path,
    steps: int,
    guidance: float,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PixArtAlpha:
    """A row's generator: text encoder and autoencoder of one published folder, the rest of `student`'s."""
    generator = with_student(folder, student, device=device, dtype=dtype, steps=steps, guidance=guidance)
    generator.use_checkpointing()
    return generator


def _student_parts(folder: Path, *, device: torch.device | str | None, dtype: torch.dtype | None) -> dict[str, Any]:
    """Transformer and scheduler.

    PixArt-alpha-DMD's weights are published as a pickle alone. Of a pickle nothing but tensors is read, and only if
    it is the hub cache's own copy: the cache names a file by the sha256 that the hub's revision records, and the
    content is checked against that. Raises BadConfig for any other pickle.
    """
    from diffusers import PixArtTransformer2DModel

    file = folder / PICKLE
    if not file.is_file() or any(file.parent.glob("*.safetensors")):
        return load_parts(folder, STUDENT_PARTS, device=device, dtype=dtype)
    if sha256_of(file) != file.resolve().name:
        raise BadConfig(
            f"{file} is a pickle and not the hub cache's own copy of one; ask for the model by its hub id, "
            "or save its transformer as safetensors"
        )
    parts = load_parts(folder, ["scheduler"])
    try:
        # diffusers reads a pickle with weights_only.
        transformer = PixArtTransformer2DModel.from_pretrained(
            str(file.parent), use_safetensors=False, local_files_only=True, torch_dtype=dtype or torch.float32
        )
    except OSError as error:
        raise BadConfig(f"{folder}: transformer cannot be read: {str(error).splitlines()[0]}") from error
    return {**parts, "transformer": transformer.to(device)}
