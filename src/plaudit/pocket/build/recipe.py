"""How each pocket model is built from nothing: the steps, what each needs, and where it leaves its files.

Everything lives in a work folder. A step whose result is there is not done again, and a step that was stopped goes
on where it last saved; so a build may be interrupted at any time. `install` puts finished models into the package.
"""

import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import (
    BlipForQuestionAnswering,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModel,
    T5EncoderModel,
    T5Tokenizer,
)

from plaudit.core.devices import best_device
from plaudit.core.errors import BadConfig
from plaudit.generators.janus_files import save_janus
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.llamagen_files import save_llamagen
from plaudit.generators.vq_tokenizer import VQTokenizer
from plaudit.pocket.build import (
    base,
    clip,
    image_reward,
    janus,
    janus_sight,
    lcm,
    llamagen,
    pixart,
    preference,
    turbo,
    vae,
    vqa,
)
from plaudit.pocket.build.loop import Progress, draws_for
from plaudit.pocket.build.pictures import decoded_pool
from plaudit.pocket.build.text import new_tokenizer, text_config, train_text
from plaudit.pocket.folders import POCKET_MODELS, WEIGHTS
from plaudit.pocket.scenes import draw_scene
from plaudit.rewards.image_reward import ImageRewardModel

DECODED = 12_288
"""pictures in each of the two pools from the decoder"""
SPREADS = {"decoded": 0.35, "broken": 1.0}
"""each pool's most noise, in the latents' own spread"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One line of a build: which step, how far, and what the training says."""

    part: str
    done: int
    total: int
    progress: Progress | None = None


