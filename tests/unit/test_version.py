"""One place says the version, and everything that shows a version reads it there."""

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

from rotary import __version__
from rotary_dialer.commands import asyncapi
from rotary_query.http import openapi

ROOT = Path(__file__).parents[2]


def test_pyproject_reads_the_version_from_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    source = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{__version__}"' in source.read_text()


def test_the_installed_package_has_that_version() -> None:
    assert version("rotary") == __version__, "run  infra/setup  after a change of the version"


def test_the_published_contracts_carry_it() -> None:
    assert openapi.openapi()["info"]["version"] == __version__
    assert json.loads(asyncapi.document())["info"]["version"] == __version__
