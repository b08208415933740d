"""The README is tested: every command, route and setting that it names exists."""

import re
from pathlib import Path

import click
import pytest
from msgspec.structs import fields

from rotary.runtime.settings import variable
from rotary_admin.cli import cli
from rotary_admin.context import ManagementSettings
from rotary_campaigns.settings import CampaignsSettings
from rotary_console.settings import ConsoleSettings
from rotary_consumer.settings import Settings
from rotary_engine.settings import EngineSettings
from rotary_query.settings import QuerySettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def readme(pattern: str) -> list[str]:
    found = sorted(set(re.findall(pattern, README, re.MULTILINE)))
    assert found, pattern
    return found


@pytest.mark.parametrize("target", readme(r"(?:\$ |`)make (\w+)"))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", readme(r"rotary-admin ([a-z][a-z -]*?)(?= --| infra|`|$| [A-Z0-9])"))
def test_admin_commands_exist(command: str) -> None:
    found: click.Command = cli
    for word in command.split():
        assert isinstance(found, click.Group)
        assert word in found.commands, f"rotary-admin {command}"
        found = found.commands[word]


KINDS = (ConsoleSettings, ManagementSettings, Settings, QuerySettings, EngineSettings, CampaignsSettings)
SETTINGS = {variable(field.name): field for kind in KINDS for field in fields(kind)}


def test_the_configuration_table_names_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(ROTARY_\w+)` \| [^|]+ \| `?([^|`]+?)`? \|", README, re.MULTILINE))
    assert table.keys() == SETTINGS.keys()
    for name, default in table.items():
        field = SETTINGS[name]
        stated = "required" if field.required else str(field.default).lower().removesuffix(".0") or "none"
        assert default.lower() == stated, name


@pytest.mark.parametrize(
    ("program", "kind"),
    [("query", QuerySettings), ("engine", EngineSettings), ("consumer", Settings), ("console", ConsoleSettings)],
)
def test_the_configuration_table_names_the_programs_that_read_a_setting(program: str, kind: type) -> None:
    table = re.findall(r"^\| `(ROTARY_\w+)` \| ([^|]+?) \|", README, re.MULTILINE)
    named = {name for name, programs in table if program in programs.split(", ")}
    assert named == {variable(field.name) for field in fields(kind)}


@pytest.mark.parametrize("path", readme(r"(?<=\]\()[^)#:]+(?=\))|(?<=`)(?:shared|services|tests|infra)/[\w./]+(?=`)"))
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()
