"""The loop that every pocket model is trained by: resumable, seeded by step, the same on CPU and GPU.

Every random draw of a step comes from (seed, model name, step), so a build that was stopped and resumed draws
what an uninterrupted one would have drawn. The state (weights, average, optimisers' moments) is one safetensors file,
replaced atomically every few minutes.
"""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SAVE_EVERY = 120.0
"""seconds between two saved states: what an interruption may cost"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast to train."""

    steps: int
    batch: int
    lr: float
    warmup: int = 200
    ema: float = 0.999
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    final_lr: float = 0.02
    """the cosine ends at this share of lr"""
    decay: float = 1.0
    """the last share of the steps, over which the rate falls"""
    muon: bool = False
    """whether a transformer's matrices between hidden states follow Muon (Jordan et al. 2024), at AdamW's step size
    (Liu et al. 2025), and only the rest AdamW"""

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up, a constant, a cosine."""
        done = min(1.0, max(0.0, (step / self.steps - (1 - self.decay)) / self.decay))
        scale = self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * scale * min(1.0, (step + 1) / max(1, self.warmup))


@dataclass(kw_only=True)
class Draws:
    """The random streams of one step."""

    numpy: np.random.Generator
    torch: torch.Generator
    """on the CPU, so that a GPU draws the same numbers"""

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.torch)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.torch)


def draws_for(name: str, step: int, *, seed: int = 0) -> Draws:
    """The streams of one step of one model's build."""
    digest = hashlib.sha256(f"{seed}|{name}|{step}".encode()).digest()
    number = int.from_bytes(digest[:7], "big")
    return Draws(numpy=np.random.default_rng(number), torch=torch.Generator().manual_seed(number))


@dataclass(kw_only=True)
class Progress:
    """What one stretch of training did."""

    step: int
    steps: int
    batch: int
    loss: float
    parts: dict[str, float]
    images_per_second: float


class Trainee:
    """The modules under training, their running average and their optimiser; what a restart must keep.

    Each module has its gradient clipped by itself; `faster` multiplies a module's learning rate.
    """

    def __init__(self, modules: dict[str, nn.Module], plan: Plan, *, faster: Mapping[str, float] | None = None) -> None:
        self.net = nn.ModuleDict(modules)
        self.plan = plan
        self.step = 0
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimisers = self._optimisers(faster or {})

    def _optimisers(self, faster: Mapping[str, float]) -> dict[str, torch.optim.Optimizer]:
        """By what their moments are called in a saved state."""
        plan = self.plan
        groups: dict[str, list[dict[str, Any]]] = {"adam": [], "muon": []}
        for name, module in self.net.items():
            sorted_out: dict[str, list[nn.Parameter]] = {"adam": [], "muon": []}
            for key, parameter in module.named_parameters():
                if parameter.requires_grad:
                    sorted_out["muon" if plan.muon and is_hidden_matrix(key, parameter) else "adam"].append(parameter)
            for kind, parameters in sorted_out.items():
                groups[kind] += [{"params": parameters, "faster": faster.get(name, 1.0)}] if parameters else []
        rate, shrink = plan.lr, plan.weight_decay
        found: dict[str, torch.optim.Optimizer] = {}
        if groups["adam"]:
            found["adam"] = torch.optim.AdamW(groups["adam"], lr=rate, betas=plan.betas, weight_decay=shrink)
        if groups["muon"]:
            found["muon"] = torch.optim.Muon(
                groups["muon"], lr=rate, weight_decay=shrink, adjust_lr_fn="match_rms_adamw"
            )
        return found

    def update(self, loss: Tensor) -> None:
        plan = self.plan
        groups = [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]
        for group in groups:
            group["lr"] = plan.rate(self.step) * group["faster"]
        self.net.zero_grad()
        loss.backward()
        norms = [nn.utils.clip_grad_norm_(group["params"], plan.clip) for group in groups]
        if bool(torch.isfinite(torch.stack(norms)).all()):
            for optimiser in self.optimisers.values():
                optimiser.step()
        self.step += 1
        decay = min(plan.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list[Tensor](self.parameters), 1 - decay)

    def use_average(self) -> None:
        """Put the running average in place of the weights: what is shipped."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.average, strict=True):
                parameter.copy_(average)

    def save(self, path: Path) -> None:
        tensors = {f"net.{k}": v.detach().contiguous() for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{i}": a for i, a in enumerate(self.average)}
        for name, optimiser in self.optimisers.items():
            for i, parameter in enumerate(self.parameters):
                for key, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"{name}.{i}.{key}"] = value.contiguous()
        temporary = path.with_suffix(".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.clone() for k, v in tensors.items()}, temporary, metadata={"step": str(self.step)})
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        tensors = load_file(path)
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        for i, parameter in enumerate(self.parameters):
            self.average[i].copy_(tensors[f"average.{i}"])
            for name, optimiser in self.optimisers.items():
                state = {k.split(".", 2)[2]: v for k, v in tensors.items() if k.startswith(f"{name}.{i}.")}
                if state:
                    optimiser.state[parameter] = {
                        k: (v if k == "step" else v.to(parameter.device)) for k, v in state.items()
                    }
        self.step = _step_of(path)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter multiplies hidden states in one of a transformer's layers; embeddings and heads do not."""
    return parameter.ndim == 2 and "layers." in name


def train(
    name: str,
    trainee: Trainee,
    loss_of: Callable[[Draws], tuple[Tensor, dict[str, Tensor]]],
    state: Path,
    *,
    seed: int = 0,
    report_every: float = 10.0,
) -> Iterator[Progress]:
    """Train to the end of the plan, from `state` if it is there; yields what happened every few seconds."""
    if state.exists():
        trainee.load(state)
    saved = reported = time.monotonic()
    since = trainee.step
    while trainee.step < trainee.plan.steps:
        loss, parts = loss_of(draws_for(name, trainee.step, seed=seed))
        trainee.update(loss)
        now = time.monotonic()
        last = trainee.step == trainee.plan.steps
        if now - saved > SAVE_EVERY or last:
            trainee.save(state)
            saved = time.monotonic()
        if now - reported > report_every or last:
            rate = (trainee.step - since) * trainee.plan.batch / max(1e-9, now - reported)
            values = {k: float(v.detach()) for k, v in parts.items()}
            yield Progress(
                step=trainee.step,
                steps=trainee.plan.steps,
                batch=trainee.plan.batch,
                loss=float(loss.detach()),
                parts=values,
                images_per_second=rate,
            )
            reported, since = time.monotonic(), trainee.step


def _step_of(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return int((file.metadata() or {})["step"])
