"""The static files, and the way through the sign-in provider and back."""

from rotary.http.errors import RESOURCE_NOT_FOUND
from rotary_console.http.operations import Answer, Call, Endpoint, Operation, redirect
from rotary_console.routes.session import set_cookies
from rotary_console.sign_in.attempts import SignedIn
from rotary_console.sign_in.cookies import OIDC_SECONDS
from rotary_console.sign_in.oidc import OidcError, random_secret

ASSETS = "/assets"
SIGN_IN_PAGE = "/#/sign-in"
_INERT = (".js", ".css", ".woff2")


async def page(call: Call) -> Answer:
    """The page; it finds its way by the part of the address after `#`, which is not sent."""
    return call.parts.files.page(call.request)


async def asset(call: Call) -> Answer:
    """A static file."""
    return call.parts.files.find(call.request) or RESOURCE_NOT_FOUND


def is_inert(path: str) -> bool:
    """Whether a path names a file that a browser never shows as a page. A picture in SVG can have scripts."""
    return path.startswith(f"{ASSETS}/") and path.endswith(_INERT)


async def start_oidc(call: Call) -> Answer:
    """To the sign-in provider, with what this browser must come back with."""
    provider, cookies = call.parts.provider, call.parts.cookies
    if provider is None:
        return RESOURCE_NOT_FOUND
    secret = random_secret()
    try:
        location = await provider.authorization_url(secret)
    except OidcError as error:
        return redirect(f"{SIGN_IN_PAGE}?error={error.code}")
    # Lax: the provider's page leads back here, and a Strict cookie would not come along.
    call.cookies.append(cookies.set("oidc", secret, OIDC_SECONDS, same_site="Lax"))
    return redirect(location)


async def finish_oidc(call: Call) -> Answer:
    """Back from the sign-in provider: a session, or the sign-in page with the reason why there is none."""
    parts = call.parts
    if parts.provider is None:
        return RESOURCE_NOT_FOUND
    secret = parts.cookies.read(call.request, "oidc")
    call.cookies.append(parts.cookies.drop("oidc"))
    try:
        identity = await parts.provider.identify(call.request.raw_path.partition("?")[2], secret)
        async with parts.database.changing("sign-in provider") as connection:
            user_id = await parts.provider.find_user(connection, identity)
            signed_in = await parts.sign_in.admit(connection, user_id)
    except OidcError as error:
        parts.provider.log(error)
        return redirect(f"{SIGN_IN_PAGE}?error={error.code}")
    if not isinstance(signed_in, SignedIn):
        return redirect(f"{SIGN_IN_PAGE}?error=sso_no_account")
    await set_cookies(call, signed_in)
    return redirect("/")


ENDPOINTS = (
    Endpoint("/", (Operation(method="GET", handler=page, who="anybody"),)),
    Endpoint("/oidc/start", (Operation(method="GET", handler=start_oidc, who="anybody"),)),
    Endpoint("/oidc/callback", (Operation(method="GET", handler=finish_oidc, who="anybody"),)),
)
ASSET = Endpoint(ASSETS, (Operation(method="GET", handler=asset, who="anybody"),))
