"""Export live changes, train further, compare with the served towers, and publish unless they are worse.

  twotower nightly bundles=outputs/shop store=live.sqlite
  twotower nightly bundles=outputs/shop store=live.sqlite interactions=today.csv metric=ndcg_at_10
  twotower nightly bundles=outputs/shop store=live.sqlite max_loss=0.01

Asks the service for its run, exports the live changes to a new folder of `nights`, trains the towers of that
run further, and compares both on the newest test window. If the new towers are not significantly worse, the
service switches to them; otherwise it is unchanged and the exit status is 5. If no interaction is new,
nothing is trained and the exit status is 0. See docs/nightly.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Run the nightly update."""
    from twotower.serving.nightly.service_client import ServiceClient

    service = ServiceClient(settings["service"], Path(settings["bundles"]), settings["api_keys_file"])
    service.run()  # an unreachable service is an error before torch is imported
    from twotower.serving.nightly.publish_night import nightly

    return nightly(settings, service)
