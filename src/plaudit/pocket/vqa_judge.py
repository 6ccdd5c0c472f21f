"""pocket-vqa as a judge: a yes-or-no question for each requirement of a prompt, and what is made of the answers.

The miniature of a vision-language judge that is asked requirement by requirement. Each answer is
P(yes) / (P(yes) + P(no)); a prompt's requirements are those of `pocket.questions.requirements`.
"""

import torch

from plaudit.core.errors import BadConfig
from plaudit.pocket.folders import pocket_folder
from plaudit.pocket.questions import requirements
from plaudit.rewards.vqa_score import BlipVqa, VqaProtocol

MAX_TOKENS = 32
"""of a question; none of ours is that long"""

PROTOCOLS = {
    "fraction": VqaProtocol(questions=requirements, against_no=True, max_tokens=MAX_TOKENS, total="mean"),
    "product": VqaProtocol(questions=requirements, against_no=True, max_tokens=MAX_TOKENS, total="product"),
    "hard": VqaProtocol(questions=requirements, against_no=True, max_tokens=MAX_TOKENS, total="all"),
}
"""the mean share of requirements that are met, softly; the probability that all are; and 1 if all are, else 0"""


def load_pocket_vqa(
    name: str = "pocket-vqa", *, protocol: str = "fraction", device: torch.device | str | None = None
) -> BlipVqa:
    """The judge of a pocket model's name under one of PROTOCOLS. Raises BadConfig if it is not built."""
    if protocol not in PROTOCOLS:
        raise BadConfig(f"no protocol {protocol!r} for {name}; there are {', '.join(PROTOCOLS)}")
    return BlipVqa.from_pretrained(pocket_folder(name), protocol=PROTOCOLS[protocol], device=device)
