"""Infers the label column of a log."""

from collections.abc import Mapping
from typing import Any

from twotower.commands.init.role_names import Roles, chosen_column, free_columns, named_columns
from twotower.commands.init.sample import Column, Sample
from twotower.config.problems import Problem

BINARY, SIGNED = frozenset({0, 1}), frozenset({-1, 0, 1})
SIGNED_THRESHOLD = 1.0
"""Threshold of labels -1 and 1; 0 is not positive."""
BECAUSE = {BINARY: "it holds 0 and 1", SIGNED: "it holds -1 and 1: 1 is positive, what is lower negative"}


def take_label(log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    """Give the role `label` to the column that the user or its name and values indicate.

    A name such as `click_os` suggests a label only where the values are 0 and 1, or -1 and 1; the name of a
    rating does with any numbers, from a threshold that the user must give. Without a name, values of -1 and 1
    suffice; 0 and 1 do not, as any flag has them.
    """
    named = chosen_column("label", log, flags)
    if flags.get("label") is not None:
        columns = [] if named is None else [named]
    else:
        columns = [*named_columns("choice", log, roles), *named_columns("rating", log, roles)]
        columns = [each for each in dict.fromkeys(columns) if _suggests(each, log, roles)]
        columns = columns or [each for each in free_columns(log, roles) if scale_of(each) is SIGNED]
    for column in columns:
        if "label" in roles.columns:
            first = roles.columns["label"]
            roles.questions.append(Problem("--label", f"{first!r} or {column.examples()}? add it"))
        else:
            _take(column, named is not None, roles)


def scale_of(column: Column) -> frozenset[int] | None:
    """Return `BINARY` or `SIGNED` if the values are such labels, else None."""
    if column.numbers is None or len(column.distinct) < 2:
        return None
    values = set(column.numbers.unique())
    return next((scale for scale in (BINARY, SIGNED) if values <= scale), None)


def _suggests(column: Column, log: Sample, roles: Roles) -> bool:
    """Return whether a column with the name of a label may be one; else record why it is left out."""
    if scale_of(column) or (column.numbers is None and len(column.distinct) == 2):
        return True
    if column.numbers is not None and column in named_columns("rating", log, roles):
        return True
    kind = "words" if column.numbers is None else "numbers"
    number = len(column.distinct)
    roles.left_out[column.name] = f"it is called a label, but holds {number} different {kind}, not 0 and 1"
    return False


def _take(column: Column, is_set: bool, roles: Roles) -> None:
    numbers, scale = column.numbers, scale_of(column)
    because = "set by a flag" if is_set else ""
    if numbers is None:
        remedy = "write 1 for positive and 0 for negative, or add --label none if every row is positive"
        roles.questions.append(Problem("--label", f"{column.examples()} holds no numbers; {remedy}"))
    elif roles.threshold is not None:
        roles.take("label", column.name, f"numbers; positive from {roles.threshold:g} on, set by a flag")
    elif scale is not None:
        roles.threshold = SIGNED_THRESHOLD if scale is SIGNED else None
        roles.take("label", column.name, because or BECAUSE[scale])
    else:
        span = f"{column.name!r} holds {numbers.min():g} to {numbers.max():g}"
        remedy = "add --threshold NUMBER, or --label none if every row is positive"
        roles.questions.append(
            Problem("--label", f"{span}: from which value on is an item positive? {remedy}")
        )
