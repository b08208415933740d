"""A small OpenID Connect provider: discovery, keys, codes that are redeemed once with PKCE, ID tokens, user info."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from jwt.algorithms import ECAlgorithm

CLIENT_ID, CLIENT_SECRET = "rotary client", "s3cret/+ with:signs"


class Account:
    """Somebody who has an account at the provider. `claims` go into the ID token, `info` into user info."""

    def __init__(self, subject: str, claims: dict[str, Any], info: dict[str, Any] | None = None) -> None:
        self.subject = subject
        self.claims = claims
        self.info = info


class Provider:
    """What it does wrong is up to the test: `forge` changes an ID token's claims, `key` signs, `name` is its kid."""

    def __init__(self) -> None:
        self.issuer = ""
        self.account = Account("sub-1", {"email": "an@example.com", "email_verified": True})
        self.key = generate_private_key(SECP256R1())
        self.name = "key-1"
        self.published: dict[str, EllipticCurvePrivateKey] = {self.name: self.key}
        self.algorithm = "ES256"
        self.forge: dict[str, Any] = {}
        self.discovered: dict[str, Any] = {}
        self.asked_for_keys = 0
        self.discoveries = 0
        self.is_down = False
        self._codes: dict[str, dict[str, str]] = {}
        self._access: dict[str, Account] = {}

    def application(self) -> web.Application:
        made = web.Application()
        made.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/authorize", self._authorize),
                web.post("/token", self._token),
                web.get("/keys", self._keys),
                web.get("/userinfo", self._userinfo),
            ]
        )
        return made

    async def _discovery(self, _request: web.Request) -> web.Response:
        self.discoveries += 1
        if self.is_down:
            return web.Response(status=503)
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        return web.json_response(told | self.discovered)

    async def _authorize(self, request: web.Request) -> web.Response:
        """The person is signed in here, and agrees."""
        query = dict(request.query)
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert set(query["scope"].split()) >= {"openid", "email"}
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = query
        back = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}"
        raise web.HTTPFound(back)

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not self.discovered.get("token_endpoint_auth_methods_supported"):
            login = base64.b64decode(request.headers["Authorization"].partition(" ")[2]).decode()
            assert tuple(map(unquote_plus, login.split(":"))) == (CLIENT_ID, CLIENT_SECRET)
        else:
            assert form["client_secret"] == CLIENT_SECRET
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        told = {"code_challenge": challenge.decode(), "redirect_uri": form["redirect_uri"]}
        if asked is None or not asked.items() >= told.items():
            return web.json_response({"error": "invalid_grant"}, status=400)
        access = secrets.token_urlsafe(8)
        self._access[access] = self.account
        token = self.id_token(asked["nonce"])
        return web.json_response({"access_token": access, "token_type": "Bearer", "id_token": token})

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": self.account.subject,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            **self.account.claims,
            **self.forge,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        key: Any = self.key if self.algorithm == "ES256" else (None if self.algorithm == "none" else "x" * 64)
        return jwt.encode(kept, key, self.algorithm, headers={"kid": self.name} if self.name else {})

    async def _keys(self, _request: web.Request) -> web.Response:
        self.asked_for_keys += 1
        keys = [
            ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": name, "use": "sig", "alg": "ES256"}
            for name, key in self.published.items()
        ]
        return web.json_response({"keys": keys})

    async def _userinfo(self, request: web.Request) -> web.Response:
        account = self._access[request.headers["Authorization"].removeprefix("Bearer ")]
        return web.json_response({"sub": account.subject} | (account.info or {}))


@asynccontextmanager
async def oidc_provider() -> AsyncIterator[Provider]:
    """A provider that listens, on loopback."""
    provider = Provider()
    async with TestServer(provider.application()) as server:
        provider.issuer = str(server.make_url("")).rstrip("/")
        yield provider


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
