"""What is wrong with a body of the engine is told once, under the name of the field."""

import msgspec
import pytest

from rotary_engine.http.requests import InvalidBodyError, decode

UNKNOWN = ["Unknown field."]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"carier": "viettel"}, {"carier": UNKNOWN}),
        ({"picks": [{"carier": "viettel"}]}, {"picks[0].carier": UNKNOWN}),
        ({"picks": [{}, {"picks": [{}]}]}, {"picks[1].picks": UNKNOWN}),
        ({"picks": [{"carier": 1}, 3]}, {"picks[0].carier": UNKNOWN, "picks[1]": ["Expected an object."]}),
        ({"picks": [{"exclude": [0]}], "more": 1}, {"picks[0].exclude[0]": ["Expected `int` >= 1."], "more": UNKNOWN}),
        ({"picks": {}}, {"picks": ["Expected `array`, got `object`."]}),
    ],
)
def test_a_wrong_field_has_one_name(body: object, errors: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidBodyError) as refused:
        decode(msgspec.json.encode(body))
    assert refused.value.violations == errors
