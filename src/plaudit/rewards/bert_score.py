"""BERTScore's recall (Zhang et al. 2020, arXiv 1904.09675): how much of one text another one says.

Every token is the vector that a published encoder gives it within its sentence. Each token of the reference is matched
with the most similar one of the candidate, and the cosines are averaged (the paper's first equation). No idf weights,
no rescaling to a baseline. As in the published code, the reference's marks of beginning and end do not count, though
its tokens may be matched with the candidate's; and a candidate without words scores 0.

Differs from the published code in padding, which is cut off before tokens are matched: there, a cosine with padding is
0, which is more than a negative one, so that a score can depend on its batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.checkpoint_files import fitting, read_checkpoint

LONGEST = 512
"""tokens, those of beginning and end included; what follows is not read"""
TOGETHER = 64
"""texts in one pass"""
KEPT = 512
"""references whose vectors are kept, the latest: about 80 kB each"""
PICKLE = "pytorch_model.bin"
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class TokenVectors:
    """A text of T tokens."""

    vectors: Tensor
    """(T, D), each of length 1"""
    counted: Tensor
    """(T,), False for the marks of beginning and end"""


def greedy_recall(candidate: TokenVectors, reference: TokenVectors) -> float:
    """The mean over the reference's tokens of the greatest cosine with any of the candidate's, -1..1.

    0 if either text has no words.
    """
    if not bool(candidate.counted.any()) or not bool(reference.counted.any()):
        return 0.0
    cosines = reference.vectors @ candidate.vectors.T
    return float(cosines.max(dim=1).values[reference.counted].mean())


class BertScore:
    """An encoder without what stands above the layer that is read, and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """`model` returns the layer's output as `last_hidden_state`; `tokenizer` knows marks of beginning and end."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._marks = {tokenizer.cls_token_id, tokenizer.sep_token_id}
        self._kept: dict[str, TokenVectors] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        layer: int,
        sha256: str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """The encoder of a folder of the model library (BERT, DeBERTa), frozen, in float32, up to `layer`.

        Weights are safetensors, or else a pytorch_model.bin, which is read with `sha256` as in read_checkpoint.
        Raises BadConfig if files are missing or do not fit together.
        """
        from transformers import AutoConfig, AutoTokenizer

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise BadConfig(f"{folder} is no text encoder: it has no config.json")
        # Without these, the library would go on with a tokenizer that knows no word.
        if not any((folder / name).is_file() for name in VOCABULARIES):
            raise BadConfig(f"{folder} has no tokenizer: it needs {' or '.join(VOCABULARIES)}")
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        if not 1 <= layer <= config.num_hidden_layers:
            raise BadConfig(f"{folder} has layers 1 to {config.num_hidden_layers}, got {layer}")
        config.num_hidden_layers = layer
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return cls(_encoder(folder, config, sha256).to(device), tokenizer)

    def recall(self, candidates: Sequence[str], references: Sequence[str], *, device: torch.device) -> list[float]:
        """How much of each reference its candidate says, B numbers of -1..1; computed on `device`."""
        if self.model.device != device:
            self.model.to(device)
            self._kept.clear()
        missing = [text for text in dict.fromkeys(references) if text not in self._kept]
        known = {**self._kept, **dict(zip(missing, self._encode(missing), strict=True))}
        said = self._encode(candidates)
        self._kept = dict(list(known.items())[-KEPT:])
        return [greedy_recall(it, known[text]) for it, text in zip(said, references, strict=True)]

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> list[TokenVectors]:
        found = []
        for start in range(0, len(texts), TOGETHER):
            found += self._encode_together([text.strip() for text in texts[start : start + TOGETHER]])
        return found

    def _encode_together(self, texts: list[str]) -> list[TokenVectors]:
        longest = min(LONGEST, self.tokenizer.model_max_length)
        rows = self.tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
        length, padding = max(map(len, rows)), self.tokenizer.pad_token_id
        device = self.model.device
        ids = torch.tensor([[*row, *[padding] * (length - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
        outputs = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        vectors = F.normalize(outputs, dim=-1)
        return [
            TokenVectors(
                # A copy, so that what is kept does not keep the whole batch.
                vectors=vectors[place, : len(row)].clone(),
                counted=torch.tensor([token not in self._marks for token in row], device=device),
            )
            for place, row in enumerate(rows)
        ]


def _encoder(folder: Path, config: Any, sha256: str | None) -> Any:
    """The folder's network, with no more layers than its config says."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    family: Any = MODEL_MAPPING[type(config)]
    file, weights = _weights(folder, sha256)
    weights = {name.removeprefix(f"{family.base_model_prefix}."): tensor for name, tensor in weights.items()}
    with torch.device("meta"):
        wanted = family(config).state_dict()
    # Pooling comes after the tokens; of fine-tuned models it may have gone.
    needed = {name: tensor for name, tensor in wanted.items() if name in weights or not name.startswith("pooler.")}
    fitted = fitting({name: tensor for name, tensor in weights.items() if name in needed}, needed, file)
    return family.from_pretrained(None, config=config, state_dict=fitted, dtype=torch.float32)


def _weights(folder: Path, sha256: str | None) -> tuple[Path, Mapping[str, Tensor]]:
    """The file of the weights, the first if they are in parts, and the weights by name."""
    parts = sorted(folder.glob("model*.safetensors"))
    if parts:
        return parts[0], {name: tensor for part in parts for name, tensor in load_file(part).items()}
    if not (folder / PICKLE).is_file():
        raise BadConfig(f"{folder} has no weights: it needs model.safetensors or {PICKLE}")
    return folder / PICKLE, read_checkpoint(folder / PICKLE, sha256=sha256)
