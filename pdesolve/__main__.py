"""``python -m pdesolve`` is the command ``pdesolve``."""

import sys

from pdesolve.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
