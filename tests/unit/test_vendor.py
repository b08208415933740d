"""What we ship of other projects is what the manifest says: exact versions, by integrity, with their licences."""

import base64
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "infra" / "vendor.toml"
LOCK = ROOT / "infra" / "vendor.lock"
PACKAGES: list[dict[str, Any]] = tomllib.loads(MANIFEST.read_text())["package"]
NAMES = [package["name"] for package in PACKAGES]


def targets(package: dict[str, Any]) -> set[str]:
    return {f"{package['to']}/{name}" for name in package["files"].values()}


def locked() -> dict[str, str]:
    """The hashes on record, by path."""
    lines = (line.split("  ") for line in LOCK.read_text().splitlines())
    return {path: digest for digest, path in lines}


def test_the_lock_has_every_file_of_the_manifest_and_the_hash_of_each() -> None:
    assert locked().keys() == {path for package in PACKAGES for path in targets(package)}
    hashes = {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in locked()}
    assert hashes == locked()


@pytest.mark.parametrize("folder", sorted({package["to"] for package in PACKAGES}))
def test_a_folder_of_vendored_files_holds_nothing_else(folder: str) -> None:
    present = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert present == {path for path in locked() if path.startswith(folder + "/")}


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_a_package_has_an_exact_version_an_integrity_and_its_licence(package: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])
    assert any(Path(path).name.upper().startswith("LICEN") for path in package["files"])


def test_neither_the_script_nor_its_files_name_an_address() -> None:
    for path in (ROOT / "infra" / "vendor", MANIFEST, LOCK):
        assert re.findall(r"\w+://|registry", path.read_text()) == []


FILES = {
    "package/dist/lib.js": b"export const answer = 42;\n" * 50,
    "package/LICENSE": b"MIT\n",
    "package/other.js": b"",
}

NPM = """#!/bin/sh
echo "$@" > "$0.asked"
while [ "$1" != --pack-destination ]; do shift; done
cp "$0.tgz" "$2/package.tgz"
"""


class Repository:
    """A checkout with the script and a manifest of one package, where npm is a program that hands out one archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "infra").mkdir()
        shutil.copy(ROOT / "infra" / "vendor", root / "infra")
        self.archive = archive(FILES)
        self._npm = root / "bin" / "npm"
        self._npm.parent.mkdir()
        self._npm.write_text(NPM)
        self._npm.chmod(0o755)

    def manifest(self, target: str = "lib.js", **changes: str) -> None:
        """Writes the manifest: it has the archive's integrity, unless that is among the changes."""
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(self.archive).digest()).decode()
        entry = {"name": "lib", "version": "1.2.3", "to": "static/lib", "integrity": integrity} | changes
        files = {"dist/lib.js": target, "other.js": "other.js", "LICENSE": "LICENSE"}
        lines = ["[[package]]", *(f'{key} = "{value}"' for key, value in entry.items()), "[package.files]"]
        lines += [f'"{source}" = "{path}"' for source, path in files.items()]
        (self.root / "infra" / "vendor.toml").write_text("\n".join(lines))

    def vendor(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        Path(f"{self._npm}.tgz").write_bytes(self.archive)
        environ = {**os.environ, "PATH": f"{self._npm.parent}:{os.environ['PATH']}"}
        command = [str(self.root / "infra" / "vendor"), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    @property
    def asked(self) -> list[str]:
        """What npm was called with."""
        return Path(f"{self._npm}.asked").read_text().split()

    def file(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_files_are_put_in_place_and_locked(repository: Repository) -> None:
    repository.manifest()
    done = repository.vendor()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"wrote static/lib/{name}" for name in ("lib.js", "other.js", "LICENSE")]
    assert repository.file("static/lib/lib.js") == FILES["package/dist/lib.js"]
    assert repository.asked[-1] == "lib@1.2.3"
    assert "--ignore-scripts" in repository.asked
    checked = subprocess.run(["sha256sum", "--check", "infra/vendor.lock"], cwd=repository.root, check=False)
    assert checked.returncode == 0


def test_a_file_that_is_there_already_is_left_alone(repository: Repository) -> None:
    repository.manifest(target="lib.js.gz")
    assert repository.vendor().returncode == 0
    content = FILES["package/dist/lib.js"]
    assert gzip.decompress(repository.file("static/lib/lib.js.gz")) == content
    other = gzip.compress(content, 1)  # as another zlib would have it
    (repository.root / "static/lib/lib.js.gz").write_bytes(other)
    done = repository.vendor("lib")
    assert (done.returncode, done.stdout) == (0, "")
    assert repository.file("static/lib/lib.js.gz") == other


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"integrity": "sha512-AAAA"}, "lib@1.2.3 has the integrity sha512-"),
        ({"integrity": ""}, 'integrity = "sha512-'),
        ({"version": "^1.2.3"}, "an exact version"),
        ({"version": "latest"}, "an exact version"),
        ({"name": "git+ssh:host/lib"}, "a name of npm's"),
        ({"to": "../elsewhere"}, "must be a path inside the repository"),
        ({"target": "/etc/lib.js"}, "must be a path inside the repository"),
    ],
)
def test_what_is_not_what_the_manifest_means_changes_nothing(
    repository: Repository, entry: dict[str, str], told: str
) -> None:
    repository.manifest(**entry)
    done = repository.vendor()
    assert done.returncode == 1
    assert told in done.stderr
    assert sorted(path.name for path in repository.root.iterdir()) == ["bin", "infra"]
    assert not (repository.root / "infra" / "vendor.lock").exists()


def test_a_package_without_a_named_file_changes_nothing(repository: Repository) -> None:
    repository.archive = archive({"package/LICENSE": b"MIT\n"})
    repository.manifest()
    done = repository.vendor()
    assert (done.returncode, done.stderr) == (1, "vendor: lib@1.2.3 has no dist/lib.js, other.js\n")
    assert not (repository.root / "static").exists()


def test_texts_are_replaced_and_one_that_is_nowhere_changes_nothing(repository: Repository) -> None:
    repository.manifest()
    manifest = repository.root / "infra" / "vendor.toml"
    entry = manifest.read_text()
    manifest.write_text(f'{entry}\n[package.replace]\n"answer" = "reply"\n')
    assert repository.vendor().returncode == 0
    assert repository.file("static/lib/lib.js") == FILES["package/dist/lib.js"].replace(b"answer", b"reply")
    manifest.write_text(f'{entry}\n[package.replace]\n"question" = "reply"\n')
    assert repository.vendor().stderr == "vendor: lib@1.2.3 has nowhere 'question', which is to be replaced\n"


def test_a_package_that_the_manifest_lacks_is_an_error(repository: Repository) -> None:
    repository.manifest()
    assert repository.vendor("preact").stderr == "vendor: infra/vendor.toml has no preact\n"
