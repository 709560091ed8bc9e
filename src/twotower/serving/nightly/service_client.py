"""A client of a running service: asks for its bundle, and switches it to another."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twotower.bundle.layout import BUNDLE, MANIFEST
from twotower.bundle.manifest import bundle_version, read_manifest
from twotower.config.errors import InputError

ANSWER_SECONDS, SWITCH_SECONDS = 30, 600


class ServiceClient:
    """A running service and the folder of the runs that it can serve, the `bundles_root` of the service.

    The first `write` key of the service's key file is used, if it has one.
    """

    def __init__(self, url: str, bundles: Path, api_keys_file: str = "") -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"service={url}: expected a URL such as http://127.0.0.1:8080")
        self._url, self._bundles = url.rstrip("/"), bundles
        self._headers = {"Content-Type": "application/json"}
        if api_keys_file:
            self._headers["Authorization"] = f"Bearer {_write_key(Path(api_keys_file))}"

    def version(self) -> str:
        """Return the served version. Raises InputError: no answer, or not the answer of this service."""
        return self._request("GET", "/readyz", None, ANSWER_SECONDS)

    def run(self) -> Path:
        """Return the run whose bundle is served. Raises InputError: the folder does not contain it."""
        version = self.version()
        folders = self._bundles.iterdir() if self._bundles.is_dir() else ()
        for run in (each for each in folders if version.startswith(each.name)):
            bundle = run / BUNDLE
            if (bundle / MANIFEST).is_file() and version == bundle_version(bundle, read_manifest(bundle)):
                return run
        raise InputError(
            f"bundles={self._bundles}: the service at {self._url} serves {version}, which is no run in "
            "this folder; name the bundles_root of the service"
        )

    def publish(self, run: Path) -> str:
        """Switch the service to the bundle of a run; returns the new version. Raises InputError."""
        return self._request("POST", "/reload", {"bundle": run.name}, SWITCH_SECONDS)

    def _request(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> str:
        """Return the version in the answer of the service."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return str(json.load(answer)["version"])
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise InputError(f"{method} {self._url}{path}: {error.code} {text:.500}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"service={self._url}: {method} {path} failed ({error!r}); is it a running service?"
            ) from error


def _write_key(path: Path) -> str:
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"api_keys_file: {path} cannot be read ({error})") from error
    keys = [words[1] for words in lines if len(words) == 2 and words[0] == "write"]
    if not keys:
        raise InputError(f"api_keys_file: {path} has no line `write <key>`; publishing requires a write key")
    return keys[0]
