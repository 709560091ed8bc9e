"""`python -m twotower` is `twotower`."""

from twotower.commands.main import main

main()
