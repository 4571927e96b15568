"""`python -m twotower` is `twotower`."""

from twotower.cli import main

if __name__ == "__main__":
    main()
