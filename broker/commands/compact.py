"""`extra-broker compact`: gives the room that a store no longer needs back to the file system."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from broker.commands.options import HELP_OPTION, UsageError, help_table, parse_arguments
from broker.commands.storing import CONFIG_OPTION, STORE_OPTION, open_store, store_path
from broker.commands.streams import warn, write_out
from broker.engines import StoreRefused
from broker.engines.failures import reason_of

__all__ = ["run"]

OPTIONS: Final = (STORE_OPTION, CONFIG_OPTION, HELP_OPTION)

HELP: Final = """\
Usage: extra-broker compact --store PATH [OPTIONS]

Make a store as small as what is in it. What retention evicts leaves room in the file, which is
used again but not given back. No broker may have the store open, and the disk needs room for
another copy meanwhile.

Options
{options}

Exit status
  0  it is compact
  1  it cannot be opened or written, and is as it was
  2  called wrongly
"""


def run(words: Sequence[str]) -> int:
    """Run the command with what follows its name, and return the exit status.

    Raises:
        UsageError: the command line makes no sense.
        StreamError: standard output cannot be written.
    """
    given, arguments = parse_arguments(words, OPTIONS)
    options = dict(given)
    if "--help" in options:
        write_out(HELP.format(options=help_table(OPTIONS)).encode())
        return 0
    if arguments:
        raise UsageError(f"compact takes no argument {arguments[0]!r}")
    path = store_path(options)
    try:
        with open_store(path) as store:
            before = store.file_bytes + store.wal_bytes
            store.compact()
            after = store.file_bytes + store.wal_bytes
    except StoreRefused as error:
        warn(str(error))
        return 1
    except sqlite3.Error as error:
        warn(f"{path} cannot be compacted: {reason_of(error)}")
        return 1
    write_out(f"{path} has {after:,} bytes, and had {before:,}\n".encode())
    return 0
