"""A disk that keeps only what was synced: the content of files that were, and the names in folders that were."""

import os
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import CLIPS, rows_of, trainer_of


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


class Disk:
    """Notes what is synced, by inode."""

    def __init__(self, monkeypatch):
        self.contents, self.names = {}, {}
        sync = os.fsync

        def noted(descriptor):
            sync(descriptor)
            path, inode = Path(f"/proc/self/fd/{descriptor}").resolve(), os.fstat(descriptor).st_ino
            if path.is_dir():
                self.names[inode] = {one.name: (one.stat().st_ino, one.is_dir()) for one in path.iterdir()}
            else:
                self.contents[inode] = path.read_bytes()

        monkeypatch.setattr(os, "fsync", noted)

    def after_power_loss(self, folder, copy):
        """Write to ``copy`` what is left of ``folder``."""
        self._restore(folder.stat().st_ino, True, copy)

    def _restore(self, inode, is_folder, copy):
        # A name whose file or folder was not synced is an empty one.
        if not is_folder:
            copy.write_bytes(self.contents.get(inode, b""))
            return
        copy.mkdir()
        for name, child in self.names.get(inode, {}).items():
            self._restore(*child, copy / name)


@pytest.mark.parametrize("last", [1, 4, 5, 9, 12])
def test_after_a_power_loss_a_run_continues_as_after_a_kill(tmp_path, shards, monkeypatch, last):
    trainer_of(tmp_path / "whole", shards).train()
    disk = Disk(monkeypatch)
    with closing(trainer_of(tmp_path / "cut", shards).steps()) as steps:
        assert next(taken for taken in steps if taken.number == last)
    disk.after_power_loss(tmp_path / "cut", tmp_path / "left") if last > 1 else (tmp_path / "left").mkdir()
    done = [int(path.name[5:]) for path in (tmp_path / "left").glob("checkpoints/step-*")]
    # Checkpoints after every fourth step, and after each validation that is better.
    assert max(done, default=0) >= last // 4 * 4
    trainer_of(tmp_path / "left", shards).train()
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "left")
    assert (tmp_path / "whole/best").read_text() == (tmp_path / "left/best").read_text()
    for path in ("checkpoints/step-12/model.safetensors", "encoder/model.safetensors"):
        whole, left = load_file(tmp_path / "whole" / path), load_file(tmp_path / "left" / path)
        assert all(torch.equal(whole[name], left[name]) for name in whole)
