"""Names of tests do not depend on the folder; the rest is seen in tests/commands/test_verify.py."""

from tpdyn.testing.outcomes import name_of


def test_a_name_is_the_file_and_the_test() -> None:
    assert name_of("some/where/test_a.py::test_b[1-x::y]") == "test_a.py::test_b[1-x::y]"
    assert name_of("some/where/test_a.py") == "test_a.py"
