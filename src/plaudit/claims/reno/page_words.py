"""What the result page says between its numbers. Braces are filled from the report."""

INTRODUCTION = """ReNO (Eyring et al. 2024, arXiv 2406.04312) changes the starting noise of a frozen one-step \
generator, image by image, so that the picture scores higher under several rewards. Here its claims are measured \
on {model} with {num_rewards} rewards. The exact judge, which reads the scene back out of a picture by rule and \
which nothing is trained on, says whether a picture is what the prompt asks for. Accuracy is the mean over \
PocketEval's six tasks, as GenEval counts it. Intervals are 95 %, over prompts, with {num_seeds} seed(s) \
averaged per prompt. This page is generated from the JSON file beside it."""

QUICK_WARNING = """> This was the quick run: {steps} steps, {main_prompts} prompts, {num_seeds} seed. Its \
intervals are too wide to decide a claim."""

ABOUT_ACCURACY = """The curve shows the best image so far, by the optimised sum, after so many updates of the \
noise; update 0 is the picture as the model draws it. All points come from the same runs. Seen and unseen \
combinations are compared on the tasks that have both. A green frame is a picture that the judge calls right, a \
red one a picture that it does not; the prompts are the first of the run, not chosen."""

ABOUT_TIME = """One noise of best-of-n is drawn and scored without gradients, so ReNO's {steps} looks with \
gradients cost as much as {trials} noises on this machine, timed in turn. Below, what the runs took."""

ABOUT_LEFT_OUT = """ReNO follows all rewards but one, which is only asked about the first image and about the \
best image under the others. An image whose first picture stays the best counts as not improved. {side_prompts} \
prompts."""

ABOUT_HACKING = """Hacking is a rise of the rewards that were followed without a rise of the judge's accuracy. \
Here one reward is followed alone, the penalty is left out, or the step is ten times as large. Rises of rewards \
are in standard deviations of the first images' scores. The deviation is the norm penalty of the last noise \
above its least value; 0 is the shell where Gaussian noise lies."""
