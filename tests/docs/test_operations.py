"""docs/operations.md, followed word by word."""

from tests.docs.documents import follow


def test_an_operator_gets_from_nothing_to_a_secured_server(tmp_path):
    printed = "".join(follow("docs/operations.md", tmp_path).values())
    assert "SERVING" in printed
    assert "best candidate" in printed
    assert printed.splitlines().count("refused") == 2
    assert "Traceback" not in printed
