"""The command line of `extra-broker`: finds the command, and says what is wrong with how it was called."""

import signal
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

COMMANDS: Final = ("serve", "pub", "sub", "topics", "export", "import", "compact", "check", "policy")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 it could not be done, 2 called wrongly.

    `argv` is what follows the program's name, by default that of this process. From here on Ctrl-C ends the
    process at once, without a traceback; a command that has things to put in order takes SIGINT itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as for `command &`
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from broker.commands.options import UsageError  # only now: until here Ctrl-C would leave a traceback
    from broker.commands.streams import StreamError, warn
    from broker.suggestions import suggestion

    words = list(sys.argv[1:] if argv is None else argv)
    command = words.pop(0) if words and not words[0].startswith("-") else "serve"
    try:
        if command == "serve":
            from broker.commands.serve import run
        elif command == "pub":
            from broker.commands.pub import run
        elif command == "sub":
            from broker.commands.sub import run
        elif command == "topics":
            from broker.commands.topics import run
        elif command == "export":
            from broker.commands.export import run
        elif command == "import":
            from broker.commands.importing import run
        elif command == "compact":
            from broker.commands.compact import run
        elif command == "check":
            from broker.commands.check import run
        elif command == "policy":
            from broker.commands.policy import run
        else:
            hint = suggestion(command, COMMANDS, f"it is one of {', '.join(COMMANDS)}")
            raise UsageError(f"no command {command!r}: {hint}")
        return run(words)
    except UsageError as error:
        warn(str(error))
        return 2
    except StreamError as error:
        warn(str(error))
        return 1
