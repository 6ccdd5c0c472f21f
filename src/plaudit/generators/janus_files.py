"""Where Januses come from: folders in transformers' layout, from the hub, from the package, or of a training of ours.

A folder holds config.json of the model type "janus", weights as safetensors, tokenizer.json with its settings, and, if
the model is not spoken to as Janus-Pro is, plan.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.whole_files import write_whole
from plaudit.generators.janus import PLAIN_LOOK, Janus, Normal
from plaudit.generators.plan_words import SETTINGS_FILE, PlanWords, read_settings, settings_text
from plaudit.generators.token_files import format_of

FORMAT = "janus"
"""the model type that config.json names"""
ORIGINAL = "multi_modality"
"""the model type of DeepSeek's own layout"""
LOOK_FILE, LOOK_NAMES = "preprocessor_config.json", ("image_mean", "image_std")


def load_janus(
    folder: str | Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Janus:
    """The policy of a folder, frozen, in float32 on the CPU unless told otherwise.

    Raises BadConfig if the folder does not hold one, whole, with its tokenizer.
    """
    from transformers import JanusForConditionalGeneration

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise BadConfig(f"{folder} is no folder of a Janus: it has no config.json")
    refuse_original(folder)
    settings = read_settings(folder)
    tokenizer = _load_tokenizer(folder)
    try:
        network, report = JanusForConditionalGeneration.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=dtype or torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise BadConfig(f"the Janus in {folder} cannot be read: {str(error).splitlines()[0]}") from error
    if missing := sorted(report["missing_keys"]):
        raise BadConfig(f"{folder} is not complete: {len(missing)} weights of a Janus are missing, {missing[0]} first")
    if (kind := network.config.text_config.model_type) != "llama":
        raise BadConfig(f"the language model of {folder} is of the type {kind!r}, and only llama's can be read here")
    count = network.config.text_config.vocab_size
    words = PlanWords(tokenizer, settings, said=_signs(network), count=count)
    return Janus(network.to(device), words, look=_look(folder))


def refuse_original(folder: Path) -> None:
    """Raises BadConfig for a Janus in DeepSeek's own layout, whose weights have other names."""
    if format_of(folder) == ORIGINAL:
        raise BadConfig(
            f"{folder} holds a Janus in DeepSeek's own layout (model type {ORIGINAL!r}), which is not read here; take "
            "the same model in transformers' layout: janus-pro-1b, janus-pro-7b, or a folder such as that of "
            "deepseek-community/Janus-Pro-1B"
        )


def save_janus(policy: Janus, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write what `load_janus` and transformers read; the weights in `dtype`, or as they are.

    Raises BadConfig for a model with a LoRA over it, which is saved for itself.
    """
    from plaudit.generators.trained_part import has_lora

    if has_lora(policy.transformer):
        raise BadConfig("a LoRA lies over this Janus; save it for itself, and lay it over the model where it is loaded")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = _published_names(policy)
    _tell_signs(policy)
    policy.network.save_pretrained(
        str(folder), state_dict={name: weight.detach().to(dtype=dtype) for name, weight in weights.items()}
    )
    policy.words.tokenizer.save_pretrained(str(folder))
    shown = {"image_processor_type": "JanusImageProcessor", "size": _side(policy), **_said_look(policy)}
    write_whole(folder / LOOK_FILE, (json.dumps(shown, indent=2) + "\n").encode())
    write_whole(folder / SETTINGS_FILE, settings_text(policy.words.settings).encode())


def _published_names(policy: Janus) -> dict[str, Tensor]:
    """All weights by the names of the whole network, the trained ones as they are in the policy's own transformer."""
    own = dict(policy.network.state_dict())
    trained = {
        policy.transformer.published_name(name): weight for name, weight in policy.transformer.state_dict().items()
    }
    if policy.transformer.lm_head is None:
        trained["lm_head.weight"] = policy.transformer.language_model.embed_tokens.weight
    assert trained.keys() <= own.keys()
    return own | trained


def _look(folder: Path) -> Normal:
    """Mean and spread of what the understanding tower is shown. Raises BadConfig if the folder's file is damaged."""
    file = folder / LOOK_FILE
    if not file.is_file():
        return PLAIN_LOOK
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        mean, spread = (
            tuple(map(float, found.get(name, plain))) for name, plain in zip(LOOK_NAMES, PLAIN_LOOK, strict=True)
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise BadConfig(f"{file} is damaged: it does not say {' and '.join(LOOK_NAMES)} as three numbers") from error
    if (len(mean), len(spread)) != (3, 3):
        raise BadConfig(f"{file} must say {' and '.join(LOOK_NAMES)} as three numbers, got {mean} and {spread}")
    return (mean[0], mean[1], mean[2]), (spread[0], spread[1], spread[2])


def _said_look(policy: Janus) -> dict[str, list[float]]:
    return {name: list(it) for name, it in zip(LOOK_NAMES, policy.normal, strict=True)}


def _side(policy: Janus) -> dict[str, int]:
    side = policy.vision_model.config.image_size
    return {"height": side, "width": side}


def _load_tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise BadConfig(f"{folder} is not complete: it has no tokenizer.json")
    try:
        # The file as it is: other classes rebuild it after their own rules.
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadConfig(f"the tokenizer in {folder} cannot be read: {str(error).splitlines()[0]}") from error


def _tell_signs(policy: Janus) -> None:
    """Let the configuration say what transformers' own drawing asks it."""
    told, words = policy.network.generation_config, policy.words
    # What was made of a model's configuration is made of it again when it is read, without what follows.
    told._from_model_config = False
    told.bos_token_id, told.eos_token_id, told.pad_token_id = words.begin, words.end, words.padding
    told.generation_kwargs = {"boi_token_id": words.begin_of_image}


def _signs(network: Any) -> Mapping[str, int | None]:
    """The numbers of signs that the configuration knows, for tokenizers that do not name them."""
    told, text = network.generation_config, network.config.text_config
    more = getattr(told, "generation_kwargs", None) or {}
    begin_of_image = more.get("boi_token_id", getattr(told, "boi_token_id", None))
    signs = {"bos": text.bos_token_id, "eos": text.eos_token_id, "pad": text.pad_token_id, "boi": begin_of_image}
    return {name: found[0] if isinstance(found, list) else found for name, found in signs.items()}
