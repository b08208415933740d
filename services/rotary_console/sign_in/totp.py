"""One-time codes (RFC 6238: six digits, 30 seconds). A code is accepted once."""

from hmac import compare_digest

import pyotp

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""How many steps a device's clock may be off."""
ISSUER = "Rotary"


def new_secret() -> str:
    """160 random bits, in base 32."""
    return pyotp.random_base32(32)


def uri(secret: str, user_name: str) -> str:
    """What an authenticator reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=user_name, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now_ms: int, last_step: int | None) -> int | None:
    """The time step whose code this is, if that is now (or nearly) and later than the last one that was used."""
    totp, now = pyotp.TOTP(secret), now_ms // 1000 // STEP_SECONDS
    digits = "".join(code.split())
    steps = range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1)
    # Every code is compared, in constant time.
    found = [step for step in steps if compare_digest(totp.generate_otp(step).encode(), digits.encode())]
    return next((step for step in found if last_step is None or step > last_step), None)
