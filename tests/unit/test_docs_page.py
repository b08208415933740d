"""The page at /docs shows every operation of a service's document, and curl lines that a shell takes as they are."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rotary.http.responses import CachedResponse
from rotary_engine.http.docs import pages as engine_pages
from rotary_query.http.docs import pages as query_pages

HARNESS = Path(__file__).with_name("docs_page.mjs")
Pages = Mapping[Any, CachedResponse]  # each service has its own literals for keys
SERVICES: Mapping[str, Pages] = {"query": query_pages(), "engine": engine_pages()}


def shown(pages: Pages, folder: Path) -> tuple[Any, Any]:
    """The document, and what its page shows."""
    if shutil.which("node") is None:
        pytest.skip("the page's script needs node")
    page, document = folder / "docs.html", folder / "openapi.json"
    page.write_bytes(pages["docs"].body)
    document.write_bytes(pages["openapi"].body)
    argv = ("node", str(HARNESS), str(page), str(document))
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return json.loads(document.read_text()), json.loads(told)


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_status_and_type_is_shown(service: str, tmp_path: Path) -> None:
    document, page = shown(SERVICES[service], tmp_path)
    assert page["summary"] == document["info"]["summary"]
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"] in page["operations"]
            assert all(status in page["operations"] for status in operation["responses"])
    assert all(name in page["schemas"] for name in document["components"]["schemas"])
    assert "undefined" not in page["operations"] + page["schemas"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_curl_line_is_what_the_operation_needs(service: str, tmp_path: Path) -> None:
    document, page = shown(SERVICES[service], tmp_path)
    operations = [(path, *of) for path, methods in document["paths"].items() for of in methods.items()]
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    curl.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin", "TOKEN": "rot_x"}
    for (path, method, operation), line in zip(operations, page["curls"], strict=True):
        told = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=True).stdout
        sent = told.splitlines()
        assert "Authorization: Bearer rot_x" in sent
        assert ("-X" in sent) == (method != "get")
        assert sent[-1].startswith("http://host" + path.partition("{")[0])
        assert "{" not in sent[-1]
        if "requestBody" in operation:
            assert json.loads("\n".join(sent[sent.index("-d") + 1 : -1]))
