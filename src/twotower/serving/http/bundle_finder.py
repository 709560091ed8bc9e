"""From a folder to the bundle that is served: exported if need be, refused where its index was rejected."""

from collections.abc import Callable
from pathlib import Path

from twotower.bundle.manifest import bundle_in, read_manifest
from twotower.bundle.notices import refuse_rejected_index
from twotower.bundle.onnx_export import ensure_exported
from twotower.serving.http.service_config import ServiceConfig


def bundle_finder(config: ServiceConfig) -> Callable[[Path], Path]:
    """Return a function from the folder of a run or a bundle to its exported bundle.

    It raises InputError: there is no bundle, it is damaged, or its index was rejected and the settings do not
    allow that.
    """

    def find(folder: Path) -> Path:
        source = bundle_in(folder)
        if not config.allow_rejected_index:
            refuse_rejected_index(source, read_manifest(source))
        return ensure_exported(source, config.trusted_packages)

    return find
