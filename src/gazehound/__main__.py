"""``python -m gazehound``: the command line, for launchers that start modules (torchrun)."""

from gazehound.cli import main

if __name__ == "__main__":
    main()
