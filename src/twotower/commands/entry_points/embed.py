"""Write the embeddings of all users or items of a run to a Parquet file: ids, and vector.

  twotower embed run=outputs/default/<time> side=items out=items.parquet
  twotower embed run=outputs/default/<time> side=users out=users.parquet
  twotower embed run=outputs/default/<time> side=items out=item_parts shard=3/16    # machine 3 of 16
  twotower embed run=outputs/default/<time> side=items out=item_parts shards=16 launcher=ray    # all 16

The dot product of a user's and an item's vector is the score. The file is there when it is whole; after a
kill the same command goes on. One that is there is never overwritten.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Write the embeddings."""
    from twotower.bundle.manifest import bundle_in, read_manifest
    from twotower.config.errors import InputError
    from twotower.config.exits import DONE, stoppable
    from twotower.files.part_files import RESUMES, check_out
    from twotower.files.shards import Shard

    bundle, out = bundle_in(Path(settings["run"])), Path(settings["out"])
    if settings["shards"] is not None:
        if settings["shard"] is not None:
            raise InputError(
                "shard, shards: shards=16 writes all 16 shards, and shard=3/16 one; type one of them"
            )
        from twotower.experiments.launchers.launcher import Launcher
        from twotower.jobs.embed_shards import embed_shards

        payload = {key: settings[key] for key in ("side", "context", "trusted_packages")}
        payload |= {"bundle": str(bundle.absolute()), "folder": str(out.absolute())}
        print(embed_shards(Launcher.Config.model_validate(settings["launcher"]), settings["shards"], payload))
        return DONE
    for text in overrides:
        if text.startswith(("launcher=", "launcher.")):
            raise InputError(
                f"{text}: a launcher runs the shards of shards=n; type shards=16, or leave it out"
            )
    shard = None if settings["shard"] is None else Shard.parse(settings["shard"])
    out = shard.part(out) if shard else out
    check_out(out)
    read_manifest(bundle)  # a wrong folder is reported before torch is loaded
    from twotower.bundle.vectors import write_vectors

    with stoppable(lambda: RESUMES):
        side, context, trusted = (settings[key] for key in ("side", "context", "trusted_packages"))
        print(write_vectors(bundle, side, out, trusted, context, shard))
    return DONE
