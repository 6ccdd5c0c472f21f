"""A script run by two processes of one team."""

import subprocess
import sys
from pathlib import Path

TRIES = 4
AT_EXIT = "terminate called without an active exception"
"""said by the C++ runtime when torch's own threads are not joined at a process's exit, which happens now and then after
all work is done; nothing of ours ends so"""


def run_by_two(script: str, folder: Path) -> Path:
    """Run the text, in which {tests!r} is this folder, with `folder` as its argument, where it leaves what it found."""
    file = folder / "script.py"
    file.write_text(script.format(tests=str(Path(__file__).parent)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(file)]
    for _ in range(TRIES):
        done = subprocess.run([*launch, str(folder)], capture_output=True, text=True, timeout=240, check=False)
        if AT_EXIT not in done.stderr:
            break
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
