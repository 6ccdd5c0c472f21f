"""The command line: finds the command, runs it, and says in one sentence what went wrong.

Exit codes: 0 done, 1 failed for a reason that the user can mend, 2 wrong usage. A traceback means a bug.
Nothing here imports torch, so every help page answers at once.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields

from plaudit import __version__
from plaudit.core.errors import PlauditError
from plaudit.core.registry import Entry, Registry
from plaudit.core.stops import full_memory, what_failed, what_lacked
from plaudit.shells.flags import HELP_FLAGS, Command, WrongUsage, help_page, nearest, parse

DONE, FAILED, WRONG_USAGE = 0, 1, 2

COMMANDS = Registry(
    "command",
    [
        Entry(
            name="generate",
            target="plaudit.shells.generate:COMMAND",
            summary="draw pictures, and improve them by rewards while drawing",
        ),
        Entry(
            name="score",
            target="plaudit.shells.score:COMMAND",
            summary="what rewards, and the judge, say about pictures you have",
        ),
        Entry(
            name="train rlcm",
            target="plaudit.shells.train_rlcm:COMMAND",
            summary="train a few-step generator on rewards by policy gradient",
        ),
        Entry(
            name="train r0",
            target="plaudit.shells.train_r0:COMMAND",
            summary="make a few-step generator of a many-step model by rewards' gradients",
        ),
        Entry(
            name="train ar-grpo",
            target="plaudit.shells.train_ar_grpo:COMMAND",
            summary="train a model that draws token by token, on rewards and on being like real pictures",
        ),
        Entry(
            name="train plans",
            target="plaudit.shells.train_plans:COMMAND",
            summary="teach a model that draws token by token to write a plan first",
        ),
        Entry(
            name="train reasongen",
            target="plaudit.shells.train_reasongen:COMMAND",
            summary="train a model that plans and draws, words and pictures together, on rewards",
        ),
        Entry(
            name="evaluate",
            target="plaudit.shells.evaluate:COMMAND",
            summary="score a model, with or without a method, on a suite of prompts",
        ),
        Entry(
            name="compare",
            target="plaudit.shells.compare:COMMAND",
            summary="put models, methods and trainings side by side, at equal cost if wanted",
        ),
        Entry(
            name="reproduce",
            target="plaudit.shells.reproduce:COMMAND",
            summary="measure a paper's claims, in miniature",
        ),
        Entry(
            name="list",
            target="plaudit.shells.listing:COMMAND",
            summary="models, rewards, suites and presets there are",
        ),
        Entry(
            name="fetch",
            target="plaudit.shells.fetching:COMMAND",
            summary="download a model or a reward before it is needed",
        ),
        Entry(
            name="check",
            target="plaudit.shells.checking:COMMAND",
            summary="run the contract of a reward or a model against it",
        ),
        Entry(
            name="doctor",
            target="plaudit.shells.doctor:COMMAND",
            summary="what works on this machine, and what to do about the rest",
        ),
        Entry(
            name="pocket build",
            target="plaudit.shells.pocket:BUILD",
            summary="train the embedded models again, from nothing",
        ),
        Entry(
            name="pocket measure",
            target="plaudit.shells.pocket:MEASURE",
            summary="how good the embedded models are, against their bars",
        ),
        Entry(
            name="pocket show",
            target="plaudit.shells.pocket:SHOW",
            summary="draw a scene of the pocket world as its prompt says",
        ),
    ],
)


def console() -> None:
    """The `plaudit` program."""
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Now and then torch's own threads abort a process of several at its exit, with all its work done, and the
        # launcher calls the training failed. So nothing is torn down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, without the program's name; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except WrongUsage as error:
        _complain(str(error))
        return WRONG_USAGE
    except PlauditError as error:
        # The leader waits for a process that is out of memory, and is ended with it: that one speaks for itself.
        _complain(str(error), speaks=isinstance(error.__cause__, full_memory()))
    except KeyboardInterrupt:
        _complain("stopped by Ctrl-C; nothing was finished")
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): closing stdout must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _complain(what_failed(error))
    return FAILED


def overview(entries: Iterable[Entry] = COMMANDS) -> str:
    """What `plaudit` alone prints, about all commands or some."""
    rows = "\n".join(f"  {entry.name:<17}{entry.summary}" for entry in entries)
    return (
        "usage: plaudit COMMAND ...\n\n"
        "Reward-driven text-to-image generation.\n\n"
        f"commands:\n{rows}\n\n"
        "examples:\n"
        '  plaudit generate "three blue stars"      draw one picture and improve it under four rewards\n'
        "  plaudit list rewards                     what can judge a picture here\n"
        "  plaudit doctor                           what works on this machine\n\n"
        "Every command explains itself: plaudit COMMAND --help\n"
    )


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in HELP_FLAGS:
        print(overview(), end="")
        return DONE if arguments else WRONG_USAGE
    if arguments[0] == "--version":
        print(f"plaudit {__version__}")
        return DONE
    if len(arguments) == 2 and arguments[1] in HELP_FLAGS and _family(arguments[0]):
        print(overview(_family(arguments[0])), end="")
        return DONE
    entry, rest = find_command(arguments)
    command: Command = entry.resolve()
    if any(argument in HELP_FLAGS for argument in _before_separator(rest)):
        print(help_page(command), end="")
        return DONE
    _quieten()
    options = parse(command, rest)
    try:
        return command.run(options)
    except full_memory() as error:
        raise PlauditError(what_lacked(error) + _with_less_memory(command, options)) from error


def _with_less_memory(command: Command, options: object) -> str:
    """What of the command's flags takes less memory, as the rest of a sentence."""
    known = {field.name for field in fields(command.options)}
    if "memory" in known and _draws_tokens(options):
        known.remove("memory")
    # All that a reproduction measures is kept, in a folder of its own if none is named.
    keeps = getattr(options, "out", None) is not None or command.name == "reproduce"
    ways = {"batch_size": "a smaller --batch-size", "memory": "--memory GB", "device": "--device cpu"}
    found = " or ".join(way for name, way in ways.items() if name in known)
    return (f"; take {found}" if found else "") + ("; what --out holds already is kept" if keeps else "")


