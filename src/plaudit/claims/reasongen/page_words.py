"""The prose of the result page."""

INTRODUCTION = """ReasonGen-R1 (Zhang et al. 2025, arXiv 2505.24875) lets one model write a plan in words and then \
draw it: first by lessons, each a prompt, a plan and a picture, then by rewards for pictures, which make the words \
and the tokens of better ones likelier. Here it starts from {model}, which was built to draw at once, to plan a \
little, and to answer questions about pictures. The judge that is followed is {followed}, which asks for each \
requirement of a prompt. PocketEval's prompts are drawn from the same random numbers by every model; the exact judge, \
which nothing is trained on, says whether a picture is right and whether it shows its plan. Accuracy is the mean of \
the six tasks' accuracies. Intervals are 95 %: over prompts, with {num_seeds} seed(s) averaged, or, for entropies and \
times, over seeds and drawings (Student). The paper's own tables could not be read; what stands under "published" is \
from third parties' tables, its public reviews and its released code, and what none of them confirms is called \
unconfirmed. This page is generated from the JSON file beside it."""

QUICK_WARNING = """> This was the quick run: {updates} updates, {num_seeds} seed, {num_prompts} prompts. It decides \
nothing."""

ABOUT_MODELS = """{num_prompts} prompts, {images} pictures of each, from the same random numbers in every row. \
"Unseen" are prompts for combinations that no training shows, "their tasks' others" the remaining prompts of the same \
tasks. Distance is that of two pictures of a prompt. {followed} is trained on; the rewards behind it are not."""

ABOUT_PLANS = """Pictures without guidance. A plan can be read if it says a scene in words as lessons have them; it \
meets the prompt if that scene would, by the judge's own rules. Of a plan that can be read, its picture shows a share \
of what it claims: the background, and each object's shape, colour, place and size; "all of it" asks for everything \
and no object more. On the right, the accuracy of pictures whose plan meets the prompt, and of the others."""

ABOUT_UNDERSTANDING = """{questions} yes-or-no questions about rendered scenes that no training shows, the same ones \
to every model. Nothing here trains the tower that looks at pictures, but the language model behind it is the one \
that plans and draws."""

ABOUT_COST = (
    """Seconds for a picture of the preset with its plan and without, in turns, in batches, without guidance."""
)

ABOUT_CURVES = """A look every {look_every} updates at {look_prompts} prompts, {look_images} pictures of each, with \
random numbers that never change. Bands are the seeds' extremes. Dotted: the controllers' targets; dashed: where the \
lessons alone ended."""

ABOUT_VARIANTS = """Each row differs from the preset by what it says, drawn without guidance from the same random \
numbers; the gain is over the preset, with the seeds and pictures that both have. Entropies are means over the last \
third of updates; beside them how far they were from their targets in an update, as a share."""

ABOUT_EXAMPLES = """The middle prompt of each task, each column from the same random numbers; the plan stands below \
its picture. Framed green where the judge finds what the prompt asks for, and red where it does not."""

ABOUT_DISAGREEMENTS = """Of the preset's first pictures of each prompt, {readable} have a plan that can be read; of \
these, {disagreeing} do not show all of it."""

THE_WORST = """Those that show the least:"""
