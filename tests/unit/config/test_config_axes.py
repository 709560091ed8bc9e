"""What a key varies over, in the grammar of the command line."""

import pytest

from twotower.commands.compose import load_settings
from twotower.commands.conf import CONF
from twotower.commands.overrides import is_swept, parse_axis, validate_overrides
from twotower.config.errors import InputError
from twotower.experiments.sweeps.axis import Axis


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("32,64", ("32", "64")),
        ("32, 64 ,128", ("32", "64", "128")),
        ("64,32", ("64", "32")),  # in the order that was typed
        ("-5,-3", ("-5", "-3")),
        ("1e-3,0.01", ("0.001", "0.01")),
        ("choice(a,b)", ("a", "b")),
        ("choice(1,[2,3])", ("1", "[2,3]")),
        ("sort(3,1,2)", ("1", "2", "3")),
        ("true,null", ("True", "null")),
        ("[64],[256,128]", ("[64]", "[256,128]")),  # commas in brackets part no choices
        ("{x:1,y:2},{x:3}", ("{x:1,y:2}", "{x:3}")),
        ("'a,b',c", ("'a,b'", "c")),  # nor do commas in quotes, which stay
        ('"a,b","c=d"', ('"a,b"', '"c=d"')),
    ],
)
def test_listed_values_are_choices(text: str, choices: tuple[str, ...]) -> None:
    assert parse_axis("x", text) == Axis("x", choices)
    assert is_swept(f"x={text}")


@pytest.mark.parametrize("text", ["32", "[1,2]", "[[1,2],[3]]", "'a,b'", "a b", "null", "${seed}"])
def test_one_value_is_no_sweep(text: str) -> None:
    assert not is_swept(f"x={text}")
    assert len(parse_axis("x", text).choices) == 1


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("range(1,5)", ("1", "2", "3", "4")),  # the end is no value
        ("range(3)", ("0", "1", "2")),
        ("range(1,10,step=3)", ("1", "4", "7")),
        ("range(5,1,-2)", ("5", "3")),
        ("range(-2,0)", ("-2", "-1")),
        ("range(0.5,2,0.5)", ("0.5", "1.0", "1.5")),
    ],
)
def test_ranges_list_their_values(text: str, choices: tuple[str, ...]) -> None:
    axis = parse_axis("x", text)
    assert axis.choices == choices
    assert is_swept(f"x={text}")


@pytest.mark.parametrize(
    ("text", "interval", "is_log"),
    [
        ("interval(0.1,0.9)", "(0.1, 0.9)", False),
        ("interval(1,9)", "(1.0, 9.0)", False),  # fractions too: a dropout may lie in interval(0, 1)
        ("int(interval(16,128))", "(16, 128)", False),
        ("tag(log, interval(1e-4, 1e-2))", "(0.0001, 0.01)", True),
        ("tag(log, int(interval(8, 512)))", "(8, 512)", True),
    ],
)
def test_intervals_have_bounds_type_and_scale(text: str, interval: str, is_log: bool) -> None:
    axis = parse_axis("x", text)
    assert (str(axis.interval), axis.is_log, axis.choices) == (interval, is_log, ())
    assert is_swept(f"x={text}")


EMPTY = ["", "''", '""', "'',32", '"",32', "range(3,3)", "range(5,1)", "loss=glob(zz*)"]


@pytest.mark.parametrize("text", EMPTY)
def test_an_empty_choice_is_refused_with_its_key(text: str) -> None:
    key, value = text.split("=") if text.startswith("loss") else ("embedding_dim", text)
    with pytest.raises(InputError, match=rf"^{key}: an empty choice in "):
        parse_axis(key, value)


@pytest.mark.parametrize("text", ["32,,64", "32,", ",32", "[1,2", "choice()", "a=b,c=d", "interval(1)"])
def test_unreadable_values_are_refused_with_their_key(text: str) -> None:
    assert not is_swept(f"embedding_dim={text}")
    with pytest.raises(InputError, match=r"^embedding_dim=.*(; write '?embedding_dim=|: an empty choice)"):
        parse_axis("embedding_dim", text)


@pytest.mark.parametrize("text", ["embedding_dim=32,,64", "embedding_dim=32,", "embedding_dim=,32"])
def test_an_empty_choice_on_the_command_line_is_named(text: str) -> None:
    (problem,), valid_overrides = validate_overrides([text], sweep=True)
    assert (problem.key, valid_overrides) == (text, [])
    assert problem.message.startswith("an empty choice between or after the commas")


def test_no_value_at_all_is_refused_by_its_key() -> None:
    with pytest.raises(InputError, match=r"\n  embedding_dim: expected a valid integer, got ''"):
        load_settings("train", ["embedding_dim="])


def test_a_group_varies_over_its_choices() -> None:
    assert parse_axis("loss", "in_batch_softmax,bce") == Axis("loss", ("in_batch_softmax", "bce"))
    everything = sorted(path.stem for path in (CONF / "index").glob("*.yaml"))
    assert parse_axis("index", "glob(*)") == Axis("index", tuple(everything))
    assert parse_axis("index", "glob(ivf_f*,exclude=*q*)") == Axis("index", ("ivf_flat",))


def test_each_value_of_a_group_must_be_one_of_its_choices() -> None:
    losses = ", ".join(sorted(path.stem for path in (CONF / "loss").glob("*.yaml")))
    (problem,), _ = validate_overrides(["loss=bce,bec"], sweep=True)
    assert problem.key == "loss"
    assert problem.message.startswith(f"unknown choice 'bec'; did you mean 'bce'? valid: {losses}")
    assert validate_overrides(["loss=bce,in_batch_softmax", "sweep=null,tpe"], sweep=True)[0] == []
