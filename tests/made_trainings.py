"""Trainings as they lie on disk when they are finished, without the time that they took."""

from pathlib import Path

import torch

from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import add_lora, save_lora, train_all
from plaudit.runs.training_folder import TrainingFolder


def made_training(
    path: Path, model: Path | str, *, steps: int | None = 3, whole: bool = False, by: float = 0.2
) -> TrainingFolder:
    """A training of the model whose weights moved by about `by`; a LoRA's, or all of them."""
    settings = {"preset": "pocket-compression", "model": str(model), "steps": steps, "prompts": [], "seed": 0}
    sources = {
        "model": {"name": str(model), "hub_id": None, "revision": None, "licence": None, "weights": {}},
        "rewards": [{"weight": 1.0, "name": "compressibility", "licence": "Apache-2.0"}],
        "held_out": {"name": "clip", "licence": "Apache-2.0"},
    }
    folder = TrainingFolder.create(
        path, name="made", command="plaudit train | here", settings=settings, sources=sources
    )
    denoiser = load_generator(str(model), steps=steps).denoiser
    rng = torch.Generator().manual_seed(5)
    if whole:
        train_all(denoiser)
    else:
        add_lora(denoiser, rank=2)
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if whole or "lora_B" in name:
                parameter += by * torch.randn(parameter.shape, generator=rng)
    if whole:
        denoiser.save_pretrained(str(path / "unet"))
    else:
        save_lora(denoiser, path)
    folder.set_status("finished")
    return folder
