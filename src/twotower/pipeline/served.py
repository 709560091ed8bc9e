"""A service that runs, as who publishes to it sees it: which bundle it serves, and the switch to another."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.bundle.layout import BUNDLE, EXPORTED, MANIFEST
from twotower.bundle.manifest import read_manifest, version_of
from twotower.config.errors import InputError

ANSWER_SECONDS, SWITCH_SECONDS = 30, 600


class Served:
    """A service and the folder of the runs that it may switch to.

    `url` is where it answers, `bundles` the folder (`bundles_root` of the service), and `api_keys_file` the
    service's own, of which the first `write` key is used; "" where it has none.
    """

    def __init__(self, url: str, bundles: Path, api_keys_file: str = "") -> None:
        self._url = url.rstrip("/")
        self._bundles = bundles
        self._headers = {"Content-Type": "application/json"}
        if api_keys_file:
            self._headers["Authorization"] = f"Bearer {_write_key(Path(api_keys_file))}"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Served":
        """Read it from the settings of a command."""
        return cls(settings["service"], Path(settings["bundles"]), settings["api_keys_file"])

    def version(self) -> str:
        """Return the version that is served. Raises InputError: nobody answers, or not as we do."""
        return str(self._asked("GET", "/readyz", None, ANSWER_SECONDS)["version"])

    def run(self) -> Path:
        """Return the run whose bundle is served. Raises InputError: it is not in that folder."""
        version = self.version()
        folders = self._bundles.iterdir() if self._bundles.is_dir() else ()
        for run in (each for each in folders if version.startswith(each.name)):
            bundles = (path for path in (run / EXPORTED, run / BUNDLE) if (path / MANIFEST).is_file())
            if version in (version_of(bundle, read_manifest(bundle)) for bundle in bundles):
                return run
        raise InputError(
            f"bundles={self._bundles}: the service at {self._url} serves {version}, which is no run in "
            "there; name its bundles_root"
        )

    def publish(self, run: Path) -> str:
        """Switch to a run's bundle, and return the version that is served then. Raises InputError."""
        return str(self._asked("POST", "/reload", {"bundle": run.name}, SWITCH_SECONDS)["version"])

    def _asked(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
        where = f"{self._url}{path}"
        if not where.startswith(("http://", "https://")):
            raise InputError(f"service={self._url}: expected its address, such as http://127.0.0.1:8080")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(where, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise InputError(f"{method} {where}: {error.code} {said:.500}") from error
        except (OSError, ValueError) as error:
            raise InputError(
                f"service={self._url}: {method} {path} failed ({error}); is it running?"
            ) from error
        if not isinstance(found, dict) or "version" not in found:
            raise InputError(f"service={self._url}: {path} did not answer as this service does")
        return found


def _write_key(path: Path) -> str:
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"api_keys_file: {path} cannot be read ({error})") from error
    keys = [words[1] for words in lines if len(words) == 2 and words[0] == "write"]
    if not keys:
        raise InputError(f"api_keys_file: {path} has no line `write <key>`, and only such a key may publish")
    return keys[0]
