"""The prose of R0's result page."""

INTRODUCTION = """R0+ (Luo et al. 2025, arXiv 2503.13070) makes a {steps}-step generator of a many-step diffusion \
model by following rewards' gradients; no picture is shown to it and no teacher is imitated. Here it starts from \
{model}, and is set beside the same model in {base_steps} steps with guidance {base_guidance:g}. Pictures are of \
PocketEval's prompts, none of which is trained on (a few differ from one that is by an opening such as "a photo of" \
alone), from the same noises for every model; the exact judge, which nothing is trained on, says whether a picture \
shows what its prompt asks for. Intervals are 95 %: over prompts, with {num_seeds} seed(s) averaged per prompt, or, \
for FID and times, over seeds (Student). This page is generated from the JSON file beside it."""

QUICK_WARNING = """> This was the quick run: {updates} updates, {num_seeds} seed, few prompts. It decides nothing."""

ABOUT_REWARDS = """Every reward of the base, of the same model in {steps} steps before training, and of R0+; {images} \
pictures of each prompt. The last reward is trained on by nothing."""

ABOUT_TASKS = """The judge's word, {images} pictures of each prompt; "all" is the mean of the tasks, as in GenEval."""

ABOUT_FIDELITY = """To {renders} real renders of each prompt, by {net}, which nothing is trained on. FID depends on \
the number of pictures, so it is taken of {images} pictures of each prompt, and again of the first one alone. \
"Other real ones" are renders of the same prompts, drawn anew: as good as a model could be. The distance is between \
{several_images} pictures of one prompt, for {several_prompts} prompts."""

ABOUT_STEPS = """The same weights in other numbers of steps, beside the model before training; the first picture of \
every prompt."""

ABOUT_ABLATIONS = """Each row is R0+ of {updates} updates with one thing changed, or a neighbour's way in the same \
code, with the first picture of every prompt and the same noises. Rises are over that R0+, `r0-plus`, with the same \
seeds: of the rewards that the row follows (of all, if it follows none), in spreads of the base's scores, and of \
accuracy.

The verdict: *improved* if the whole interval of accuracy's rise is above zero; if it is all below, *hacked* where \
the whole interval of the rewards' rise is above zero, else *worse*; and *unchanged* if accuracy's interval contains \
zero."""

ABOUT_CURVES = """A look every {look_every} updates at {look_prompts} prompts with noises that never change. Bands are \
the seeds' extremes, level lines the base on all prompts."""

ABOUT_COLLAPSE = """The same prompts and noises in every row, framed green where the judge finds what was asked for \
and red where it does not."""
