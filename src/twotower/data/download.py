"""Files of public data sets: from `TWOTOWER_DATA_DIR`, from the cache, or downloaded and verified."""

import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

from twotower.config.errors import InputError
from twotower.files.atomic import file_sha256, replace_folder, temporary_folder

DATA_VARIABLE = "TWOTOWER_DATA_DIR"
CACHE_VARIABLE = "TWOTOWER_CACHE_DIR"
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Archive:
    """A zip that holds a folder of files, which has its name also in the cache and in the user's folder."""

    name: str
    base_url: str
    zip_hash: str  # `algorithm:hexadecimal`
    files: Mapping[str, str]  # the files that are needed -> their SHA-256


def cache_folder() -> Path:
    """Return the folder of downloaded and computed files that runs share: `TWOTOWER_CACHE_DIR`."""
    text = os.environ.get(CACHE_VARIABLE)
    return Path(text).expanduser() if text else Path.home() / ".cache" / "twotower"


def data_folder_problem() -> str | None:
    """Return a message if `TWOTOWER_DATA_DIR` is not a folder, else None."""
    text = os.environ.get(DATA_VARIABLE)
    if not text or Path(text).expanduser().is_dir():
        return None
    return f"{DATA_VARIABLE}={text} is not a folder; correct it, or unset it to download"


def fetch(archive: Archive) -> dict[str, Path]:
    """Return the paths of the files of an archive; downloads them if necessary.

    Raises InputError if the download fails or a file is not the published one; the message tells where to put
    files by hand.
    """
    final, text = cache_folder() / archive.name, os.environ.get(DATA_VARIABLE)
    for folder in (*([Path(text).expanduser() / archive.name] if text else []), final):
        if all((folder / name).is_file() for name in archive.files):
            return _verified(archive, folder)
    with temporary_folder(final) as temporary:
        _download(archive, temporary)
        _verified(archive, temporary / archive.name)
        replace_folder(temporary / archive.name, final)
    return {name: final / name for name in archive.files}


def _verified(archive: Archive, folder: Path) -> dict[str, Path]:
    for name, expected in archive.files.items():
        digest = file_sha256(folder / name)
        if digest != expected:
            raise InputError(
                f"{folder / name}: is not the published file of {archive.name}: its SHA-256 is {digest}, "
                f"expected {expected}; remove the file to have it downloaded, or put the published one there"
            )
    return {name: folder / name for name in archive.files}


def _download(archive: Archive, folder: Path) -> None:
    logging.getLogger("pooch").setLevel(logging.WARNING)
    url = f"{archive.base_url}/{archive.name}.zip"
    try:
        downloads, loader = cache_folder() / "downloads", pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)
        path = pooch.retrieve(url, archive.zip_hash, f"{archive.name}.zip", downloads, downloader=loader)
    except (OSError, ValueError) as error:  # of a request, or of the hash
        example = cache_folder() / archive.name / next(iter(archive.files))
        raise InputError(
            f"{url}: the download failed ({error}); to do it by hand, unpack it so that {example} is there, "
            f"or point {DATA_VARIABLE} at a folder that holds {archive.name}/"
        ) from error
    with zipfile.ZipFile(path) as content:
        for name in archive.files:
            content.extract(f"{archive.name}/{name}", folder)
