"""`python -m tpdyn` is the same as the command `tpdyn`."""

from tpdyn.cli import main

if __name__ == "__main__":
    main()
