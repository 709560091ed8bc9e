"""Write the best items of all or some users of a run to a Parquet file: user_id, rank, item_id, score.

  twotower recommend run=outputs/default/<time> users=all k=100 out=top.parquet
  twotower recommend run=outputs/default/<time> users=ids.csv where.price.max=5 out=cheap.parquet
  twotower recommend run=outputs/default/<time> users=[12,15] deny=[7] out=two.parquet

The answers, and the filters, are the service's. The file is there when it is whole; after a kill the same
command goes on. One that is there is never overwritten.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Write the best items of users."""
    from twotower.bundle.manifest import bundle_in, enclosing_run, read_manifest
    from twotower.bundle.notices import bundle_warnings
    from twotower.config.exits import DONE, stoppable
    from twotower.files.part_files import RESUMES, check_out

    bundle, out = bundle_in(Path(settings["run"])), Path(settings["out"])
    check_out(out)
    manifest = read_manifest(bundle)  # report a wrong folder before torch is loaded
    for warning in bundle_warnings(manifest, enclosing_run(bundle)):
        print(f"warning: {warning}", file=sys.stderr)
    from twotower.serving.requests import Request
    from twotower.serving.top_lists import write_top_lists

    keys = ("k", "allow", "deny", "where", "exclude_seen", "request_time", "context")
    rules = {key: settings[key] for key in keys}
    with stoppable(lambda: RESUMES):
        print(write_top_lists(bundle, out, settings["users"], Request(**rules), settings["trusted_packages"]))
    return DONE
