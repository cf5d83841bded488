import pytest

from tlplat.budget import Limit


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("90s", "seconds", 90),
        ("10m", "seconds", 600),
        ("1.5h", "seconds", 5400),
        (" 10 m ", "seconds", 600),
        ("epochs=300", "epochs", 300),
        ("trials=20", "trials", 20),
    ],
)
def test_every_form_is_read(text, unit, amount):
    assert Limit.parse(text) == Limit(unit, amount)


@pytest.mark.parametrize(
    "text", ["10", "10 minutes", "m", "-5m", "0s", "epochs=0", "trials=2.5", "steps=9", "1e3s", ""]
)
def test_anything_else_is_refused_with_the_text_in_the_message(text):
    with pytest.raises(ValueError, match=r"budget|more than 0") as refused:
        Limit.parse(text)
    assert repr(text) in str(refused.value)


def test_an_amount_beyond_all_use_is_refused():
    with pytest.raises(ValueError, match="at most"):
        Limit.parse("9" * 400 + "h")
