"""Static files, requests of other sites, cookies and headers of the console."""

import gzip
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from rotary.http.responses import CachedResponse
from rotary_console.http.origin import refusal
from rotary_console.http.security import security_headers
from rotary_console.http.static_files import StaticFiles
from rotary_console.settings import ConsoleSettings
from rotary_console.sign_in.cookies import Cookies

ORIGIN = "https://console.example"
SCRIPT = b"export const long = 'words words words words words words words words words words words';\n" * 9
FILES = {"index.html": b"<script src='/assets/js/main.js'></script>", "js/main.js": SCRIPT, "logo.png": b"\x89PNG" * 99}


def asked(target: str = "/", method: str = "GET", **headers: str) -> web.Request:
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    return make_mocked_request(method, target, headers=named)


def found(files: StaticFiles, target: str, **headers: str) -> CachedResponse | None:
    return files.find(asked(target, **headers))


@pytest.fixture
def files() -> StaticFiles:
    return StaticFiles(FILES)


def test_the_page_names_its_assets_by_the_version_of_all_files(files: StaticFiles) -> None:
    page = files.page(asked())
    assert page.body == f"<script src='/assets/{files.version}/js/main.js'></script>".encode()
    assert b"Cache-Control: no-cache\r\n" in page.head
    assert StaticFiles(FILES | {"js/main.js": b"other"}).version != files.version


def test_a_file_is_kept_under_its_version_and_revalidated_under_others(files: StaticFiles) -> None:
    kept = found(files, f"/assets/{files.version}/js/main.js")
    assert kept is not None
    assert b"Cache-Control: public, max-age=31536000, immutable\r\n" in kept.head
    for path in ("/assets/js/main.js", "/assets/v-0123456789abcdef/js/main.js"):
        other = found(files, path)
        assert other is not None
        assert other.body == SCRIPT
        assert b"Cache-Control: no-cache\r\n" in other.head


def test_what_gains_by_it_is_sent_compressed_with_an_etag_of_its_own(files: StaticFiles) -> None:
    plain = found(files, "/assets/js/main.js")
    packed = found(files, "/assets/js/main.js", Accept_Encoding="gzip, deflate, br")
    assert plain is not None
    assert packed is not None
    assert gzip.decompress(packed.body) == plain.body
    assert b"Content-Encoding: gzip\r\n" in packed.head
    assert packed.etag != plain.etag
    for answer in (plain, packed):
        assert b"Vary: Accept-Encoding\r\n" in answer.head
        assert answer.etag.startswith('"')
    picture = found(files, "/assets/logo.png", Accept_Encoding="gzip")
    assert picture is not None
    assert picture.body == FILES["logo.png"]


@pytest.mark.parametrize(
    "target",
    [
        "/assets/",
        "/assets/../settings.py",
        "/assets/js/../../settings.py",
        "/assets/%2e%2e/settings.py",
        "/assets/js%2f..%2f..%2fsettings.py",
        "/assets//etc/passwd",
        "/assets/index.html",
        "/assets/js",
        "/assets/v-0123456789abcdef/../js/main.js",
    ],
)
def test_nothing_but_the_files_is_served(files: StaticFiles, target: str) -> None:
    assert found(files, target) is None


def test_the_files_that_are_shipped_hold_no_inline_script_or_style() -> None:
    """The policy forbids it: it would not run."""
    page = (Path(__file__).parents[2] / "services/rotary_console/static/index.html").read_text()
    assert "<style" not in page
    assert " style=" not in page
    assert all("src=" in tag.partition(">")[0] for tag in page.split("<script")[1:])


def test_a_request_of_the_consoles_own_pages_is_answered() -> None:
    own = {"X_Rotary_Console": "1", "Origin": ORIGIN, "Sec_Fetch_Site": "same-origin"}
    assert refusal(asked(method="POST", **own), ORIGIN) is None
    assert refusal(asked(method="POST", X_Rotary_Console="1"), ORIGIN) is None  # no browser
    assert refusal(asked(method="GET"), ORIGIN) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ORIGIN, "Sec_Fetch_Site": "same-origin"},
        {"X_Rotary_Console": "0", "Origin": ORIGIN},
        {"X_Rotary_Console": "1", "Origin": "https://evil.example"},
        {"X_Rotary_Console": "1", "Origin": "null"},
        {"X_Rotary_Console": "1", "Origin": f"{ORIGIN}.evil.example"},
        {"X_Rotary_Console": "1", "Origin": "http://console.example"},
        {"X_Rotary_Console": "1", "Origin": f"{ORIGIN}:8443"},
        {"X_Rotary_Console": "1", "Sec_Fetch_Site": "cross-site"},
        {"X_Rotary_Console": "1", "Sec_Fetch_Site": "same-site"},
        {"X_Rotary_Console": "1", "Origin": ORIGIN, "Sec_Fetch_Site": "none"},
    ],
)
def test_a_request_that_another_site_may_have_caused_is_refused(method: str, headers: dict[str, str]) -> None:
    refused = refusal(asked(method=method, **headers), ORIGIN)
    assert refused is not None
    assert refused.status == 403


def settings(url: str) -> ConsoleSettings:
    return ConsoleSettings("postgresql://x", "redis://x", url, "https://api.example/base", "http://campaigns")


def test_over_tls_cookies_are_this_hosts_alone() -> None:
    secure = Cookies(settings(ORIGIN).is_secure)
    assert secure.set("session", "v") == ("__Host-rotary_session=v; Path=/; HttpOnly; SameSite=Strict; Secure")
    plain = Cookies(settings("http://127.0.0.1:8083").is_secure)
    assert plain.set("device", "v", 60) == "rotary_device=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60"
    assert plain.drop("session").endswith("; Max-Age=0")


def test_of_two_cookies_with_the_name_the_first_counts_and_long_ones_none() -> None:
    cookies = Cookies(is_secure=False)
    assert cookies.read(asked(Cookie="a=1; rotary_session=x; rotary_session=y"), "session") == "x"
    assert cookies.read(asked(Cookie=f"rotary_session={'x' * 201}"), "session") == ""
    assert cookies.read(asked(Cookie="rotary_session"), "session") == ""
    assert cookies.read(asked(Cookie="xrotary_session=x"), "session") == ""


def test_a_page_may_load_its_own_files_and_talk_to_the_query_service() -> None:
    headers = security_headers(settings(ORIGIN))
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; " in policy
    assert "; connect-src 'self' https://api.example; " in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in security_headers(settings("http://127.0.0.1:1"))
