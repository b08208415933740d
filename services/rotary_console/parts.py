"""What the handlers of requests share, beside their connection."""

from msgspec import Struct

from rotary_console.database import Database
from rotary_console.http.static_files import StaticFiles
from rotary_console.proxy.bearers import Bearers
from rotary_console.proxy.upstream import Upstream
from rotary_console.settings import ConsoleSettings
from rotary_console.sign_in.attempts import SignIn
from rotary_console.sign_in.cookies import Cookies
from rotary_console.sign_in.hashing import Hashing
from rotary_console.sign_in.oidc import Provider
from rotary_console.sign_in.sessions import Sessions


class Parts(Struct, frozen=True):
    """Wired once, by the service. `provider` is None where there is no sign-in provider."""

    settings: ConsoleSettings
    database: Database
    cookies: Cookies
    sessions: Sessions
    hashing: Hashing
    sign_in: SignIn
    bearers: Bearers
    upstream: Upstream
    files: StaticFiles
    provider: Provider | None
