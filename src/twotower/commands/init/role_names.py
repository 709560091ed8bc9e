"""Roles of the columns of a log, and words in column names that suggest each role."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twotower.commands.init.sample import Column, Sample
from twotower.config.problems import Problem

WORDS = {
    "user": """user users uid customer customers client visitor member account buyer reviewer reader listener
        student person patient household kunde kunden käufer nutzer benutzer besucher mitglied utilisateur
        usuario cliente 用户 用户id""",
    "item": """item items iid sku ean product products article movie film book song track artist asin
        parent isbn business listing ad offer content news video game recipe stock stockcode artikel produkt
        ware waren buch lied titel produit producto 商品 商品id 物品""",
    "time": """time timestamp ts date datetime created unixreviewtime unixtime when zeit zeitpunkt
        zeitstempel datum kaufdatum bestelldatum fecha heure 时间 时间戳""",
    "choice": "clicked click liked like purchased bought y reward feedback",
    "rating": "label target rating ratings score stars overall grade bewertung note sterne",
    "event": "event action behavior behaviour type interaction ereignis aktion vorgang 行为",
    "context": """device platform channel os browser page country region store hour weekday gerät geraet
        kanal land filiale stunde""",
    "split": "split fold set part",
}
"""Role -> words. A label is a `choice` (0 or 1) or a `rating` (any numbers)."""
NONE = "none"


@dataclass
class Roles:
    """The role of each column of a log, questions for the user, and the columns that have no role.

    Attributes:
        columns: role -> column.
        reasons: role -> reason.
        unit: of the times.
        threshold: labels from here on are positive; None where labels are 0 and 1.
        events: event type -> its role.
        context: columns of the request's context.
        questions: questions to the user.
        left_out: column -> reason.
    """

    columns: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unit: str = "s"
    threshold: float | None = None
    events: dict[str, str] = field(default_factory=dict)
    context: list[str] = field(default_factory=list)
    questions: list[Problem] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def take(self, role: str, column: str, because: str) -> None:
        """Give a role to a column."""
        self.columns[role], self.reasons[role] = column, because


def free_columns(log: Sample, roles: Roles) -> list[Column]:
    """Return the columns that have no role yet."""
    return [column for name, column in log.columns.items() if name not in roles.columns.values()]


def named_columns(role: str, log: Sample, roles: Roles) -> list[Column]:
    """Return the free columns whose names have a word of a role."""
    words = set(WORDS[role].split())
    return [column for column in free_columns(log, roles) if column.words & words]


def chosen_column(flag: str, log: Sample, flags: Mapping[str, Any]) -> Column | None:
    """Return the column that a flag names; None where the flag is not set, is `none` or names no column."""
    return log.columns.get(flags.get(flag) or "")
