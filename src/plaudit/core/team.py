"""The processes of one training, as `torchrun` or `accelerate launch` started them; one, if nothing did.

Every process decides the same things from the same seeds, does its share of the work, and adds up with the others.
"""

import datetime
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig, PlauditError

PATIENCE = datetime.timedelta(hours=2)
"""for the others: longer than any look at the model that one takes while they wait"""


class Team:
    """How many processes there are, which of them this is, and what they do together."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def share(self, count: int) -> Tensor:
        """Which of `count` things are this process's, a run of neighbours; every thing is one process's."""
        return torch.arange(count).tensor_split(self.size)[self.rank]

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Put the sum over all processes in place of each tensor."""
        if self.size > 1:
            import torch.distributed as dist

            for tensor in tensors:
                dist.all_reduce(tensor)

    def collect(self, part: Tensor, rows: Tensor, count: int) -> Tensor:
        """All rows (count, ...) of which each process has some, `part` at `rows`. Exact: zeros are added, no more."""
        whole = torch.zeros(count, *part.shape[1:], dtype=part.dtype, device=part.device)
        whole[rows.to(part.device)] = part
        self.add([whole])
        return whole

    def wait(self) -> None:
        """Until all are here."""
        self.tell_all(None)

    def tell_all(self, text: str | None) -> list[str | None]:
        """What every process has to say, in their order."""
        said = [text] * self.size
        if self.size > 1:
            import torch.distributed as dist

            dist.all_gather_object(said, text)
        return said

    def hear_leader(self, text: str | None) -> str | None:
        """What the leader says."""
        return self.tell_all(text)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What only some do, or what only some may fail at: if one fails, all do, where the others would wait for it.

        An error of a user's or of the operating system's is raised here as it is, and on the others as a PlauditError
        that says the same. Nothing inside may speak with the others.
        """
        failed: PlauditError | OSError | None = None
        try:
            yield
        except (PlauditError, OSError) as error:
            failed = error
        said = [text for text in self.tell_all(None if failed is None else _in_words(failed)) if text is not None]
        if failed is not None:
            raise failed
        if said:
            raise PlauditError(said[0])


def join_team(*, on_cpu: bool = False) -> Team:
    """The team that the launcher's environment tells of, joined by accelerate; a team of one without a launcher.

    `on_cpu`: also where there are GPUs. Raises BadConfig if it does not come together.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Team()
    from accelerate import PartialState

    # Told so, it joins over the CPU; else it takes a machine without a GPU for a single process.
    state = PartialState(cpu=on_cpu or not torch.cuda.is_available(), timeout=PATIENCE)
    if state.num_processes != int(os.environ["WORLD_SIZE"]):
        raise BadConfig(
            f"the launcher started {os.environ['WORLD_SIZE']} processes, and {state.num_processes} found each other"
        )
    return Team(rank=state.process_index, size=state.num_processes)


def leave_team() -> None:
    """Part from the others, once all work is done; without it they are told of a lost connection."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _in_words(error: PlauditError | OSError) -> str:
    if isinstance(error, PlauditError):
        return str(error)
    where = f" ({str(error.filename)!r})" if error.filename else ""
    return f"{(error.strerror or str(error)).strip().lower()}{where}"
