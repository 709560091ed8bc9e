"""From a folder to the bundle that is served, which is refused if its index was rejected."""

from collections.abc import Callable
from pathlib import Path

from twotower.bundle.manifest import bundle_in, read_manifest
from twotower.bundle.notices import refuse_rejected_index
from twotower.serving.http.service_config import ServiceConfig


def bundle_finder(config: ServiceConfig) -> Callable[[Path], Path]:
    """Return a function from the folder of a run or a bundle to the bundle.

    It raises InputError: there is no bundle, or its index was rejected and the settings do not allow that.
    """

    def find(folder: Path) -> Path:
        bundle = bundle_in(folder).absolute()
        manifest = read_manifest(bundle)
        if not config.allow_rejected_index:
            refuse_rejected_index(bundle, manifest)
        return bundle

    return find
