"""No input of a user ends in a traceback, a hang, a crash, or an accepted nonsense."""

import pytest
from campaign import campaign
from fuzz_case import Case
from fuzz_settings import setting_cases
from judge import judge

OUTCOME = {
    "code": 2,
    "signal": None,
    "seconds": 0.1,
    "hung": False,
    "stdout": "",
    "stderr": "error: train.lr must be a number, got 'a'\n",
    "changed": [],
}
CASE = Case(words=("sweep", "plan", "quickstart"), kind="flag", rule="refuse", names=("train.lr",))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_malformed_input_is_refused_in_one_line(request: pytest.FixtureRequest) -> None:
    """Thousands of cases of one seed; --fuzz-seed chooses another."""
    assert campaign(request.config.getoption("--fuzz-seed")) == []


@pytest.mark.slow
def test_a_new_setting_is_fuzzed_without_a_line() -> None:
    """Each field of each command's settings has flags, axes, members and files."""
    kinds = {case.kind.split()[0] for case in setting_cases() if "train.lr" in case.names}
    assert kinds >= {"flag:", "axis:", "member:", "toml", "json"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "refused"),
        ({"code": 0}, "NONSENSE"),
        ({"code": 77}, "NONSENSE"),
        ({"code": 1}, "NONSENSE"),
        ({"code": 70, "stderr": "Traceback (most recent call last):\n"}, "TRACEBACK"),
        ({"code": None, "signal": 9}, "CRASH"),
        ({"code": 70, "stderr": "Traceback\nMemoryError\n"}, "CRASH"),
        ({"hung": True, "code": None}, "HANG"),
        ({"changed": ["a"]}, "CHANGED"),
        ({"stderr": "error: it must be a number\n"}, "MESSAGE"),
        ({"stderr": "error: train.lr must be\na number\n"}, "MESSAGE"),
        ({"stderr": ""}, "MESSAGE"),
        ({"stderr": "\u256d error \u256e\n\u2502 --train.lr: train.lr \u2502\n"}, "refused"),
    ],
)
def test_an_outcome_is_judged_by_its_code_its_message_and_its_changes(changes, word) -> None:
    assert judge(CASE, OUTCOME | changes) == word


def test_a_message_that_repeats_a_long_input_is_a_failure() -> None:
    case = Case(words=("sweep", "plan", "x" * 5000), kind="words", rule="refuse")
    assert judge(case, OUTCOME | {"stderr": f"error: got {'x' * 200} ...\n"}) == "refused"
    assert judge(case, OUTCOME | {"stderr": f"error: got {'x' * 300} ...\n"}) == "MESSAGE"
