"""Signing in and out, and what users change about themselves."""

from typing import Annotated

from msgspec import Meta, Struct

from rotary import __version__
from rotary.http.errors import Refusal
from rotary.http.responses import failure
from rotary.management import users
from rotary.management.errors import InvalidError, Violation
from rotary.management.passwords import check_password
from rotary.postgres.connection import Connection
from rotary_console.database import statement
from rotary_console.http.operations import NOTHING, Answer, Call, Endpoint, Operation, bare, data
from rotary_console.http.refusals import NOT_SIGNED_IN, WRONG_CREDENTIALS
from rotary_console.sign_in.attempts import Credentials, Refused, SignedIn
from rotary_console.sign_in.cookies import DEVICE_DAYS
from rotary_console.sign_in.sessions import CustomerOfUser, Session
from rotary_console.sign_in.totp import matching_step, new_secret, uri

_Typed = Annotated[str, Meta(max_length=1000)]
_HAS_TOTP = failure(409, "One-time codes are on already. Turn them off first.")
_NO_TOTP = failure(409, "Ask for a new secret first.")


class NewSession(Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in."""

    name: Annotated[str, Meta(min_length=1, max_length=150, pattern=r"\A[^\x00]*\Z")]
    password: _Typed
    code: Annotated[str, Meta(max_length=20)] = ""


class NewPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of one's own password."""

    current: _Typed
    new: _Typed


class NewCodes(Struct, frozen=True, forbid_unknown_fields=True):
    """A one-time code, which shows that the authenticator has the secret, and one's own password once more."""

    code: Annotated[str, Meta(max_length=20)]
    password: _Typed


class Password(Struct, frozen=True, forbid_unknown_fields=True):
    """One's own password, once more."""

    password: _Typed


class Language(Struct, frozen=True, forbid_unknown_fields=True):
    """The language of the pages."""

    language: Annotated[str, Meta(pattern=r"\A(en|vi)\Z", description="en or vi")]


class Unauthenticated(Struct, frozen=True, omit_defaults=True):
    """Why somebody is not signed in. `code_required`: the password is right, and a one-time code is missing."""

    message: str
    code_required: bool = False


class UserShown(Struct, frozen=True):
    """Who is signed in."""

    id: int
    name: str
    display_name: str | None
    has_totp: bool
    language: str


class SessionShown(Struct, frozen=True):
    """What a page begins with."""

    user: UserShown
    customers: list[CustomerOfUser]
    query_url: str
    campaigns_docs_url: str | None
    version: str


class OidcShown(Struct, frozen=True):
    """A sign-in provider: what its button says, and where it leads."""

    name: str
    url: str


class SignInShown(Struct, frozen=True):
    """The ways to sign in, beside a password."""

    oidc: OidcShown | None


class SecretShown(Struct, frozen=True):
    """A new secret for an authenticator, and the same as a QR code has it."""

    secret: str
    uri: str


async def ways_to_sign_in(call: Call) -> Answer:
    """What the sign-in page offers."""
    settings = call.parts.settings
    return data(SignInShown(OidcShown(settings.oidc_name, "/oidc/start") if call.parts.provider else None))


async def begin_session(call: Call) -> Answer:
    """Signs somebody in. The session is always a new one; one that the browser had ends."""
    parts, body, cookies = call.parts, call.body, call.parts.cookies
    device = cookies.read(call.request, "device")
    claimed = Credentials(body.name.strip(), body.password, body.code, device, call.network)
    result = await parts.sign_in.sign_in(claimed, call.now_ms)
    match result:
        case Refused(is_code_missing=True):
            return bare(Unauthenticated("A one-time code is required.", code_required=True), 401)
        case Refused():
            return WRONG_CREDENTIALS
        case SignedIn():
            await set_cookies(call, result)
    session = await parts.sessions.find(result.session)
    return WRONG_CREDENTIALS if session is None else data(shown(call, session))


async def set_cookies(call: Call, signed_in: SignedIn) -> None:
    """Hands a new session to the browser, in place of the one it had."""
    cookies = call.parts.cookies
    await call.parts.sessions.end(cookies.read(call.request, "session"))
    call.cookies.append(cookies.set("session", signed_in.session))
    call.cookies.append(cookies.set("device", signed_in.device, DEVICE_DAYS * 86_400))


async def read_session(call: Call) -> Answer:
    """Who is signed in, and what they may do."""
    return data(shown(call, call.user))


async def end_session(call: Call) -> Answer:
    """Signs out. Has the same answer when nobody is signed in."""
    cookies = call.parts.cookies
    await call.parts.sessions.end(cookies.read(call.request, "session"))
    call.cookies.append(cookies.drop("session"))
    return NOTHING


async def change_password(call: Call) -> Answer:
    """Changes one's own password; one's other sessions end."""
    user = call.user
    verified = await _confirm(call, call.body.current, "current")
    check_password(call.body.new, user.name, "new")
    made = await call.parts.hashing.hash(call.body.new, f"user {user.user_id}")
    async with call.parts.database.changing(user.actor) as connection:
        await _check_still(connection, user, verified)
        await users.set_password(connection, user.user_id, made, kept_session=user.id)
    return NOTHING


async def propose_totp(call: Call) -> Answer:
    """A secret for an authenticator. It counts once a code of it has come back."""
    user = call.user
    if user.has_totp:
        return _HAS_TOTP
    secret = new_secret()
    async with call.parts.database.reading() as connection:
        await connection.execute(statement("set_pending_totp"), user.id, secret)
    return data(SecretShown(secret, uri(secret, user.name)))


async def confirm_totp(call: Call) -> Answer:
    """Turns one-time codes on. It takes the password: whoever found an open page can't lock its owner out."""
    user = call.user
    if user.has_totp:
        return _HAS_TOTP
    verified = await _confirm(call, call.body.password, "password")
    async with call.parts.database.changing(user.actor) as connection:
        await _check_still(connection, user, verified)
        secret = await connection.fetchval(statement("pending_totp"), user.id)
        if secret is None:
            return _NO_TOTP
        step = matching_step(secret, call.body.code, call.now_ms, None)
        if step is None:
            raise InvalidError(Violation("code", "This is not the code of now."))
        await users.set_totp(connection, user.user_id, secret, step)
        await connection.execute(statement("set_pending_totp"), user.id, None)
    return NOTHING


async def remove_totp(call: Call) -> Answer:
    """Turns one-time codes off."""
    user = call.user
    verified = await _confirm(call, call.body.password, "password")
    async with call.parts.database.changing(user.actor) as connection:
        await _check_still(connection, user, verified)
        await users.set_totp(connection, user.user_id, None)
    return NOTHING


async def set_language(call: Call) -> Answer:
    """Changes the language of one's pages."""
    async with call.parts.database.changing(call.user.actor) as connection:
        await connection.execute(statement("set_language"), call.user.user_id, call.body.language)
    return NOTHING


async def _confirm(call: Call, password: str, field: str) -> str:
    """The stored hash of the user's password. Raises InvalidError for another, and Refusal for too many attempts."""
    user, device = call.user, call.parts.cookies.read(call.request, "device")
    claimed = Credentials(user.name, password, "", device, call.network)
    verified = await call.parts.sign_in.verify_again(user.user_id, claimed)
    if verified is None:
        raise InvalidError(Violation(field, "This is not your password."))
    return verified


async def _check_still(connection: Connection, user: Session, verified_hash: str) -> None:
    """Raises Refusal if the session has ended, or the password has changed, since the password was verified.

    Both stay until the transaction ends: whoever changes a password to get rid of somebody is not overtaken.
    """
    if not await connection.fetchval(statement("is_still_verified"), user.id, verified_hash):
        raise Refusal(NOT_SIGNED_IN)


def shown(call: Call, session: Session) -> SessionShown:
    """The session as its page needs it."""
    settings = call.parts.settings
    user = UserShown(session.user_id, session.name, session.display_name, session.has_totp, session.language)
    docs = settings.campaigns_docs_url or None
    return SessionShown(user, session.customers, settings.api_url.rstrip("/"), docs, __version__)


SESSION = "/api/session"
ENDPOINTS = (
    Endpoint("/api/sign-in", (Operation(method="GET", handler=ways_to_sign_in, who="anybody"),)),
    Endpoint(
        SESSION,
        (
            Operation(method="GET", handler=read_session, who="user"),
            Operation(method="POST", handler=begin_session, who="anybody", body=NewSession),
            Operation(method="DELETE", handler=end_session, who="anybody"),
        ),
    ),
    Endpoint(f"{SESSION}/password", (Operation(method="PUT", handler=change_password, who="user", body=NewPassword),)),
    Endpoint(
        f"{SESSION}/totp",
        (
            Operation(method="POST", handler=propose_totp, who="user"),
            Operation(method="PUT", handler=confirm_totp, who="user", body=NewCodes),
            Operation(method="DELETE", handler=remove_totp, who="user", body=Password),
        ),
    ),
    Endpoint(f"{SESSION}/language", (Operation(method="PUT", handler=set_language, who="user", body=Language),)),
)