class Recipe:
    """The steps of a build in one work folder on one device. Steps are generators of reports."""

    def __init__(self, folder: Path, device: torch.device, *, seed: int = 0) -> None:
        self.folder, self.device, self.seed = folder, device, seed
        folder.mkdir(parents=True, exist_ok=True)

    # Each `..._steps` leaves a folder or file behind, which the loaders below read.

    def vae(self) -> Iterator[Report]:
        if not (self.folder / "vae").exists():
            model = self._fresh(vae.new_vae)
            yield from self._train("vae", vae.train_vae(model, self._state("vae"), self.device))
            _save(model, self.folder / "vae")

    def text(self) -> Iterator[Report]:
        if not (self.folder / "text_encoder").exists():
            tokenizer = new_tokenizer()
            encoder = self._fresh(lambda: CLIPTextModel(text_config(tokenizer)))
            yield from self._train("text", train_text(encoder, tokenizer, self._state("text"), self.device))
            tokenizer.save_pretrained(self.folder / "tokenizer")
            _save(encoder, self.folder / "text_encoder")

    def pool(self) -> Iterator[Report]:
        yield from self.vae()
        yield from self.text()
        if not (self.folder / "pool.npy").exists():
            steps = base.encode_pool(self._vae, self.folder / "pool.npy", self.device)
            yield from (Report(part="scenes", done=n, total=base.POOL) for n in steps if isinstance(n, int))

    def pictures(self) -> Iterator[Report]:
        yield from self.vae()
        for name in SPREADS:
            if not (self.folder / f"{name}.npy").exists():
                steps = self._decoded(name)
                yield from (Report(part=name, done=n, total=DECODED) for n in steps if isinstance(n, int))

    def pocket_base(self) -> Iterator[Report]:
        yield from self.pool()
        unet = self._fresh(base.new_unet)
        yield from self._train("base", base.train_base(unet, self._batches, self._state("base")))
        _save(unet, self.folder / "base_unet")

    def pocket_turbo(self) -> Iterator[Report]:
        if not (self.folder / "base_unet").exists():
            yield from self.pocket_base()
        teacher = turbo.Teacher(UNet2DConditionModel.from_pretrained(self.folder / "base_unet"), self._batches)
        pairs: Any = None
        for pairs in turbo.make_pairs(teacher, self._batches, self.folder / "pairs.npy"):
            if isinstance(pairs, int):
                yield Report(part="pairs", done=pairs, total=turbo.PAIRS)
        student = base.new_unet()
        student.load_state_dict(teacher.unet.state_dict())
        regress = turbo.regress(student, pairs, self._batches, self._state("turbo-regress"))
        yield from self._train("turbo, regression", regress)
        match = turbo.match(student, teacher, pairs, self._batches, self._state("turbo-match"))
        yield from self._train("turbo, matching", match)
        _save(student, self.folder / "turbo_unet")

    def pocket_lcm(self) -> Iterator[Report]:
        if not (self.folder / "base_unet").exists():
            yield from self.pocket_base()
        teacher = turbo.Teacher(UNet2DConditionModel.from_pretrained(self.folder / "base_unet"), self._batches)
        student = lcm.with_guidance(teacher.unet)
        agree = lcm.agree(student, teacher, self._batches, self._state("lcm-agree"))
        yield from self._train("lcm, agreeing", agree)
        match = lcm.match(student, teacher, self._batches, self._state("lcm-match"))
        yield from self._train("lcm, matching", match)
        _save(student, self.folder / "lcm_unet")

    def words(self) -> Iterator[Report]:
        if not (self.folder / "t5").exists():
            tokenizer = pixart.new_t5_tokenizer()
            encoder = self._fresh(lambda: pixart.new_t5(tokenizer)).to(self.device)
            words = pixart.Words(tokenizer=tokenizer, encoder=encoder)
            yield from self._train("pixart, reading", pixart.train_words(words, self._state("pixart-words")))
            tokenizer.save_pretrained(self.folder / "t5_tokenizer")
            _save(encoder, self.folder / "t5")

    def pocket_llamagen(self) -> Iterator[Report]:
        yield from self._image_tokenizer()
        scenes = llamagen.class_scenes()
        yield from self._tokens("class", scenes)
        policy = LlamaGen(
            self._fresh(llamagen.new_class_transformer).to(self.device), self._vq, class_names=llamagen.CLASS_NAMES
        )
        lesson = llamagen.class_lesson(policy, self._last_tokens("class", scenes), scenes)
        yield from self._train("llamagen", llamagen.train_to_foretell(policy, lesson, self._state("llamagen")))
        save_llamagen(policy, self.folder / "llamagen")

    def pocket_llamagen_t2i(self) -> Iterator[Report]:
        yield from self.words()
        yield from self._image_tokenizer()
        scenes = llamagen.text_scenes()
        yield from self._tokens("text", scenes)
        words = self._words
        transformer = self._fresh(lambda: llamagen.new_text_transformer(pixart.WIDTH)).to(self.device)
        policy = LlamaGen(transformer, self._vq, text=(words.tokenizer, words.encoder))
        lesson = llamagen.text_lesson(policy, self._last_tokens("text", scenes), scenes)
        yield from self._train("llamagen-t2i", llamagen.train_to_foretell(policy, lesson, self._state("llamagen-t2i")))
        save_llamagen(policy, self.folder / "llamagen-t2i")

    def pocket_janus(self) -> Iterator[Report]:
        if not (self.folder / "vqa").exists():
            yield from self.pocket_vqa()
        yield from self._image_tokenizer()
        scenes = llamagen.text_scenes()
        yield from self._tokens("text", scenes)
        tokenizer = janus.new_words_tokenizer()
        network = self._fresh(lambda: janus.new_janus(tokenizer)).to(self.device)
        policy = janus.new_policy(network, tokenizer)
        paint = janus.train_to_paint(policy, self._vq, self._state("janus-paint"))
        yield from self._train("janus, painting", paint)
        pool = janus.Pool(scenes=scenes, tokens=self._last_tokens("text", scenes))
        yield from self._train("janus", janus.train_janus(policy, pool, self._state("janus")))
        teacher = BlipForQuestionAnswering.from_pretrained(self.folder / "vqa").float().vision_model
        yield from self._train("janus, looking", janus_sight.train_to_look(policy, teacher, self._state("janus-look")))
        for part, lesson in (("answering", janus.ANSWER), ("settling", janus.SETTLE)):
            steps = janus.train_to_answer(policy, pool, lesson, self._state(f"janus-{lesson.name}"))
            yield from self._train(f"janus, {part}", steps)
        save_janus(policy, self.folder / "janus")

    def _image_tokenizer(self) -> Iterator[Report]:
        yield from self.vae()
        if not (self.folder / "vq.safetensors").exists():
            tokenizer = llamagen.new_tokenizer(self._vae, self.device)
            steps = llamagen.train_tokenizer(tokenizer, self._state("vq"), self.device)
            yield from self._train("llamagen, tokens", steps)
            paint = llamagen.train_to_paint(tokenizer, self._state("vq-paint"), self.device)
            yield from self._train("llamagen, painting", paint)
            save_file(tokenizer.cpu().state_dict(), self.folder / "vq.safetensors")

    def _tokens(self, name: str, scenes: list[Any]) -> Iterator[Report]:
        if not (self.folder / f"{name}-tokens.npy").exists():
            steps = llamagen.encode_tokens(self._vq, scenes, self.folder / f"{name}-tokens.npy", self.device)
            yield from (Report(part="scenes", done=n, total=len(scenes)) for n in steps if isinstance(n, int))

    def _last_tokens(self, name: str, scenes: list[Any]) -> Any:
        return _last(llamagen.encode_tokens(self._vq, scenes, self.folder / f"{name}-tokens.npy", self.device))

    def pocket_pixart(self) -> Iterator[Report]:
        if not (self.folder / "base_unet").exists():
            yield from self.pocket_base()
        teacher = turbo.Teacher(UNet2DConditionModel.from_pretrained(self.folder / "base_unet"), self._batches)
        yield from self.words()
        words = self._words
        pairs: Any = None
        file = self.folder / "pixart-pairs.npy"
        for pairs in turbo.make_pairs(teacher, self._batches, file, count=pixart.PAIRS):
            if isinstance(pairs, int):
                yield Report(part="pairs", done=pairs, total=pixart.PAIRS)
        student = self._fresh(pixart.new_transformer)
        denoise = pixart.denoise(student, words, self._batches, self._state("pixart-denoise"))
        yield from self._train("pixart, denoising", denoise)
        imitate = pixart.imitate(student, words, teacher, self._batches, self._state("pixart-imitate"))
        yield from self._train("pixart, imitating", imitate)
        regress = pixart.regress(student, words, pairs, self._state("pixart-regress"))
        yield from self._train("pixart, regression", regress)
        match = pixart.match(student, words, teacher, pairs, self._batches, self._state("pixart-match"))
        yield from self._train("pixart, matching", match)
        _save(student, self.folder / "pixart_transformer")

    def pocket_clip(self) -> Iterator[Report]:
        if (self.folder / "clip").exists():
            return
        yield from self.text()
        yield from self.pictures()
        vision = self._fresh(lambda: CLIPVisionModel(clip.vision_config()))
        clip.place_patches(vision.embeddings.position_embedding.weight)
        see = clip.train_to_see("pocket-clip-see", vision, self._pictures("decoded"), self._state("clip-see"))
        yield from self._train("clip, seeing", see)
        model = self._fresh(lambda: clip.new_clip(self._tokenizer, self._text_encoder, vision))
        agree = clip.train_to_agree(model, self._tokenizer, self._pictures("decoded"), self._state("clip"))
        yield from self._train("clip, agreeing", agree)
        _save(model, self.folder / "clip")

    def pocket_hps(self) -> Iterator[Report]:
        yield from self._preference(preference.HPS)

    def pocket_pickscore(self) -> Iterator[Report]:
        yield from self._preference(preference.PICKSCORE)

    def pocket_imagereward(self) -> Iterator[Report]:
        yield from self.pictures()
        tokenizer = image_reward.new_bert_tokenizer()
        model = self._fresh(lambda: image_reward.new_image_reward(tokenizer))
        clip.place_patches(model.visual_encoder.embeddings.position_embedding[0])
        good, broken = self._pictures("decoded"), self._pictures("broken")
        see = clip.train_to_see(
            "pocket-imagereward-see", model.visual_encoder, good, self._state("imagereward-see"),
            plan=image_reward.SEE_PLAN,
        )  # fmt: skip
        yield from self._train("imagereward, seeing", see)
        rank = image_reward.train_image_reward(model, tokenizer, good, broken, self._state("imagereward"))
        yield from self._train("imagereward, ranking", rank)
        model.cpu().save_pretrained(self.folder / "imagereward", dtype=torch.float16)
        tokenizer.save_pretrained(self.folder / "imagereward")

    def pocket_vqa(self) -> Iterator[Report]:
        yield from self.pictures()
        # The tower that pocket-imagereward learned to see with: this build's, or the one that is shipped.
        seer = next((f for f in (self.folder / "imagereward", WEIGHTS / "pocket-imagereward") if f.is_dir()), None)
        if seer is None:
            yield from self.pocket_imagereward()
            seer = self.folder / "imagereward"
        tokenizer = vqa.new_question_tokenizer()
        model = self._fresh(lambda: vqa.new_vqa(tokenizer))
        vqa.start_seeing(model, ImageRewardModel.from_pretrained(seer).visual_encoder.state_dict())
        answer = vqa.train_vqa(model, tokenizer, self._pictures("decoded"), self._state("vqa"))
        yield from self._train("vqa, answering", answer)
        vqa.save_vqa(model, tokenizer, self.folder / "vqa", dtype=torch.float16)

    def _preference(self, taste: preference.Taste) -> Iterator[Report]:
        yield from self.pocket_clip()
        model = CLIPModel.from_pretrained(self.folder / "clip").float()
        short = taste.name.removeprefix("pocket-")
        steps = preference.train_preference(
            model,
            self._tokenizer,
            self._pictures("decoded"),
            self._pictures("broken"),
            self._state(short),
            taste,
        )
        yield from self._train(short, steps)
        _save(model, self.folder / short)

    def _train(self, part: str, steps: Iterator[Progress]) -> Iterator[Report]:
        for progress in steps:
            yield Report(part=part, done=progress.step, total=progress.steps, progress=progress)

    def _state(self, name: str) -> Path:
        return self.folder / f"{name}.state.safetensors"

    def _fresh(self, make: Any) -> Any:
        """A module with weights drawn from the recipe's seed; the global stream is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make()

    def _decoded(self, name: str) -> Iterator[Any]:
        scenes = self._pool_scenes(name)
        return decoded_pool(self._vae, scenes, self.folder / f"{name}.npy", self.device, spread=SPREADS[name])

    def _pool_scenes(self, name: str) -> list[Any]:
        rng = draws_for(f"pocket-scenes-{name}", 0, seed=self.seed).numpy
        return [draw_scene(rng) for _ in range(DECODED)]

    def _pictures(self, name: str) -> clip.Pictures:
        images = _last(self._decoded(name))
        return clip.Pictures(self._pool_scenes(name), images, self.device)

    @cached_property
    def _vae(self) -> AutoencoderKL:
        return AutoencoderKL.from_pretrained(self.folder / "vae").float().eval().requires_grad_(False)

    @cached_property
    def _vq(self) -> VQTokenizer:
        tokenizer = VQTokenizer(llamagen.TOKENIZER_SIZES)
        tokenizer.load_state_dict(load_file(self.folder / "vq.safetensors"))
        return tokenizer.to(self.device).eval().requires_grad_(False)

    @cached_property
    def _words(self) -> pixart.Words:
        encoder = T5EncoderModel.from_pretrained(self.folder / "t5").float().to(self.device)
        tokenizer = T5Tokenizer.from_pretrained(self.folder / "t5_tokenizer")
        return pixart.Words(tokenizer=tokenizer, encoder=encoder.eval().requires_grad_(False))

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.folder / "tokenizer")

    @cached_property
    def _text_encoder(self) -> CLIPTextModel:
        encoder = CLIPTextModel.from_pretrained(self.folder / "text_encoder").float()
        return encoder.to(self.device).eval().requires_grad_(False)

    @cached_property
    def _batches(self) -> base.Batches:
        pool = _last(base.encode_pool(self._vae, self.folder / "pool.npy", self.device))
        return base.Batches(pool, self._text_encoder, self._tokenizer, self.device)


def build(
    names: Sequence[str], work_dir: Path, *, seed: int = 0, device: torch.device | None = None
) -> Iterator[Report]:
    """Build the named pocket models (all, if none is named) in `work_dir`; yields how far each step is.

    Raises BadConfig for a name that is no pocket model.
    """
    recipe = Recipe(work_dir, device or best_device(), seed=seed)
    for name in names or POCKET_MODELS:
        if name not in POCKET_MODELS:
            raise BadConfig(f"no pocket model is named {name!r}; there are {', '.join(POCKET_MODELS)}")
        yield from getattr(recipe, name.replace("-", "_"))()


def _last(items: Iterator[Any]) -> Any:
    return deque(items, maxlen=1)[0]


def _save(model: Any, folder: Path) -> None:
    """Write a model's folder in float32, whole or not at all."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.cpu().save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
