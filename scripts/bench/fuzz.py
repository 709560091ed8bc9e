"""Does any request make the service fail, or take memory that it does not give back?

  python scripts/bench/fuzz.py outputs/default/<run> --seconds 60

Requests are drawn from the service's own OpenAPI page, and each of their bodies is sent broken too: cut off,
with huge numbers, deep nesting, wrong unicode. The same ones are sent round after round, so that what they
write is soon written; from the second round on memory should stay where it is. The exit status is 1 where an
answer is 500 or above, or memory has grown by more than a tenth.
"""

import argparse
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from requests import PreparedRequest
from schemathesis.core.result import Ok

from service import serving  # isort: skip

EXAMPLES, LARGEST_GROWTH = 40, 0.1
BROKEN = (
    b"[" * 5000,
    b"[" * 500 + b"]" * 500,
    b'{"user_id": ' + b"9" * 400 + b"}",
    b'{"k": 1e999, "user_id": -1e308}',
    b'{"features": {"a": "\\ud800"}}',
    b'{"features": {"\xff\xfe": "\xed\xa0\x80"}}',
    b'{"history": ["' + b"x" * 100_000 + b'"]}',
    b"\x00\xff" * 100,
    b"NaN",
    b"",
)


def drawn(url: str) -> list[PreparedRequest]:
    """Return requests to every endpoint, as its description has them and not quite so."""
    found: list[PreparedRequest] = []
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for operation in (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def collect(case: Any) -> None:
            found.append(case.call().request)

        collect()
    return found


def broken(wanted: list[PreparedRequest]) -> list[PreparedRequest]:
    """Return the requests with a body once more, with bodies that are none."""
    found = []
    for place, each in enumerate(request for request in wanted if request.body):
        body = each.body if isinstance(each.body, bytes) else str(each.body).encode("utf-8", "replace")
        for wrong in (body[: len(body) // 2], BROKEN[place % len(BROKEN)]):
            copy = each.copy()
            copy.body = wrong
            copy.headers.update({"Content-Type": "application/json", "Content-Length": str(len(wrong))})
            found.append(copy)
    return found


def resident_bytes(url: str) -> float:
    lines = requests.get(f"{url}/metrics", timeout=30).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    given_arguments = parser.parse_args()
    statuses: Counter[int] = Counter()
    memory: list[float] = []
    with serving(given_arguments.bundle, "console=quiet") as url, requests.Session() as session:
        wanted = drawn(url)
        wanted += broken(wanted)
        until, rng = time.monotonic() + given_arguments.seconds, random.Random(0)
        while time.monotonic() < until or len(memory) < 3:
            rng.shuffle(wanted)
            for request in wanted:
                answer = session.send(request, timeout=60)
                statuses[answer.status_code] += 1
                if answer.status_code >= 500:
                    print(f"{answer.status_code}: {request.method} {request.url} {request.body!r:.200}")
            memory.append(resident_bytes(url))
    growth = memory[-1] / memory[1] - 1
    told = memory[:: max(1, len(memory) // 10)]
    print(f"{sum(statuses.values()):,} requests, {len(wanted):,} different ones")
    print(f"answers by status: {dict(sorted(statuses.items()))}")
    print(f"memory after some of {len(memory)} rounds, MB: {', '.join(f'{each / 1e6:.0f}' for each in told)}")
    print(f"grown by {growth:.1%} since the second round")
    raise SystemExit(growth > LARGEST_GROWTH or any(status >= 500 for status in statuses))


if __name__ == "__main__":
    main()
