"""`python -m collabplan`: the command line, where the `collabplan` script is not on the PATH."""

from collabplan.cli.main import main

if __name__ == "__main__":
    main()
