"""A user's own reward: "my_module:MyReward" or "./file.py:MyReward", code on this machine, loaded and guarded.

MyReward is a class that is made without arguments, or a reward that is made already. Loading it runs its code.
"""

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig, BrokenContract, PlauditError, UnknownName
from plaudit.rewards.reward import Reward


@runtime_checkable
class HasScale(Protocol):
    """A reward that says where its scores usually lie, as a row of the table does."""

    raw_scale: tuple[float, float]


class OwnReward:
    """A user's reward under watch: what it does wrong is said in a sentence that names it."""

    def __init__(self, name: str, reward: Reward) -> None:
        self.name, self.reward = name, reward
        self.differentiable = reward.differentiable
        self.scale = reward.raw_scale if isinstance(reward, HasScale) else None

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Its scores (B,). Raises BrokenContract for any error in it, and for what is no float32 score per image."""
        try:
            scores = self.reward(images, prompts)
        except PlauditError:
            raise
        except Exception as error:
            raise BrokenContract(f"{self.name}: scoring failed: {in_a_sentence(error)}") from error
        wanted = (len(images),)
        if not isinstance(scores, Tensor) or scores.shape != wanted:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise BrokenContract(
                f"{self.name}: must return one score per image; {len(images)} images gave {got}, wanted {wanted}"
            )
        if scores.dtype != torch.float32 or scores.device != images.device:
            raise BrokenContract(
                f"{self.name}: scores must be float32 on the images' device, {images.device}; "
                f"got {scores.dtype} on {scores.device}"
            )
        return scores


def load_own(name: str) -> OwnReward:
    """The reward that a name like "my_module:MyReward" means. Raises UnknownName or BadConfig in one sentence."""
    source, _, attribute = name.rpartition(":")
    module = _file_module(Path(source).expanduser()) if source.endswith(".py") else _named_module(source)
    found = vars(module).get(attribute)
    if found is None:
        known = [it for it in vars(module) if not it.startswith("_")]
        close = difflib.get_close_matches(attribute, known, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownName(f"{source!r} defines no {attribute!r}.{hint}")
    if inspect.isclass(found):
        found = _made(name, found)
    if not isinstance(found, Reward) or not isinstance(found.differentiable, bool):
        raise BadConfig(
            f"{name!r} is no reward: it must be callable as reward(images, prompts) and have an attribute "
            "'differentiable' that is True or False"
        )
    _check_signature(name, found)
    return OwnReward(name, found)


def file_of(name: str) -> Path | None:
    """The file in which a reward's code lies; None where there is none, as for what is built in.

    Ask after loading. Other files that it imports are not looked for.
    """
    source, _, _ = name.rpartition(":")
    if source.endswith(".py"):
        return Path(source).expanduser()
    module = sys.modules.get(source)
    return Path(module.__file__) if module is not None and module.__file__ else None


def in_a_sentence(error: BaseException) -> str:
    """An error in a user's code: its kind, its words, and the line that it happened at."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    words = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    own = [it for it in traceback.extract_tb(error.__traceback__) if it.filename not in _INNER]
    return f"{words} ({own[0].filename}, line {own[0].lineno})" if own else words


_INNER = (__file__, importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
"""files between us and a user's code"""


def _named_module(name: str) -> ModuleType:
    # The `plaudit` program, unlike `python -m plaudit`, does not look in the folder where it is called.
    _look_in(Path.cwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name + ".").startswith(error.name + "."):
            raise UnknownName(f"there is no module {error.name!r} in this folder or installed") from error
        raise BadConfig(f"importing {name!r} failed: {in_a_sentence(error)}") from error
    except Exception as error:
        raise BadConfig(f"importing {name!r} failed: {in_a_sentence(error)}") from error


def _file_module(file: Path) -> ModuleType:
    if not file.is_file():
        raise BadConfig(f"there is no file {str(file)!r}")
    path = file.resolve()
    # As for a script: what lies beside it can be imported.
    _look_in(path.parent)
    name = f"plaudit_own_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise BadConfig(f"{str(file)!r} is no Python file that can be imported")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadConfig(f"importing {str(file)!r} failed: {in_a_sentence(error)}") from error
    return module


def _look_in(folder: Path) -> None:
    """Last, so that nothing there hides an installed package."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _made(name: str, kind: type) -> Any:
    try:
        return kind()
    except PlauditError:
        raise
    except Exception as error:
        raise BadConfig(f"{name!r} cannot be made, as it is without arguments: {in_a_sentence(error)}") from error


def _check_signature(name: str, reward: Reward) -> None:
    try:
        signature = inspect.signature(reward)
    except ValueError:  # code that is not Python tells none
        return
    try:
        signature.bind(None, ())
    except TypeError as error:
        raise BadConfig(f"{name!r} is called as reward(images, prompts), and it takes {signature}") from error
