"""When a session's cookie changes, when guessing is slowed down, and which passwords and codes are accepted."""

from datetime import timedelta

import pyotp
import pytest

from rotary.management.errors import InvalidError
from rotary.management.passwords import (
    check_password,
    generate_password,
    hash_password,
    is_outdated,
    verify_password,
)
from rotary_console.sign_in.sessions import GRACE_SECONDS, ROTATE_SECONDS, TOUCH_SECONDS, Action, Seen, decide
from rotary_console.sign_in.throttle import (
    ATTACKED_AT,
    MAX_BY_DEVICE,
    MAX_BY_NETWORK,
    MAX_BY_PAIR,
    MAX_BY_PAIR_OF_ATTACKED,
    MAX_WRONG_CODES,
    SLOW_SECONDS,
    WINDOW_SECONDS,
    Attempts,
    Verdict,
    judge,
)
from rotary_console.sign_in.totp import matching_step, uri


def seen(
    *, current: bool = True, former: bool = False, ending: bool = False, rotated: float = 100, last: float = 0
) -> Seen:
    return Seen(current, former, ending, timedelta(seconds=rotated), timedelta(seconds=last))


OLD, JUST_LATE = ROTATE_SECONDS, GRACE_SECONDS


@pytest.mark.parametrize(
    ("case", "found", "action"),
    [
        ("just used", seen(), "nothing"),
        ("unused for a minute", seen(last=TOUCH_SECONDS), "touch"),
        ("an old value", seen(rotated=OLD), "rotate"),
        ("an old value that was unused", seen(rotated=OLD, last=TOUCH_SECONDS), "rotate"),
        ("the successor's first use ends the former value", seen(former=True, rotated=1), "touch"),
        ("its second use changes nothing", seen(former=True, ending=True, rotated=1), "nothing"),
        ("a request that was overtaken", seen(current=False, former=True, rotated=1), "nothing"),
        ("a successor that was lost", seen(current=False, former=True, rotated=JUST_LATE), "rotate"),
        ("the former value, though its successor arrived", seen(current=False, ending=True, rotated=OLD), "nothing"),
    ],
)
def test_what_a_request_does_to_its_session(case: str, found: Seen, action: Action) -> None:
    assert decide(found) == action, case


NOW = Verdict()
FULL = Attempts(by_pair=MAX_BY_PAIR, pair_age=10.0, by_network=MAX_BY_NETWORK, network_age=20.0, by_account=ATTACKED_AT)


def test_what_others_do_never_slows_down_a_known_browser() -> None:
    assert judge(FULL, "known") == NOW
    assert judge(Attempts(wrong_codes=99, wrong_code_age=1.0), "known") == NOW


def test_a_known_browser_has_failures_of_its_own() -> None:
    assert judge(Attempts(by_device=MAX_BY_DEVICE - 1), "known") == NOW
    assert judge(Attempts(by_device=MAX_BY_DEVICE, device_age=1.0), "known").retry_after == WINDOW_SECONDS - 1


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        (Attempts(by_pair=MAX_BY_PAIR - 1, pair_age=1.0), 0),
        (Attempts(by_pair=MAX_BY_PAIR, pair_age=10.5), WINDOW_SECONDS - 10),
        (Attempts(by_network=MAX_BY_NETWORK, network_age=WINDOW_SECONDS - 0.5), 1),
        (Attempts(by_network=MAX_BY_NETWORK - 1), 0),
        (Attempts(wrong_codes=MAX_WRONG_CODES, wrong_code_age=0.0), WINDOW_SECONDS),
        (Attempts(wrong_codes=MAX_WRONG_CODES - 1), 0),
    ],
)
def test_an_unknown_browser_waits_until_the_oldest_failure_counts_no_more(attempts: Attempts, seconds: int) -> None:
    assert judge(attempts, "unknown").retry_after == seconds


def test_an_attacked_account_is_slow_for_unknown_browsers_and_closed_to_none() -> None:
    assert judge(Attempts(by_account=ATTACKED_AT - 1), "unknown") == NOW
    assert judge(Attempts(by_account=10 * ATTACKED_AT), "unknown") == Verdict(delay=SLOW_SECONDS)
    fewer = Attempts(by_account=ATTACKED_AT, by_pair=MAX_BY_PAIR_OF_ATTACKED, pair_age=0.0)
    assert judge(fewer, "unknown").retry_after == WINDOW_SECONDS


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
AT = 1_800_000_000_000
STEP = AT // 30_000


def code(step: int) -> str:
    return pyotp.TOTP(SECRET).generate_otp(step)


def test_a_code_of_now_or_of_a_clock_that_is_half_a_minute_off_is_accepted() -> None:
    for drift in (-1, 0, 1):
        assert matching_step(SECRET, code(STEP + drift), AT, None) == STEP + drift
    assert matching_step(SECRET, f" {code(STEP)[:3]} {code(STEP)[3:]} ", AT, None) == STEP
    for wrong in (code(STEP - 2), code(STEP + 2), "", "000000", "x", "\u0661\u0662\u0663\u0664\u0665\u0666"):
        assert matching_step(SECRET, wrong, AT, None) is None


def test_no_code_is_accepted_again_nor_one_before_it() -> None:
    assert matching_step(SECRET, code(STEP), AT, STEP) is None
    assert matching_step(SECRET, code(STEP - 1), AT, STEP) is None
    assert matching_step(SECRET, code(STEP + 1), AT, STEP) == STEP + 1


def test_an_authenticator_reads_whose_secret_it_is() -> None:
    assert uri(SECRET, "a@b.example") == f"otpauth://totp/Rotary:a%40b.example?secret={SECRET}&issuer=Rotary"


def test_a_password_is_verified_whichever_way_its_letters_are_composed() -> None:
    stored = hash_password("mật khẩu đủ dài".encode().decode())
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    decomposed = "ma\u0302\u0323t kha\u0302\u0309u \u0111u\u0309 da\u0300i"
    assert verify_password(stored, decomposed)
    assert not verify_password(stored, "mat khau du dai")
    assert not is_outdated(stored)


def test_nobody_has_a_password_that_is_not_stored() -> None:
    assert not verify_password(None, "")
    assert not verify_password("", "anything")
    assert not verify_password("$argon2id$broken", "anything")


def test_a_hash_of_lesser_strength_is_outdated() -> None:
    assert is_outdated("$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaA")


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 11, "x" * 40, "abababababab", "y" * 257, "alice-alice!", "Alice1234567", "\u00e9" * 11],
)
def test_passwords_that_are_easily_guessed_are_refused(password: str) -> None:
    with pytest.raises(InvalidError):
        check_password(password, "alice@example.com")


@pytest.mark.parametrize("password", ["correct horse battery", "Saigon-2026-tháng-5"])
def test_other_passwords_are_accepted(password: str) -> None:
    check_password(password, "alice@example.com")


def test_generated_passwords_are_accepted() -> None:
    check_password(generate_password(), "alice@example.com")
