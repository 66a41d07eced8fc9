"""docs/operations.md, followed word by word."""

from tests.docs.documents import follow


def test_an_operator_gets_from_nothing_to_a_secured_watched_server(tmp_path):
    followed = follow("docs/operations.md", tmp_path, ports=("9464",))
    printed = "".join(followed.printed.values())
    assert "SERVING" in printed
    assert "best candidate" in printed
    assert 'worldforge_jepa_candidates_total{model="tiny"} 64.0' in printed
    assert 'WorldModelService/Score", ' in printed
    assert printed.splitlines().count("refused") == 2
    assert "Traceback" not in printed
    assert len(followed.skipped) == 5
