"""Sources of logged episodes: npz, HDF5 as three projects lay it out, LeRobot, and what is broken in them."""

import sys
import types

import numpy as np
import pytest

from examples.two_room.logs import log_episodes, write_logs
from worldforge_jepa_client.diagnosis import Keys
from worldforge_jepa_client.diagnosis.logs import episodes as episode_checks
from worldforge_jepa_client.diagnosis.logs.episodes import check_episodes
from worldforge_jepa_client.diagnosis.logs.sources import read_source
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError


@pytest.fixture(scope="module")
def episodes():
    return list(log_episodes(3, 50, 0))


def test_broken_episodes_are_named_and_counted(client, episodes, tmp_path):
    write_logs(tmp_path, 3, 50, 0)
    unknown = {**episodes[0], "actions": episodes[0]["actions"] * np.nan}
    np.savez(tmp_path / "d_nan.npz", **unknown)
    (tmp_path / "a_broken.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "b_short.npz", **{key: each[:4] for key, each in episodes[0].items()})
    np.savez(tmp_path / "c_keyless.npz", frames=episodes[0]["frames"])
    good, broken = check_episodes(read_source(f"npz:{tmp_path}"), Keys(), client.model("tiny"), 15)
    assert len(good) == 3
    assert [each.name for each in broken] == ["a_broken.npz", "b_short.npz", "c_keyless.npz", "d_nan.npz"]
    assert "has 3 steps; a window needs 15" in broken[1].problem
    assert "has no key actions" in broken[2].problem
    assert broken[3].problem == "actions holds NaN or infinite values"


def test_reading_ends_at_the_bound_on_memory(client, episodes, monkeypatch):
    monkeypatch.setattr(episode_checks, "MOST_BYTES", episodes[0]["frames"].nbytes)
    good, _ = check_episodes(read_source(episodes), Keys(), client.model("tiny"), 15)
    assert len(good) == 2


def test_frames_may_have_their_channels_last_and_other_names(client, episodes):
    renamed = [{"rgb": np.moveaxis(e["frames"], 1, 3), "action": e["actions"], "state": e["proprio"]} for e in episodes]
    good, broken = check_episodes(read_source(renamed), Keys(frames="rgb"), client.model("tiny"), 15)
    assert not broken
    np.testing.assert_array_equal(good[0].frames, episodes[0]["frames"])


def write_groups(file, episodes):
    for index, each in enumerate(episodes):
        for key, array in each.items():
            file[f"episode_{index}/{key}"] = array


def write_robomimic(file, episodes):
    """As robomimic 0.3's dataset_states_to_obs.py: a frame an action, channels last, MuJoCo's states beside them."""
    for index, each in enumerate(episodes):
        steps, place = len(each["actions"]), f"data/demo_{index}"
        file[f"{place}/actions"], file[f"{place}/states"] = each["actions"], np.zeros((steps, 45))
        for obs, kept in (("obs", slice(0, steps)), ("next_obs", slice(1, steps + 1))):
            file[f"{place}/{obs}/agentview_image"] = np.moveaxis(each["frames"][kept], 1, 3)
            file[f"{place}/{obs}/robot0_eef_pos"] = each["proprio"][kept]
    file["mask/train"] = [b"demo_0"]


def write_stable_worldmodel(file, episodes):
    """As stable-worldmodel 0.1.1's HDF5Writer: columns of all episodes, a frame an action, the last action NaN."""
    lengths = [len(each["actions"]) for each in episodes]
    file["ep_len"], file["ep_offset"] = np.int32(lengths), np.int64(np.cumsum([0, *lengths[:-1]]))
    nan = np.full((1, 2), np.nan, np.float32)
    file["action"] = np.concatenate([np.concatenate([each["actions"][:-1], nan]) for each in episodes])
    file["pixels"] = np.concatenate([np.moveaxis(each["frames"][:-1], 1, 3) for each in episodes])
    file["proprio"] = file["state"] = np.concatenate([each["proprio"][:-1] for each in episodes])


@pytest.mark.parametrize("write", [write_groups, write_robomimic, write_stable_worldmodel])
def test_hdf5(client, episodes, tmp_path, write):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "log.hdf5"
    with h5py.File(path, "w") as file:
        write(file, episodes)
    good, broken = check_episodes(read_source(f"hdf5:{path}"), Keys(), client.model("tiny"), 15)
    assert (len(good), broken) == (len(episodes), [])
    for each, episode in zip(good, episodes, strict=True):
        assert each.steps >= 49
        for part in ("frames", "actions", "proprio"):
            np.testing.assert_array_equal(getattr(each, part)[:49], episode[part][:49])


class LeRobotDataset:
    """The surface of a v3 dataset: rows of floats in 0..1, and where each episode's rows are."""

    logged, video_keys = (), []

    def __init__(self, repo_id, root):
        self.rows = [
            {
                "observation.images.top": each["frames"][t] / 255,
                "observation.state": each["proprio"][t],
                "action": each["actions"][t],
            }
            for each in self.logged
            for t in range(len(each["actions"]))
        ]
        ends = [len(self.rows) // 2, len(self.rows)]
        rows = [
            {"episode_index": i, "dataset_from_index": ends[i - 1] if i else 0, "dataset_to_index": ends[i]}
            for i in range(2)
        ]
        self.meta = types.SimpleNamespace(episodes=rows, video_keys=self.video_keys)

    def __getitem__(self, index):
        if self.video_keys:
            raise ImportError("no decoder")
        return self.rows[index]


@pytest.fixture
def lerobot(episodes, tmp_path, monkeypatch):
    """The place of a LeRobot dataset, read through a stand-in for the library."""
    monkeypatch.setattr(LeRobotDataset, "logged", episodes[:2])
    module = types.SimpleNamespace(LeRobotDataset=LeRobotDataset)
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").touch()
    return f"lerobot:{tmp_path}"


def test_lerobot(client, episodes, lerobot):
    good, broken = check_episodes(read_source(lerobot), Keys(), client.model("tiny"), 15)
    assert not broken
    np.testing.assert_array_equal(good[1].frames[:9], episodes[1]["frames"][:9])


def test_a_lerobot_dataset_is_not_looked_for_on_the_hub(lerobot, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"no meta/info\.json"):
        list(read_source(f"{lerobot}/meta"))


def test_lerobot_videos_that_cannot_be_decoded_say_what_to_do(client, lerobot, monkeypatch):
    monkeypatch.setattr(LeRobotDataset, "video_keys", ["observation.images.top"])
    good, broken = check_episodes(read_source(lerobot), Keys(), client.model("tiny"), 15)
    assert (len(good), len(broken)) == (0, 2)
    assert "no decoder; if a decoder of its videos is missing, install torchcodec or av" in broken[0].problem


def test_a_source_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        FailedPreconditionError, match=r"pip install '.\[hdf5\]' in a checkout of worldforge-jepa"
    ) as refused:
        list(read_source(f"hdf5:{tmp_path}"))
    assert refused.value.reason == "PACKAGE_MISSING"
    monkeypatch.undo()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidArgumentError, match="cannot be read as an HDF5 file"):
        list(read_source(f"hdf5:{tmp_path / 'notes.txt'}"))
    for source in ("zarr:x", "npz:/nowhere"):
        with pytest.raises(InvalidArgumentError, match="episodes"):
            read_source(source)
