"""JSON and YAML that anybody may have written: read as plain values, or refused in one way."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.experiments.runs.result import read_result
from twotower.experiments.runs.run import Run
from twotower.files.plain_values import load_yaml, read_json, read_yaml, yaml_text

BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
)
BAD_YAML: dict[str, tuple[bytes, str]] = {
    "a bomb": (BOMB.encode(), r"line 2: an alias, \*a0; write the values out"),
    "itself": (b"a: &a [*a]", r"an alias, \*a"),
    "not UTF-8": (b"name: caf\xe9\n", "byte 9 is not UTF-8"),
    "a mark of another encoding": (b"\xff\xfea\x00", "byte 0 is not UTF-8"),
    "code": (b"a: !!python/object/apply:os.system ['true']", "line 1: could not determine a constructor"),
    "no number": (b"a: !!int ''", "not readable as YAML"),
    "no truth": (b"a: !!bool x", "not readable as YAML"),
    "no day": (b"a: 2020-99-99", "month must be in 1..12"),
    "a day": (b"a: 2020-01-01", "has type date, which settings cannot have; put it in quotes"),
    "bytes": (b"a: !!binary eA==", "has type bytes, which settings cannot have"),
    "a key that is a number": (b"1: a", "key 1 is not text; put it in quotes"),
    "a key that is a mapping": (b"? {a: 1}\n: b", "unhashable"),
    "endless digits": (b"a: " + b"9" * 6000, "digits"),
    "NUL": (b"a: \x00", "not readable as YAML"),
}


@pytest.mark.parametrize("case", BAD_YAML.values(), ids=BAD_YAML)
def test_yaml_that_is_refused(tmp_path: Path, case: tuple[bytes, str]) -> None:
    content, why = case
    (tmp_path / "config.yaml").write_bytes(content)
    for read in (lambda: read_yaml(tmp_path / "config.yaml", "repair it"), lambda: Run.open(tmp_path)):
        with pytest.raises(InputError, match=why) as refused:
            read()
        assert str(refused.value).startswith(f"{tmp_path}/config.yaml: ")
        assert "repair it" in str(refused.value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(values=PLAIN)
def test_yaml_is_read_as_written_without_aliases(
    values: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.yaml"
    path.write_text(yaml_text({"one": values, "two": values}), encoding="utf-8", newline="")
    assert load_yaml(path) == {"one": values, "two": values}


@pytest.mark.parametrize("content", [b"{", b"", b'"\xe9"', b"[" * 100_000, b"9" * 5000, b"nul"])
def test_json_that_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(InputError, match=r"result\.json: not readable as JSON \(.+\); mend it"):
        read_json(tmp_path / "result.json", "mend it")
    with pytest.raises(InputError, match=r"result\.json: damaged \(.+\); delete this file"):
        read_result(tmp_path)
