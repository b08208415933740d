"""Every text of the console's pages is in the dictionaries, in English and Vietnamese alike."""

import re
from functools import cache
from pathlib import Path

import pytest

from console_modules import evaluated

STATIC = Path(__file__).parents[2] / "services/rotary_console/static"
PARTS = {"shell": STATIC / "js/i18n", "manage": STATIC / "js/manage/i18n"}
SAME = {"carrier.viettel", "carrier.mobifone", "carrier.vinaphone", "carrier.vietnamobile"}
"""Names are the same in every language."""
NAMES = {"Rotary"}
PROSE = re.compile(r"[^\W\d_]{2,}")
SPOKEN = re.compile(r"\b(?:aria-label|title|placeholder|alt|label|hint)=\"([^\"]*)\"")
COMMENT = re.compile(r"^\s*(?://|/?\*).*$|/\*\*?.*?\*/", re.MULTILINE)


def modules() -> list[Path]:
    """Every module that is ours but the dictionaries."""
    return [path for path in sorted((STATIC / "js").rglob("*.js")) if path.parent.name != "i18n"]


@cache
def dictionary(part: str, language: str) -> dict[str, object]:
    found = evaluated(f"(await import({str(PARTS[part] / f'{language}.js')!r})).default")
    assert isinstance(found, dict)
    return found


def forms(text: object) -> list[str]:
    """A text, or the plural forms of one."""
    return [text] if isinstance(text, str) else list(text.values()) if isinstance(text, dict) else []


@pytest.mark.parametrize("part", PARTS)
def test_both_languages_have_the_same_texts(part: str) -> None:
    assert dictionary(part, "en").keys() == dictionary(part, "vi").keys()


@pytest.mark.parametrize("part", PARTS)
def test_a_text_has_the_same_values_in_both_languages(part: str) -> None:
    english, vietnamese = dictionary(part, "en"), dictionary(part, "vi")

    def values(text: object) -> set[str]:
        return {name for form in forms(text) for name in re.findall(r"\{(\w+)\}", form)} - {"count"}

    assert {key for key in english if values(english[key]) != values(vietnamese[key])} <= {"explain.volume"}


@pytest.mark.parametrize("part", PARTS)
def test_vietnamese_is_not_english(part: str) -> None:
    english, vietnamese = dictionary(part, "en"), dictionary(part, "vi")
    assert {key for key in english if english[key] == vietnamese[key]} <= SAME


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("language", ["en", "vi"])
def test_no_text_is_empty_and_plural_forms_are_those_of_the_language(part: str, language: str) -> None:
    for key, text in dictionary(part, language).items():
        assert all(form.strip() for form in forms(text)), key
        if not isinstance(text, str):
            assert isinstance(text, dict), key
            assert set(text) == ({"one", "other"} if language == "en" else {"other"}), key


def keys_used() -> tuple[set[str], list[re.Pattern[str]]]:
    """The keys that modules name, and patterns of those that they put together."""
    code = "\n".join(COMMENT.sub("", path.read_text()) for path in modules())
    named = set(re.findall(r"\"([a-z][\w]*(?:\.[\w ]+)+)\"", code))
    made = re.findall(r"`([a-z]\w*\.(?:[\w.]*\$\{[^`]*?\})[\w.]*)`", code)
    return named, [re.compile(re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(each))) for each in made]


def test_every_key_that_a_module_names_has_a_text() -> None:
    code = "\n".join(COMMENT.sub("", path.read_text()) for path in modules())
    known = dictionary("shell", "en").keys() | dictionary("manage", "en").keys()
    assert set(re.findall(r"\b(?:t|parts)\(\"([^\"]+)\"", code)) <= known
    assert set(re.findall(r"\btitle: \"([\w.]+)\"", code)) <= known


def test_every_text_is_used() -> None:
    named, made = keys_used()
    known = dictionary("shell", "en").keys() | dictionary("manage", "en").keys()
    unused = {key for key in known if key not in named and not any(each.fullmatch(key) for each in made)}
    # The navigation names the management pages, whoever registers them.
    assert {key for key in unused if not key.startswith("nav.")} == set()


def hard_coded(code: str) -> list[str]:
    """Texts in templates, and in attributes that are shown or read out."""
    templates = re.findall(r"html`((?:[^`\\]|\\.)*)`", flat(COMMENT.sub("", code)))
    texts = [text for template in templates for text in re.findall(r">([^<>]*)<", f">{template}<")]
    spoken = [text for template in templates for text in SPOKEN.findall(template)]
    return [text.strip() for text in texts + spoken if PROSE.search(text) and text.strip() not in NAMES]


def flat(code: str) -> str:
    """The code with what templates insert, and tags' attributes, taken out; innermost first."""
    while True:
        smaller = re.sub(r"\$\{(?:[^{}`]|`[^`$]*`|\{[^{}]*\})*\}", "", code)
        if smaller == code:
            return re.sub(r"html`([^`]*)`", lambda found: f"html`{found[1]}`", code)
        code = smaller


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(STATIC)))
def test_no_text_is_hard_coded(path: Path) -> None:
    assert hard_coded(path.read_text()) == []


def test_a_hard_coded_text_is_found() -> None:
    assert hard_coded("html`<p class=${name}>Save changes</p>`") == ["Save changes"]
    assert hard_coded('html`<p title="Save">${t("x")}</p>`') == ["Save"]
    assert hard_coded('html`<p>${t("x")} / ${a > b}</p><b class="long">+</b>`') == []
