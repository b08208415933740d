"""The headers that every answer has: what a browser may do with it."""

from yarl import URL

from rotary_console.settings import ConsoleSettings

_DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self' {api}",
    "manifest-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
)
_DENIED = ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "microphone", "payment", "usb")
HSTS_SECONDS = 31_536_000
_FOR_FILES = ("Cross-Origin-Resource-Policy", "Strict-Transport-Security")


def security_headers(settings: ConsoleSettings) -> dict[str, str]:
    """Nothing from other hosts, no inline script or style, no framing, and no other window's access."""
    policy = "; ".join(_DIRECTIVES).format(api=URL(settings.api_url).origin())
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": ", ".join(f"{name}=()" for name in _DENIED),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    if settings.is_secure:
        headers["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
    return headers


def file_headers(headers: dict[str, str]) -> dict[str, str]:
    """Those that mean something for a script, a style sheet or a font. A page of fifty files is a fifth lighter."""
    return {name: headers[name] for name in _FOR_FILES if name in headers}
