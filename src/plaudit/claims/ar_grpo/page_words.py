"""The prose of the result page."""

INTRODUCTION = """GRPO with LOO-FID (Baran, Kandemir & Cinbis 2026, arXiv 2603.23086) tunes a model that draws a \
picture token by token: by rewards of each picture, and by what each picture does for all of them as a set. The aim is \
a model that needs no classifier-free guidance, and so half the calls, and draws as varied pictures as before. Here it \
starts from {model}, which knows {num_classes} classes, and learns from its own unguided pictures; the covariance of \
LOO-FID is whole. Beside it stands the model before training, at the best of {num_guidances} guidances. Likeness and \
variety are measured by two feature nets that nothing is trained on, against renders that are not those of the \
training: {decides}, which decides, is no relative of LOO-FID's {net}; {other} is. The exact judge, which nothing is \
trained on either, says whether a picture shows its class. Intervals are 95 %: over classes, with {num_seeds} seed(s) \
averaged, or, for FID, recall, entropy and times, over seeds (Student). The paper's own tables could not be had; what \
is said to be published is its abstract, its code, and its neighbours' numbers. This page is generated from the JSON \
file beside it."""

QUICK_WARNING = """> This was the quick run: {updates} updates, {num_seeds} seed, few pictures. It decides nothing."""

ABOUT_MODELS = """{images} pictures of each class, from the same random numbers in every row. FID depends on the \
number of pictures, so it is compared only on this page. "Other real ones" are renders drawn anew: as good as a model \
could be. The distance is 1 less the cosine of two pictures of a class. Entropy is that of the distributions that \
tokens were drawn from, as a share of the most there can be."""

ABOUT_GUIDANCE = """The model before training at every guidance. Its lowest FID by {decides} is at {best:g}."""

ABOUT_COST = """Seconds for an image, with guidance and without, taken one after the other. With guidance the \
transformer reads every token twice; decoding costs the same."""

ABOUT_CURVES = """A look every {look_every} updates at {look_images} pictures of each class with random numbers that \
never change. Bands are the seeds' extremes; level lines are the model before training at its best guidance, by as \
many pictures. The entropy is that of every update's pictures; its level line is the controller's target."""

ABOUT_VARIANTS = """Each row is the preset with one thing changed, drawn without guidance from the same random \
numbers. FID is by {decides}; beside it as a share of the preset's with the same seeds."""

ABOUT_CLASSES = """Pictures of a class below each other, from the same random numbers in every block, framed green \
where the judge finds the class and red where it does not."""
