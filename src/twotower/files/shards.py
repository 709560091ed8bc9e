"""Shares of the rows of a file that several machines write, each into its own part."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from twotower.config.errors import InputError
from twotower.files.part_files import PARQUET

PART = re.compile(r"part-(\d+)-of-(\d+)", re.ASCII)


@dataclass(frozen=True, order=True)
class Shard:
    """The share `number`, from 1, of `count` equal contiguous shares."""

    number: int
    count: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a text such as `3/16`. Raises InputError."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value), re.ASCII)
        shard = cls(*map(int, match.groups())) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            example = "shard=1/16 for the first of 16 shares, up to shard=16/16"
            raise InputError(f"shard={value}: expected k/n, with k from 1 to n; type {example}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """Name of the part without a suffix; the names of all parts sort by number."""
        return f"part-{self.number:0{len(str(self.count))}}-of-{self.count}"

    def positions(self, num_rows: int) -> range:
        """Return the positions of the share, from 0; the sizes of shares differ by at most 1."""
        first, stop = (number * num_rows // self.count for number in (self.number - 1, self.number))
        return range(first, stop)

    def part(self, folder: Path) -> Path:
        """Return the path of the part in the folder `out`. Raises InputError if other parts are there."""
        if folder.suffix == PARQUET or folder.is_file():
            example = f"out={folder.with_suffix('')}_parts"
            raise InputError(f"out={folder}: with shard, expected a folder for all parts; type {example}")
        for other, path in list_parts("out", folder).items():
            if other.count != self.count:
                example = f"shard={min(self.number, other.count)}/{other.count}"
                raise InputError(
                    f"out={folder}: {path.name} is one of {other.count} parts, and shard={self} one of "
                    f"{self.count}; type {example}, or name another folder"
                )
        return folder / f"{self.name}{PARQUET}"


def list_parts(key: str, folder: Path) -> dict[Shard, Path]:
    """Return the parts in a folder by number; `key` names the folder in the error about another file."""
    parts = {}
    for path in folder.glob(f"[!.]*{PARQUET}"):
        match = PART.fullmatch(path.stem)
        shard = Shard(*map(int, match.groups())) if match else None
        if shard is None or path.name != f"{shard.name}{PARQUET}":
            raise InputError(
                f"{key}={folder}: {path.name} is not the name of a part, such as "
                f"{Shard(1, 16).name}{PARQUET}; move it out of the folder"
            )
        parts[shard] = path
    return dict(sorted(parts.items()))


def all_parts(key: str, folder: Path, command: str) -> dict[Path, Shard]:
    """Return the parts of a folder in order.

    Args:
        key: names the folder in errors.
        command: writes the parts, with `shard=k/n` at its end.

    Raises:
        InputError: a part is missing, or n is not unique.
    """
    parts = list_parts(key, folder)
    counts = sorted({shard.count for shard in parts})
    if len(counts) > 1:
        names = " and ".join(f"part-*-of-{count}" for count in counts)
        raise InputError(f"{key}={folder}: has {names}; expected one number of parts; move the others away")
    if not parts:
        raise InputError(f"{key}={folder}: has no finished part; type: {command} shard=1/n, up to shard=n/n")
    shards = [Shard(number, counts[0]) for number in range(1, counts[0] + 1)]
    if missing := [shard for shard in shards if shard not in parts]:
        names = ", ".join(f"{shard.name}{PARQUET}" for shard in missing[:5]) + (
            ", ..." if missing[5:] else ""
        )
        raise InputError(
            f"{key}={folder}: {len(parts)} of {counts[0]} parts are finished; missing: {names}; type: "
            f"{command} shard={missing[0]}"
        )
    return {path: shard for shard, path in parts.items()}
