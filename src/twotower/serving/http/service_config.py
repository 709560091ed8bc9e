"""The settings of the service."""

from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt, MinLen
from pydantic import Field

from twotower.config.component import Config
from twotower.config.spec import NonNegativeInt, PositiveInt, Threads

Workers = Annotated[int, Gt(0), Le(256)]
HostName = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*)$")]
"""Such as shop.example or *.shop.example, without http:// and without a port."""


class ServiceConfig(Config):
    """What `conf/serve.yaml` sets."""

    bundle: Annotated[str, MinLen(1)]
    """Folder of a run or of a bundle."""
    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[NonNegativeInt, Lt(2**16)] = 8080
    """TCP port to listen on."""
    store: str | None = None
    """File of live changes; None for live.sqlite in the run's folder, "" to store none."""
    bundles_root: str | None = None
    """Folder of the runs that POST /reload may name; None for the folder that contains the run."""
    allow_rejected_index: bool = False
    """Serve a bundle although its index was rejected."""
    api_keys_file: str = ""
    """File with lines `read <key>` or `write <key>`; "" for no keys: every client may read and write."""
    allowed_hosts: list[HostName] = Field(default_factory=list)
    """Names of this service besides localhost, host and IP addresses; `*` for every name."""
    cors_origins: list[str] = Field(default_factory=list)
    """Origins whose pages may send requests, such as https://shop.example."""
    max_connections: PositiveInt = 700
    """Open connections of a process; more get 503. Each needs an open file (`ulimit -n`)."""
    max_body_bytes: PositiveInt = 1_000_000
    """Largest body of a request."""
    max_batch: PositiveInt = 256
    """Requests in one body of /recommend/batch."""
    threads: Threads = 1
    """Threads of one forward pass and one search."""
    workers: Workers = 1
    """Processes on one port, each with the whole bundle."""
    console: Literal["full", "quiet", "jsonl"] = "full"
    """How requests are logged, see `AccessLog`."""
    debug: bool = False
    """Show tracebacks."""
    trusted_packages: list[str] = Field(default_factory=list)
    """Packages besides twotower whose classes the files of bundles may name."""
