"""What a run folder says of what it holds."""

import pytest

from nonverbal.errors import UserError
from nonverbal.training.run_folder import RunFolder


def test_other_data_under_the_same_path_is_named_by_its_hash(tmp_path):
    run = RunFolder(tmp_path)
    run.check_data({"shards": "1" * 64})
    run.check_data({"moved": "1" * 64})
    with pytest.raises(UserError, match=r"\(before: moved, sha256 11111111; now: moved, sha256 22222222\)"):
        run.check_data({"moved": "2" * 64})
