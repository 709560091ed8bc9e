"""What a door prints for `--help`."""

from pathlib import Path
from typing import Any

import yaml


def help_text(conf: Path, config_name: str, description: str) -> str:
    """Return the door's description, then each group's choices and the plain keys.

    Args:
        conf: the folder of all choices.
        config_name: the YAML in it that the door starts from.
        description: what the door does.
    """
    config = _read(conf, config_name)
    lines = [description.strip(), "", "Groups (group=choice):"]
    for entry in config.pop("defaults"):
        if isinstance(entry, str) and entry != "_self_":
            config |= {key: value for key, value in _read(conf, entry).items() if key != "defaults"}
        for group, default in entry.items() if isinstance(entry, dict) else ():
            if (conf / group).is_dir():
                choices = ", ".join(sorted(path.stem for path in (conf / group).glob("*.yaml")))
                lines.append(f"  {group:<12} {choices}  [{default}]")
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    lines += [f"  {key:<14} [{value}]" for key, value in config.items()]
    lines += ["", "--cfg job prints the whole configuration."]
    lines += ["Exit status: 0 done, 1 failed, 2 your input, 3 index rejected."]
    return "\n".join(lines)


def _read(conf: Path, name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((conf / f"{name}.yaml").read_text(encoding="utf-8"))
    config.pop("hydra", None)
    return config
