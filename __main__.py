"""`python -m collabplan`: the command line, where the `collabplan` script is not on the PATH."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.argv[0] = "collabplan"  # as provenance names the command
    main()
