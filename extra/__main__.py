"""`python -m extra` is `extra`."""

import sys

from extra.commands import main

if __name__ == "__main__":
    sys.exit(main())
