"""Signing in through a provider: OpenID Connect's authorization code flow with PKCE, state and nonce.

The account must exist. It is found by the provider's subject, to which it is bound at the first sign-in. That first
time it is found by its name, which must be an e-mail address that the provider says it has verified. A password and
one-time codes that it had are then removed, and its sessions end: whoever made it need not be the address's owner.

The browser carries one random secret in a cookie, from which state, nonce and code verifier follow. So nobody can
finish in one browser what was begun in another, and nothing is stored before somebody has signed in.
"""

import asyncio
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, TypeVar
from urllib.parse import parse_qs, urlencode

import aiohttp
import jwt
import msgspec
import structlog
from msgspec import Struct
from yarl import URL

from rotary.management.statements import statement as management
from rotary.postgres.connection import Connection
from rotary_console.database import statement
from rotary_console.settings import ConsoleSettings
from rotary_console.sign_in.cookies import new_value

Code = Literal["sso_unavailable", "sso_refused", "sso_expired", "sso_no_account"]
"""What the sign-in page is told: the provider does not work; it refuses, or its answer is wrong; the way back took too
long, or ended in another browser; nobody here is known by this account."""
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Of the provider's signatures. None is symmetric."""
SCOPE = "openid email"
ANSWER_SECONDS = 10.0
REMEMBER_SECONDS = 3600.0
"""How long what the provider says of itself is remembered."""
RETRY_SECONDS = 3.0
"""How long it is left alone after it did not work, whoever asks for it."""
KEYS_AGAIN_SECONDS = 60.0
"""How often its keys are read again because one is unknown."""
LEEWAY_SECONDS = 60
MAX_ANSWER_BYTES = 1_000_000
T = TypeVar("T")
_log = structlog.get_logger("rotary_console")


class OidcError(Exception):
    """Nobody is signed in. `code` is for the page, `detail` for the operator's log."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Identity(Struct, frozen=True):
    """Whom the provider has identified. `email` is one that it has verified; empty if there is none."""

    subject: str
    email: str = ""


class _Discovery(Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _Claims(Struct, frozen=True):
    """What counts of an ID token, or of what the provider says about a user."""

    sub: str
    nonce: str = ""
    azp: str = ""
    email: str = ""
    email_verified: bool | str = False

    @property
    def verified_email(self) -> str:
        """Some providers send booleans as texts. Letters that only become ours in lower case are somebody else's."""
        return self.email.lower() if self.email_verified in (True, "true") and self.email.isascii() else ""


def random_secret() -> str:
    """What the browser's cookie holds on the way to the provider and back."""
    return new_value()


def derived(secret: str, purpose: Literal["state", "nonce", "verifier"]) -> str:
    """A value that follows from the secret, and does not tell it."""
    return sha256(f"{purpose}:{secret}".encode()).hexdigest()


