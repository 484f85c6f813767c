import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nonverbal.data.arrays import read_array
from nonverbal.data.index import TABLE_DTYPE, open_shards
from nonverbal.files import sha256_of

KINDS = st.sampled_from(["<f4", ">f8", "<u2", "|u1", "<i8", "|b1", TABLE_DTYPE])


@given(arrays(KINDS, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)), st.booleans())
def test_an_array_is_read_as_numpy_reads_it(tmp_path_factory, array, in_fortran_order):
    path = tmp_path_factory.mktemp("array") / "a.npy"
    np.save(path, np.asfortranarray(array) if in_fortran_order else array)
    read, sha256 = read_array(path)
    expected = np.load(path)
    assert (read.dtype, read.shape, read.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    assert sha256 == sha256_of(path)


def test_an_array_that_is_cut_anywhere_or_followed_by_more_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(ValueError, match="not a NumPy array"):
            read_array(tmp_path / "a.npy")


def test_a_table_that_is_truncated_while_it_is_open_stays_as_it_was(make_shards):
    made = make_shards([("a", 1.0, "train")] * 3)
    shards = open_shards(made.folder)
    samples = [shards.read(row) for row in range(3)]
    # A page of a memory map beyond the end of its file ends the process by SIGBUS.
    os.truncate(made.folder / "table.npy", 0)
    assert all(np.array_equal(shards.read(row), samples[row]) for row in range(3))
