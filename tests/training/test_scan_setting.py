import pytest
from tiny_runs import CLIPS, MAMBA, pretrain


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


def test_the_first_lines_say_which_scan_runs_and_a_run_without_the_setting_is_continued_by_another(tmp_path, shards):
    few = (*MAMBA, "trainer.steps=2", "trainer.optimizer.warmup_steps=1")
    first = pretrain(shards, tmp_path / "run", *few)
    assert first.returncode == 0, first.stderr
    assert "selective scan: C++" in first.stderr + first.stdout
    recipe = tmp_path / "run/recipe.yaml"
    written = recipe.read_text()
    assert "  scan: auto\n" in written
    recipe.write_text(written.replace("  scan: auto\n", ""))
    again = pretrain(shards, tmp_path / "run", *few, "ssam.scan=PyTorch")
    assert again.returncode == 0, again.stderr
    assert "selective scan: PyTorch" in again.stderr + again.stdout


@pytest.mark.slow
def test_a_scan_that_cannot_run_here_is_refused_before_anything_is_written(tmp_path, shards):
    refused = pretrain(shards, tmp_path / "run", *MAMBA, "ssam.scan=mamba-ssm")
    assert refused.returncode == 2
    assert "ssam.scan is mamba-ssm, which cannot compute scans on cpu: it is for cuda devices" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run/recipe.yaml").exists()
