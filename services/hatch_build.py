"""Builds rotary-server: its version of `rotary`, and the modules of `rotary` that a dialer's package leaves out."""

import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "shared" / "rotary"


class PinnedDependency(MetadataHookInterface):
    """Requires the `rotary` of the same version: the two wheels make up one package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling, after it has read the version."""
        metadata["dependencies"] = [f"rotary=={metadata['version']}"]


class ServerModules(BuildHookInterface[Any]):
    """Adds every module of `rotary` that the other wheel does not hold."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build. An editable install finds the modules in `shared` by itself."""
        if version == "standard":
            build_data["force_include"].update({str(path): f"rotary/{path.name}" for path in server_modules()})


def server_modules() -> list[Path]:
    """Files and folders directly below `rotary`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dialer = {ROOT / name for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]}
    return [path for path in sorted(PACKAGE.iterdir()) if path not in dialer and path.name != "__pycache__"]