class Provider:
    """The sign-in provider of this installation. Methods raise OidcError."""

    def __init__(self, session: aiohttp.ClientSession, settings: ConsoleSettings) -> None:
        self._session = session
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._client_secret = settings.oidc_client_secret
        self._redirect_uri = f"{settings.origin}/oidc/callback"
        self._discovery: tuple[float, _Discovery] | None = None
        self._keys: tuple[float, jwt.PyJWKSet] | None = None
        self._failure: tuple[float, str] | None = None

    def log(self, error: OidcError) -> None:
        """For the operator: the page is told the code alone."""
        _log.warning("not signed in by the provider", code=error.code, reason=error.detail)

    async def authorization_url(self, secret: str) -> str:
        """Where the browser goes."""
        challenge = urlsafe_b64encode(sha256(derived(secret, "verifier").encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": SCOPE,
            "state": derived(secret, "state"),
            "nonce": derived(secret, "nonce"),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = (await self._discover()).authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def identify(self, query: str, secret: str) -> Identity:
        """Whom the provider sent back. `secret` is that of the browser's cookie."""
        try:
            told = {name: values[0] for name, values in parse_qs(query, max_num_fields=20).items()}
        except ValueError as error:
            raise OidcError("sso_expired", f"the answer can't be read: {error}") from error
        if not secret or not compare_digest(told.get("state", "").encode(), derived(secret, "state").encode()):
            raise OidcError("sso_expired", "the state is not this browser's")
        discovery = await self._discover()
        if told.get("iss", "" if discovery.authorization_response_iss_parameter_supported else self._issuer) != (
            self._issuer
        ):
            raise OidcError("sso_refused", "the answer names another issuer")
        if "code" not in told:
            raise OidcError("sso_refused", f"the provider says {told.get('error', 'nothing')!r}")
        tokens = await self._redeem(discovery, told["code"], secret)
        claims = await self._verify(discovery, tokens.id_token, secret)
        if not claims.email and discovery.userinfo_endpoint and tokens.access_token:
            return Identity(claims.sub, await self._ask_email(discovery, tokens.access_token, claims.sub))
        return Identity(claims.sub, claims.verified_email)

    async def find_user(self, connection: Connection, identity: Identity) -> int:
        """The user of an identity, by its subject; the first time by its verified e-mail address."""
        row = await connection.fetchrow(statement("user_by_subject"), self._issuer, identity.subject)
        if row is None and identity.email:
            arguments = (self._issuer, identity.subject, identity.email)
            row = await connection.fetchrow(statement("bind_subject"), *arguments)
            if row is not None:
                await connection.execute(management("end_sessions"), row["id"], None)
                await connection.execute(management("forget_devices"), row["id"])
        if row is None:
            raise OidcError(
                "sso_no_account", "no enabled user is bound to this subject, or named by its verified e-mail"
            )
        user_id: int = row["id"]
        return user_id

    async def _discover(self) -> _Discovery:
        now = time.monotonic()
        if self._discovery is not None and now - self._discovery[0] < REMEMBER_SECONDS:
            return self._discovery[1]
        if self._failure is not None and now - self._failure[0] < RETRY_SECONDS:
            raise OidcError("sso_unavailable", self._failure[1])
        try:
            found = await self._read_discovery()
        except OidcError as error:
            self._failure = time.monotonic(), error.detail
            raise
        self._discovery = now, found
        return found

    async def _read_discovery(self) -> _Discovery:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._ask(_Discovery, "GET", url)
        if found.issuer != self._issuer:
            raise OidcError("sso_unavailable", f"ROTARY_OIDC_ISSUER is {self._issuer}, and it says {found.issuer}")
        named = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
        if URL(self._issuer).scheme == "https" and any(URL(each).scheme != "https" for each in named):
            raise OidcError("sso_unavailable", "the provider names an endpoint without TLS")
        return found

    async def _redeem(self, discovery: _Discovery, code: str, secret: str) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._client_id,
            "code_verifier": derived(secret, "verifier"),
        }
        headers = {}
        if not self._client_secret:
            pass  # a public client, which PKCE alone protects
        elif "client_secret_basic" in discovery.token_endpoint_auth_methods_supported:
            # Both are form-encoded first (RFC 6749, 2.3.1).
            login = (urlencode({"": part})[1:] for part in (self._client_id, self._client_secret))
            headers["Authorization"] = aiohttp.encode_basic_auth(*login)
        else:
            form["client_secret"] = self._client_secret
        return await self._ask(_Tokens, "POST", discovery.token_endpoint, form, headers, refused="sso_refused")

    async def _verify(self, discovery: _Discovery, id_token: str, secret: str) -> _Claims:
        try:
            key = await self._key(discovery, jwt.get_unverified_header(id_token).get("kid"))
            decoded = jwt.decode(
                id_token,
                key,
                algorithms=ALGORITHMS,
                audience=self._client_id,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
            claims = msgspec.convert(decoded, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError) as error:
            raise OidcError("sso_refused", f"the ID token is not valid: {error}") from error
        audience = decoded["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.azp != self._client_id:
            raise OidcError("sso_refused", "the ID token is for another client")
        if not compare_digest(claims.nonce.encode(), derived(secret, "nonce").encode()):
            raise OidcError("sso_refused", "the ID token is of another sign-in")
        return claims

    async def _key(self, discovery: _Discovery, name: str | None) -> jwt.PyJWK:
        now = time.monotonic()
        if self._keys is None or now - self._keys[0] > REMEMBER_SECONDS:
            self._keys = now, await self._read_keys(discovery)
        found = _find_key(self._keys[1], name)
        if found is None and now - self._keys[0] > KEYS_AGAIN_SECONDS:  # the provider has a new one
            self._keys = now, await self._read_keys(discovery)
            found = _find_key(self._keys[1], name)
        if found is None:
            raise OidcError("sso_refused", "the ID token is signed with an unknown key")
        return found

    async def _read_keys(self, discovery: _Discovery) -> jwt.PyJWKSet:
        keys = await self._ask(dict[str, object], "GET", discovery.jwks_uri)
        try:
            return jwt.PyJWKSet.from_dict(keys)
        except jwt.PyJWTError as error:
            raise OidcError("sso_unavailable", f"the provider's keys can't be used: {error}") from error

    async def _ask_email(self, discovery: _Discovery, access_token: str, subject: str) -> str:
        headers = {"Authorization": f"Bearer {access_token}"}
        claims = await self._ask(_Claims, "GET", discovery.userinfo_endpoint, headers=headers)
        if claims.sub != subject:
            raise OidcError("sso_refused", "the provider speaks of another user")
        return claims.verified_email

    async def _ask(
        self,
        kind: type[T],
        method: str,
        url: str,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        refused: Code = "sso_unavailable",
    ) -> T:
        plain = {"Accept": "application/json", "Accept-Encoding": "identity"} | (headers or {})
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._session.request(method, url, data=form, headers=plain, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(MAX_ANSWER_BYTES)
                while len(body) < MAX_ANSWER_BYTES and (more := await answer.content.read(MAX_ANSWER_BYTES)):
                    body += more
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise OidcError("sso_unavailable", f"{url}: {str(error) or type(error).__name__}") from error
        if answer.status != 200:
            code: Code = refused if answer.status < 500 else "sso_unavailable"
            raise OidcError(code, f"{url} answers {answer.status}")
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise OidcError("sso_unavailable", f"{url}: {error}") from error


def _find_key(keys: jwt.PyJWKSet, name: str | None) -> jwt.PyJWK | None:
    """The key with this name. A provider with one key need not name it."""
    signing = [key for key in keys.keys if key.public_key_use in (None, "sig") and key.key_type != "oct"]
    if name is None:
        return signing[0] if len(signing) == 1 else None
    return next((key for key in signing if key.key_id == name), None)
