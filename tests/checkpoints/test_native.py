"""The native checkpoint: round trips, and one clear line for every kind of wrong file."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gazehound import create, load
from gazehound.checkpoints.native import Header, load_arrays, read_header, save_arrays
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

HEADER = Header(
    "retinanet_r18",
    {"channels": 32, "backbone": "resnet10t"},
    Classes(("cat", "größe"), (17, 90)),
    {"size": 128},
    {"scores": {"AP": 0.5, "APs": None}},
)


def test_header_and_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2], "b": np.zeros(0, np.int64)}
    save_arrays(tmp_path / "m.safetensors", arrays, HEADER)
    back, header = load_arrays(tmp_path / "m.safetensors")
    assert header == HEADER
    assert {k: v.tolist() for k, v in back.items()} == {k: v.tolist() for k, v in arrays.items()}
    assert [f.name for f in tmp_path.iterdir()] == ["m.safetensors"]  # no temporary file is left


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = tmp_path_factory.mktemp("whole") / "m.safetensors"
    create("retinanet_r18", ["a", "b"], channels=32, backbone="resnet10t").save(file)
    return file


@pytest.mark.parametrize("keep", [0, 4, 8, 200, 5000, -1])
def test_truncated_anywhere(whole, tmp_path, keep):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"cut\.safetensors: (truncated|not a safetensors|damaged)"
    ):
        load(cut)


def test_foreign_files(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps({"a": 1}, 2))
    (tmp_path / "text.safetensors").write_text("hello, this is no checkpoint at all")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for name, reason in {
        "torch": "looks like a torch",
        "pickle": "looks like a pickle",
        "text": "not a safetensors file",
        "plain": "not written by gazehound",
        "absent": "cannot be read",
    }.items():
        with pytest.raises(CheckpointError, match=reason):
            load(tmp_path / f"{name}.safetensors")


def test_tensors_that_do_not_fit_are_named(tmp_path, whole):
    from safetensors.torch import load_file

    tensors = load_file(whole)
    tensors["neck.p6.bias"] = torch.zeros(7)
    del tensors["neck.p7.bias"]
    save_file(tensors, tmp_path / "odd.safetensors", read_header(whole).to_metadata())
    with pytest.raises(
        CheckpointError, match=r"missing neck\.p7\.bias; neck\.p6\.bias is \(7,\), not "
    ):
        load(tmp_path / "odd.safetensors")


def test_names_of_the_catalogue():
    with pytest.raises(
        ConfigError, match="unknown model 'retinanet_r19'; did you mean retinanet_r18"
    ):
        load("retinanet_r19")
    with pytest.raises(ConfigError, match="'retinanet_r18' has no trained weights in this package"):
        load("retinanet-r18")
    with pytest.raises(ConfigError, match="unexpected keyword argument 'colour'"):
        create("retinanet_r18", ["a"], colour="red")
