"""`twotower clean`, from a checkout; --help says more."""

from twotower.commands.main import main

if __name__ == "__main__":
    main("clean")
