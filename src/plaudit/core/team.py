"""The processes of one training, as `torchrun` or `accelerate launch` started them; one, if nothing did.

Every process decides the same things from the same seeds, does its share of the work, and adds up with the others.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig


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
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def join_team() -> Team:
    """The team that the launcher's environment tells of, joined by accelerate; a team of one without a launcher.

    Raises BadConfig if it does not come together.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Team()
    from accelerate import PartialState

    # Told so, it joins over the CPU; else it takes a machine without a GPU for a single process.
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != int(os.environ["WORLD_SIZE"]):
        raise BadConfig(
            f"the launcher started {os.environ['WORLD_SIZE']} processes, and {state.num_processes} found each other"
        )
    return Team(rank=state.process_index, size=state.num_processes)
