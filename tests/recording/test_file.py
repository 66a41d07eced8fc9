"""The file of a recording: what was written is read, wherever a crash has cut it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.tools.recording.file import FIRST_LINE, Writer, read
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall

CALLS = st.lists(
    st.builds(RecordedCall, method=st.text(), request=st.binary(max_size=300), responses=st.lists(st.binary())),
    max_size=4,
)


def written(folder, calls, limit=2**20):
    """The bytes of a recording, and the sizes at which each of its calls ends."""
    path, ends = folder / "calls.rec", []
    path.unlink(missing_ok=True)
    with Writer(path, limit) as writer:
        for call in calls:
            writer.add(call)
            ends.append(path.stat().st_size)
    return path, ends


@given(calls=CALLS, data=st.data())
def test_cut_file_is_read_up_to_its_last_whole_call(tmp_path_factory, calls, data):
    path, ends = written(tmp_path_factory.getbasetemp(), calls)
    whole = path.read_bytes()
    cut = data.draw(st.integers(len(FIRST_LINE), len(whole)))
    path.write_bytes(whole[:cut])
    assert list(read(path)) == calls[: sum(end <= cut for end in ends)]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, tail):
    path = tmp_path_factory.getbasetemp() / "damaged.rec"
    path.write_bytes(FIRST_LINE + tail)
    try:
        list(read(path))
    except InvalidArgumentError as error:
        assert error.reason == "MALFORMED_MESSAGE"


def test_full_file_keeps_its_bound_and_counts_what_it_drops(tmp_path):
    calls = [RecordedCall(request=bytes(size)) for size in (100, 100, 10)]
    path, _ = written(tmp_path, calls, limit=180)
    assert list(read(path)) == calls[:1]  # nor the third, which would fit: what stands behind a gap misleads
    assert path.stat().st_size <= 180


def test_writer_replaces_no_file(tmp_path):
    written(tmp_path, [])
    with pytest.raises(FileExistsError):
        Writer(tmp_path / "calls.rec", 100)


def test_other_file_is_refused(tmp_path):
    (tmp_path / "other").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InvalidArgumentError, match="no recording"):
        list(read(tmp_path / "other"))
