"""A night: live changes into the log, towers trained further, compared with those served, and published.

  twotower nightly bundles=outputs/shop store=live.sqlite
  twotower nightly bundles=outputs/shop store=live.sqlite interactions=today.csv metric=ndcg_at_10

Asks the service which run it serves, exports its live changes into a new folder of `nights`, goes on from
that run, and compares both on the newest window. Where the new towers are not significantly worse, they are
served from then on; otherwise the service goes on as it did, and the exit status is 5. See docs/nightly.md.
"""

from collections.abc import Sequence
from typing import Any

from twotower.config.exits import leave_on_signals


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Do what a night has to do."""
    from twotower.pipeline.served import Served

    Served.of(settings).run()  # where nobody answers, that is told before torch is loaded
    from twotower.pipeline.night import Night, nightly

    return nightly(Night.of(settings))


def run() -> None:
    """Run this command and leave with its exit status."""
    leave_on_signals()  # first of all: the rest takes a while to import
    from twotower.commands.run_command import run_command

    run_command("nightly", task, __doc__ or "")
