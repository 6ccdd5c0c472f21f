"""Tiny random models in the published formats: the code paths of real weights, in milliseconds."""

import os
from pathlib import Path

import pytest

# The tests compare numbers, not speed; more threads than cores make them slow and no more right.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Modules of checks that several test files share: what an assert of theirs compared is shown as in a test.
pytest.register_assert_rewrite("trained_claims", "methods.learned_by_two")

WORDS = ("a", "red", "green", "blue", "circle", "square", "star", "ring", "two", "three", "left", "of", "and")


@pytest.fixture(autouse=True)
def _random_models_are_the_same_every_time():
    """Model constructors draw from the global stream; forked, so that no test's draws reach another's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def save_tokenizer(folder: Path, *, length: int = 16) -> int:
    """A CLIP tokenizer whose words are WORDS and single letters; returns the size of its vocabulary."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(97, 123)]
    symbols = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            parts = [pair[0] + pair[1], *parts[2:]]
            if pair not in merges:
                merges.append(pair)
                symbols.append(parts[0])
    symbols = list(dict.fromkeys(symbols))
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length, pad_token="<|endoftext|>")
    tokenizer.save_pretrained(str(folder))
    return len(vocabulary)


def text_settings(vocabulary: int, *, length: int = 16) -> dict[str, int]:
    return {
        "vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": length, "projection_dim": 12,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1,
    }  # fmt: skip


def save_stable_diffusion(folder: Path, *, scheduler: str = "ddim") -> Path:
    """A StableDiffusionPipeline folder of random parts: 8 x 8 noise of 4 channels, 16 x 16 images."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    vocabulary = save_tokenizer(folder / "tokenizer")
    schedulers = {
        "ddim": lambda: diffusers.DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
            timestep_spacing="trailing", clip_sample=False, steps_offset=1,
        ),
        "euler": lambda: diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing",
            steps_offset=1,
        ),
        "lcm": lambda: diffusers.LCMScheduler(beta_schedule="scaled_linear", steps_offset=1),
    }  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, sample_size=16,
            scaling_factor=0.5,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text_settings(vocabulary))),
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
            mid_block_type=None, cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
        ),
        scheduler=schedulers[scheduler](), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder


def save_clip(folder: Path, *, seed: int = 0) -> Path:
    """A CLIPModel folder of random weights that reads 16 x 16 pixels."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    vocabulary = save_tokenizer(folder)
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 8, "projection_dim": 12,
    }  # fmt: skip
    config = CLIPConfig(text_config=text_settings(vocabulary), vision_config=vision, projection_dim=12)
    CLIPModel(config).save_pretrained(str(folder))
    return folder


def save_image_reward(folder: Path) -> Path:
    """An ImageReward folder of random weights that reads 16 x 16 pixels."""
    from plaudit.rewards.image_reward import ImageRewardModel

    torch.manual_seed(1)
    vocabulary = save_tokenizer(folder)
    model = ImageRewardModel.from_config({
        "vision_config": {
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 8, "initializer_range": 0.2,
        },
        "text_config": {
            "vocab_size": vocabulary, "hidden_size": 24, "encoder_hidden_size": 16, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16,
            "initializer_range": 0.2,
        },
        "mlp_sizes": [16, 8, 8, 4], "mean": 0.1, "std": 2.0, "max_text_length": 16,
    })  # fmt: skip
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory):
    return save_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def image_reward_folder(tmp_path_factory):
    return save_image_reward(tmp_path_factory.mktemp("image_reward"))