def _draws_tokens(options: object) -> bool:
    """Whether what is drawn with is a model whose memory is not planned."""
    from plaudit.generators.table import draws_tokens
    from plaudit.shells.drawing import chosen_model
    from plaudit.shells.options import DrawingOptions

    return isinstance(options, DrawingOptions) and draws_tokens(chosen_model(options).model)


def find_command(arguments: list[str]) -> tuple[Entry, list[str]]:
    """The command, which may be two words, and what follows it."""
    first = arguments[0].lower()
    if first in COMMANDS:
        return COMMANDS.find(first), arguments[1:]
    pairs = {entry.name.split()[1]: entry for entry in _family(first)}
    if not pairs:
        names = [entry.name.split()[0] for entry in COMMANDS]
        hint = nearest(first, names) or " See: plaudit --help"
        raise WrongUsage(f"no command named {arguments[0]!r}.{hint}")
    second = arguments[1] if len(arguments) > 1 else ""
    if second not in pairs:
        got = f", got {second!r}" if second else ""
        choices = " or ".join(pairs)
        raise WrongUsage(f"'plaudit {first}' is followed by {choices}{got}.{nearest(second, pairs)}")
    return pairs[second], arguments[2:]


def _family(word: str) -> list[Entry]:
    """The commands of two words that begin with this one."""
    return [entry for entry in COMMANDS if entry.name.startswith(word.lower() + " ")]


def _before_separator(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _quieten() -> None:
    """Model libraries talk on stderr and warn about their own future; a user's screen is for our words."""
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }.items():
        os.environ.setdefault(name, value)
    for package in ("transformers", "diffusers"):
        # Whoever called `main` may have imported it already, and then it reads no variable any more.
        if (module := sys.modules.get(f"{package}.utils.logging")) is not None:
            module.set_verbosity_error()
            module.disable_progress_bar()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _complain(sentence: str, *, speaks: bool = False) -> None:
    """Of several processes the first speaks for all, and one that `speaks` for itself too.

    A launcher ends them all when one ends: the others leave the first some time to say it.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        time.sleep(2)
        if not speaks:
            return
    print(f"plaudit: {sentence}", file=sys.stderr, flush=True)
