"""What each wheel holds: a dialer installs the publisher and its command line, and no server code."""

import email
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from rotary import __version__

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "infra" / "images"
SITE_PACKAGES = sysconfig.get_path("purelib")
SERVER_PROGRAMS = ("rotary_query", "rotary_consumer", "rotary_admin", "rotary_stack")

# Without `site`, so that the editable installs of this checkout are not found.
IMPORTED = """
import importlib, sys
sys.path[:0] = {wheels!r}
sys.path.append({site_packages!r})
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0].startswith("rotary")))
"""


def build(project: Path, folder: Path) -> Path:
    """Builds the project's wheel without a network, and unpacks it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def dialer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("rotary"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "services", tmp_path_factory.mktemp("rotary-server"))


def files(wheel: Path) -> set[str]:
    found = (path.relative_to(wheel) for path in wheel.rglob("*") if path.is_file())
    return {str(path) for path in found if not path.parts[0].endswith(".dist-info")}


def metadata(wheel: Path) -> Message:
    (path,) = wheel.glob("*.dist-info/METADATA")
    return email.message_from_string(path.read_text())


def imported(*modules: str, wheels: tuple[Path, ...]) -> set[str]:
    """The files of Rotary that these modules load, in an installation of the wheels and their dependencies."""
    code = IMPORTED.format(wheels=[str(wheel) for wheel in wheels], site_packages=SITE_PACKAGES, modules=modules)
    done = subprocess.run([sys.executable, "-BIS", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {str(Path(file).relative_to(wheels[0])) for file in done.stdout.split()}


def test_a_dialers_wheel_holds_what_the_dialer_imports_and_nothing_else(dialer: Path) -> None:
    loaded = imported(
        "rotary.programs", "rotary.publisher", "rotary.engine.engine", "rotary_dialer.cli", wheels=(dialer,)
    )
    assert files(dialer) == loaded | {"rotary/py.typed", "rotary_dialer/__main__.py"}


def test_the_publisher_needs_nothing_of_the_command_line(dialer: Path) -> None:
    assert not [file for file in imported("rotary.publisher", wheels=(dialer,)) if file.startswith("rotary_dialer")]


def test_the_engines_client_needs_nothing_of_the_publisher_or_the_command_line(dialer: Path) -> None:
    loaded = imported("rotary.engine.engine", wheels=(dialer,))
    assert not [file for file in loaded if file.startswith(("rotary_dialer", "rotary/publisher"))]


def test_the_two_wheels_share_no_file_and_miss_none(dialer: Path, server: Path) -> None:
    roots = [ROOT / "shared", ROOT / "services"]
    packages = [path for root in roots for path in root.iterdir() if (path / "__init__.py").exists()]
    sources = {
        str(path.relative_to(package.parent))
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert not files(dialer) & files(server)
    assert files(dialer) | files(server) == sources


def test_every_program_of_the_server_runs_from_the_two_wheels(dialer: Path, server: Path, tmp_path: Path) -> None:
    for wheel in (dialer, server):  # as in one site-packages
        for file in files(wheel):
            target = tmp_path / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((wheel / file).read_bytes())
    modules = [f"{program}.cli" for program in SERVER_PROGRAMS]
    assert imported(*modules, wheels=(tmp_path,)) <= files(dialer) | files(server)


def test_the_publisher_brings_msgspec_and_aio_pika_alone(dialer: Path) -> None:
    required = metadata(dialer).get_all("Requires-Dist", [])
    assert {re.split(r"[>=\[]", line)[0] for line in required if "extra ==" not in line} == {"msgspec", "aio-pika"}


def test_the_server_requires_the_publisher_of_its_own_version(dialer: Path, server: Path) -> None:
    assert {metadata(wheel)["Version"] for wheel in (dialer, server)} == {__version__}
    required = metadata(server).get_all("Requires-Dist", [])
    assert [line for line in required if "extra ==" not in line] == [f"rotary=={__version__}"]


def test_the_readme_installs_the_wheels_by_their_names_and_extras(dialer: Path, server: Path) -> None:
    extras = {metadata(wheel)["Name"]: metadata(wheel).get_all("Provides-Extra", []) for wheel in (dialer, server)}
    text = (ROOT / "README.md").read_text() + (ROOT / "infra" / "dialers" / "README.md").read_text()
    installed = re.findall(r"pip install '?([a-z-]+)(?:\[([a-z,]+)\])?", text)
    assert {name for name, _ in installed} == set(extras)
    for name, wanted in installed:
        assert set(filter(None, wanted.split(","))) <= set(extras[name]), name


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (IMAGES / name).read_text(), re.MULTILINE))


def test_the_image_holds_no_tool_to_test_or_build_with() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    tools = {re.split(r"[>=\[]", line)[0] for line in group} | locked("requirements.build.lock")
    assert {"pytest", "hatchling", "pluggy"} <= tools
    assert not locked("requirements.prod.lock") & (tools | {"pip", "setuptools", "wheel", "editables"})


def test_the_image_holds_what_its_programs_require(server: Path) -> None:
    required = metadata(server).get_all("Requires-Dist", [])
    extras = ("query", "consumer", "admin")
    direct = {re.split(r"[>=\[]", line)[0] for line in required if line.partition("extra == ")[2].strip("'") in extras}
    assert direct <= locked("requirements.prod.lock")
