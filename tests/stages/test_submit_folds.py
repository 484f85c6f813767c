"""Fine-tuning on a cluster, as far as its scripts say: what the folds are told, which jobs are queued again."""

import os
import subprocess

import pytest
from fake_slurm import Fakes
from labelled_tones import labelled_shards, tones  # noqa: F401
from tuned_runs import arguments, tiny_encoder

from nonverbal.errors import UserError
from nonverbal.stages.finetuning.kept import KEPT
from nonverbal.stages.slurm import scripts
from nonverbal.stages.slurm.settings import SubmitConfig, split
from pretrain.submit import main

FOLDS = ["seed-0/fold-0", "seed-0/fold-1", "seed-1/fold-0"]
TASK = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "1"}


def written(out, passed=(), **settings):
    """Return the script of the folds and that of the job after them."""
    asked = {"data": [out], "out": out, "staging": None, "finetune": "x.yaml", **settings}
    return scripts.write_fold_scripts(SubmitConfig(**asked), list(passed), FOLDS)


@pytest.fixture
def run(tmp_path):
    """Return a run's folder with one for each fold."""
    for fold in FOLDS:
        (tmp_path / "run" / fold / "inner").mkdir(parents=True)
    return tmp_path / "run"


def test_one_job_is_an_array_and_the_other_is_not(run):
    folds, last = (path.read_text().splitlines() for path in written(run, at_once=2, gpus=4, nodes=2, hours=1.5))
    assert "#SBATCH --array=0-2%2" in folds
    assert not [line for line in last if line.startswith("#SBATCH --array")]
    assert f'#SBATCH --output="{run}/slurm/finetune-%A_%a.log"' in folds
    assert f'#SBATCH --output="{run}/slurm/finish-%j.log"' in last
    for lines, name in ((folds, "finetune"), (last, "finish")):
        assert f"#SBATCH --job-name=run-{name}" in lines
        for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--time=90", "--signal=USR1@300"):
            assert f"#SBATCH {line}" in lines
        assert "folds=(seed-0/fold-0 seed-0/fold-1 seed-1/fold-0)" in lines
        assert "processes=8" in lines
    assert "#SBATCH --array=0-2" in written(run)[0].read_text().splitlines()


def test_a_task_trains_its_fold(fakes, run):
    script = written(run, ["--init", "it's $(touch broken)"], gpus=0)[0]
    for task, fold in enumerate(FOLDS):
        result = fakes.run(script, run, SLURM_ARRAY_JOB_ID=5, SLURM_ARRAY_TASK_ID=task, SLURM_JOB_ID=7 + task)
        assert result.returncode == 0, result.stderr
        passed = ["--init", "it's $(touch broken)", "--only", fold]
        rest = ["--data", str(run), "--out", str(run), "--trainer.processes", "1"]
        assert fakes.arguments() == ["-m", "nonverbal", "finetune", *passed, *rest]
        # Two folds on one node do not meet.
        assert f"MASTER_PORT={20007 + task}" in fakes.notes("environment")
    assert (fakes.folder / "checked").read_text().count(f"launch-check-5_{len(FOLDS) - 1}.json") == 1
    assert not (fakes.folder / "broken").exists()


def test_the_last_job_names_the_folds_that_are_not_done(fakes, run):
    last = written(run, ["--final"], gpus=0)[1]
    (run / FOLDS[1] / KEPT).touch()
    result = fakes.run(last, run)
    assert result.returncode == 1
    assert f"not done: {FOLDS[0]} {FOLDS[2]}. See their logs in {run}/slurm" in result.stdout
    assert fakes.notes("srun") == []
    for fold in FOLDS:
        (run / fold / KEPT).touch()
    assert fakes.run(last, run).returncode == 0
    rest = ["--data", str(run), "--out", str(run), "--trainer.processes", "1"]
    assert fakes.arguments() == ["-m", "nonverbal", "finetune", "--final", *rest]


def test_the_task_of_a_fold_that_was_asked_to_stop_is_queued_again_alone(fakes, run):
    """Of the last task SLURM_JOB_ID is that of the array, which would be queued again as a whole."""
    script, last = written(run, gpus=0)
    marker = f"{FOLDS[1]}/interrupted.json"
    for launch, step in enumerate((5, 6, 6, 6), 1):
        assert fakes.run(script, run, STATUS=138, STEP=step, MARKER=marker, SLURM_JOB_ID=5, **TASK).returncode == 138
        assert fakes.notes("scontrol") == ["requeue 5_1"] * launch
    stopped = fakes.run(script, run, STATUS=138, STEP=6, MARKER=marker, SLURM_JOB_ID=5, **TASK)
    assert "not requeued: stopped 3 times without completing another step" in stopped.stdout
    # What one fold has used up is not another's.
    other = {**TASK, "SLURM_ARRAY_TASK_ID": "2"}
    fakes.run(script, run, STATUS=143, STEP=6, MARKER=f"{FOLDS[2]}/interrupted.json", SLURM_JOB_ID=6, **other)
    assert fakes.notes("scontrol")[4:] == ["requeue 5_2"]
    # The training of the final model likewise.
    for fold in FOLDS:
        (run / fold / KEPT).touch()
    (run / "final").mkdir()
    fakes.run(last, run, STATUS=143, STEP=3, MARKER="final/interrupted.json")
    assert fakes.notes("scontrol")[5:] == ["requeue 7"]


