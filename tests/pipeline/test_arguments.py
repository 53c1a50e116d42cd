import pytest

from pipeline import arguments


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (arguments.count, {"1": 1, " 20": 20}, ["0", "-1", "1.5", "", "many"]),
        (arguments.natural, {"0": 0, "7": 7}, ["-1", "0.5", ""]),
        (arguments.positive, {"0.5": 0.5, "3": 3.0}, ["0", "-1", "inf", "nan", ""]),
        (arguments.probability, {"0.5": 0.5, "1e-3": 0.001}, ["0", "1", "-0.1", "nan", "half"]),
    ],
)
def test_valid_numbers_are_accepted_and_others_refused(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(ValueError):
            kind(text)
