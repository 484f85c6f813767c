import pytest
from tiny_runs import CLIPS, MAMBA, pretrain, pretrain_here


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


def test_the_first_lines_say_which_scan_runs_and_without_the_setting_another_continues(tmp_path, shards, capsys):
    few = (*MAMBA, "trainer.steps=2", "trainer.optimizer.warmup_steps=1")
    pretrain_here(shards, tmp_path / "run", *few)
    assert "selective scan: C++" in capsys.readouterr().out
    recipe = tmp_path / "run/recipe.yaml"
    written = recipe.read_text()
    assert "  scan: auto\n" in written
    recipe.write_text(written.replace("  scan: auto\n", ""))
    pretrain_here(shards, tmp_path / "run", *few, "ssam.scan=PyTorch")
    assert "selective scan: PyTorch" in capsys.readouterr().out


@pytest.mark.processes
@pytest.mark.slow
def test_a_scan_that_cannot_run_here_is_refused_before_anything_is_written(tmp_path, shards):
    refused = pretrain(shards, tmp_path / "run", *MAMBA, "ssam.scan=mamba-ssm")
    assert refused.returncode == 2
    assert "ssam.scan is mamba-ssm, which cannot compute scans on cpu: it is for cuda devices" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run/recipe.yaml").exists()