def test_a_refitted_fold_gets_on_when_it_begins_to_count_again(fakes, run):
    script = written(run, gpus=0)[0]
    inner, refitted = f"{FOLDS[1]}/inner/interrupted.json", f"{FOLDS[1]}/interrupted.json"
    stops = [(900, inner), (900, inner), (900, inner), (2, refitted), (3, refitted), (3, refitted), (3, refitted)]
    for launch, (step, marker) in enumerate(stops, 1):
        fakes.run(script, run, STATUS=138, STEP=step, MARKER=marker, **TASK)
        assert len(fakes.notes("scontrol")) == launch
    fakes.run(script, run, STATUS=138, STEP=3, MARKER=refitted, **TASK)
    assert len(fakes.notes("scontrol")) == len(stops)


def test_a_fold_that_fails_is_not_queued_again(fakes, run):
    script = written(run, gpus=0)[0]
    fakes.run(script, run, STATUS=138, STEP=5, MARKER=f"{FOLDS[1]}/interrupted.json", **TASK)
    # What the launch before it left behind does not count, nor what another fold left.
    (run / FOLDS[0] / "interrupted.json").write_text('{"cause": "SIGTERM", "step": 3}')
    assert fakes.run(script, run, STATUS=2, **TASK).returncode == 2
    assert len(fakes.notes("scontrol")) == 1
    assert (run / FOLDS[0] / "interrupted.json").exists()


def test_the_command_line_is_divided():
    argv = [
        "--finetune",
        "a.yaml",
        "--data",
        "x",
        "--init",
        "e",
        "--nodes=2",
        "--labels",
        "b",
        "c",
        "--then-probe",
        "d",
    ]
    own, passed = split([*argv, "--trainer.steps", "5", "--final", "--at-once=3"])
    assert own == ["--finetune", "a.yaml", "--data", "x", "--nodes=2", "--then-probe", "d", "--at-once=3"]
    assert passed == ["--init", "e", "--labels", "b", "c", "--trainer.steps", "5", "--final"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at_once": 2}, "--at_once needs --finetune and must be at least 1, but is 2"),
        ({"at_once": 0, "finetune": "a.yaml"}, "--at_once .* must be at least 1, but is 0"),
        ({"then_probe": "x", "finetune": "a.yaml"}, "--then_probe is for pretraining"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        SubmitConfig(data=[], out=tmp_path, **settings)


@pytest.fixture
def given(labelled_shards, tmp_path):  # noqa: F811
    """Return the settings of a fine-tuning that can be submitted, but for its recipe."""
    shards = labelled_shards(tones(speakers=6, takes=2)).folder
    return arguments(shards, tiny_encoder(tmp_path / "encoder"), tmp_path / "runs/mine")


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text("seeds: [0, 3]\n")
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epoch", "3"], "unknown key 'epoch' on the command line; did you mean 'epochs'?"),
        (["--jobs", "2"], "the array sets jobs and only"),
        (["--only", "seed-0/fold-0"], "the array sets jobs and only"),
        (["--trainer.processes", "2"], "trainer.processes is computed from --nodes and --gpus"),
        (["--gpus", "4"], "1 x 4 processes share the 2 micro-batches of a step"),
        (["--setup", "module load 'cuda"], "--setup is not valid bash"),
        (["--folds", "7"], "folds must be 2 to 6, the number of groups, but is 7"),
        (["--init", "/nowhere/encoder"], "/nowhere/encoder"),
        (["--head.pooling=attentive", "--final"], "--final writes a model for plain transformers, but"),
    ],
)
def test_what_would_fail_after_the_queue_is_refused_before_anything_is_written(given, recipe, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        main(["--finetune", str(recipe), *given, "--gpus", "0", *more])
    assert not (tmp_path / "runs").exists()


def test_both_are_submitted_the_last_job_whatever_becomes_of_the_folds(given, recipe, tmp_path, monkeypatch, capsys):
    fakes, folder = Fakes(tmp_path), tmp_path / "runs/mine/slurm"
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("PATH", fakes.path)
    main(["--finetune", str(recipe), *given, "--gpus", "0", "--submit"])
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {folder}/finetune.sh",
        f"wrote {folder}/finish.sh",
        f"job 101: log in {folder}/finetune-101_*.log",
        f"job 102: log in {folder}/finish-102.log",
    ]
    assert fakes.notes("sbatch") == [
        f"--parsable {folder}/finetune.sh",
        f"--parsable --dependency=afterany:101 {folder}/finish.sh",
    ]
    text = (folder / "finetune.sh").read_text()
    assert "\n#SBATCH --array=0-5\n" in text
    assert "\nfolds=(seed-0/fold-0 seed-0/fold-1 seed-0/fold-2 seed-3/fold-0 seed-3/fold-1 seed-3/fold-2)\n" in text
    assert f"\nsettings=({folder}/mine.yaml --init=" in text
    # Nothing of the run itself is there yet.
    assert [path.name for path in folder.parent.iterdir()] == ["slurm"]


def test_the_line_that_is_printed_submits_both(given, recipe, tmp_path, monkeypatch, capsys):
    fakes, folder = Fakes(tmp_path), tmp_path / "runs/mine/slurm"
    main(["--finetune", str(recipe), *given, "--gpus", "0"])
    line = capsys.readouterr().out.splitlines()[-1].removeprefix("submit with: ")
    subprocess.run(["bash", "-euc", line], env={**os.environ, "PATH": fakes.path, "NOTES": str(tmp_path)}, check=True)
    assert fakes.notes("sbatch") == [
        f"--parsable {folder}/finetune.sh",
        f"--dependency=afterany:101;first {folder}/finish.sh",
    ]
