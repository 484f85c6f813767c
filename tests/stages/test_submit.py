import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fake_slurm import Fakes

from nonverbal.errors import UserError
from nonverbal.shipped import find_file, find_shipped
from nonverbal.stages.slurm import checks, sbatch, scripts
from nonverbal.stages.slurm.bash import quote_but_variables
from nonverbal.stages.slurm.settings import SubmitConfig, split
from nonverbal.training.launching.facts import staged_name

ODD = "it's $(touch broken) `touch broken` ; touch broken # & * 5%j"


def written(passed=(), **settings):
    return scripts.write_scripts(SubmitConfig(**{"staging": None, **settings}), list(passed))


def test_the_script_says_what_was_asked_for(tmp_path):
    asked = SubmitConfig(
        data=[Path("/shards/a"), Path("/shards/b")],
        out=tmp_path / "my run",
        nodes=2,
        gpus=4,
        cpus=6,
        memory="100G",
        hours=1.5,
        notice=2,
        account="me",
        setup="module load cuda\nulimit -n 4096",
    )
    lines = scripts.write_scripts(asked, ["--trainer.steps", "10"])[0].read_text().splitlines()
    for line in (
        "#SBATCH --job-name=my-run-pretrain",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH --cpus-per-task=6",
        "#SBATCH --mem=100G",
        "##SBATCH --partition=gpu",
        "#SBATCH --account=me",
        "#SBATCH --time=90",
        "#SBATCH --signal=USR1@120",
        "#SBATCH --requeue",
        f'#SBATCH --output="{tmp_path}/my run/slurm/pretrain-%j.log"',
        "module load cuda",
        "ulimit -n 4096",
        f"python=({sys.executable})",
        "settings=(--trainer.steps 10 --trainer.workers 5)",
        "data=(/shards/a /shards/b)",
        f"out='{tmp_path}/my run'",
        "processes=8",
        'staging=/tmp/nonverbal-"$SLURM_JOB_USER"',
        "check=true",
    ):
        assert line in lines, line
    # All but the upper part is the shipped script, and what it has in common with others.
    shipped, common = (find_file(f"slurm/{name}.sh").read_text() for name in ("pretrain", "common"))
    lower = shipped.replace("source slurm/common.sh\n", common).split("# What follows")[1]
    assert "\n".join(lines).split("# What follows")[1] == lower.rstrip("\n")
    assert "source" not in lower


def test_on_cpus_no_gpu_is_asked_for(tmp_path):
    pretrain, probe = written(data=[], out=tmp_path / "run", gpus=0, processes_per_node=3, then_probe=Path("cries"))
    assert "##SBATCH --gpus-per-node=4\n" in pretrain.read_text()
    assert "#SBATCH --ntasks-per-node=3\n" in pretrain.read_text()
    assert "##SBATCH --gpus-per-node=1\n" in probe.read_text()


@pytest.mark.parametrize("name", ["pretrain", "finetune", "probe"])
def test_a_shipped_script_can_be_run_as_it_is(fakes, tmp_path, name):
    script = tmp_path / "script.sh"
    (tmp_path / "slurm").symlink_to(find_shipped("slurm"))
    script.write_text(find_file(f"slurm/{name}.sh").read_text().replace(".venv/bin/python", fakes.python))
    for shards in ("voc125", "cries"):
        (tmp_path / "shards" / shards).mkdir(parents=True)
        (tmp_path / "shards" / shards / "index.json").touch()
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    result = fakes.run(script, tmp_path / "runs/voc2vec", TMPDIR=tmp_path, **array)
    assert result.returncode == 0, result.stderr
    assert fakes.arguments()[:3] == ["-m", "nonverbal", name]


def test_a_process_gets_its_place_and_every_word_as_it_was_typed(fakes, tmp_path):
    out, data = tmp_path / f"run {ODD}", tmp_path / f"shards {ODD}"
    script, probe = written(
        ["--wav2vec2.init", ODD, "--trainer.x=a b"], data=[data], out=out, nodes=4, gpus=2, then_probe=data
    )
    result = fakes.run(script, out)
    assert result.returncode == 0, result.stderr
    settings = ["--wav2vec2.init", ODD, "--trainer.x=a b", "--trainer.workers", "3"]
    passed = [*settings, "--data", str(data), "--out", str(out), "--trainer.processes", "8"]
    assert fakes.arguments() == ["-m", "nonverbal", "pretrain", *passed]
    environment = fakes.notes("environment")
    for line in (
        "RANK=5",
        "WORLD_SIZE=8",
        "LOCAL_RANK=1",
        "LOCAL_WORLD_SIZE=2",
        "MASTER_PORT=20007",
        "OMP_NUM_THREADS=4",
        "HF_HUB_OFFLINE=1",
    ):
        assert line in environment
    assert "--kill-on-bad-exit=1" in fakes.notes("srun")
    assert "--distribution=block:block" in fakes.notes("srun")

    assert fakes.run(probe, out).returncode == 0
    encoders = ["--encoders", "logmel", f"initialised:{out}/encoder", f"{out}/encoder"]
    rest = ["--pretraining", f"{data}/manifest.jsonl", "--out", f"{out}/probe"]
    assert fakes.arguments() == ["-m", "nonverbal", "probe", "--data", str(data), *encoders, *rest]
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize(
    ("visible", "listed", "local_rank"),
    [
        # The fake srun gives the task number 1 of its node.
        ("0,1,2,3", None, "1"),
        ("3", None, "0"),
        ("GPU-2dfb1c4a-1f0e-4a8c-9d55-6d5a1f0b7d11", None, "0"),
        ("MIG-7f1c2a3b-0d9e-5f6a-8b7c-1a2b3c4d5e6f", None, "0"),
        ("GPU-2dfb1c4a,GPU-8e0a77b3", None, "1"),
        (None, "GPU 0: NVIDIA H100 (UUID: GPU-2dfb1c4a)", "0"),
        (None, "GPU 0: NVIDIA H100 (UUID: GPU-2dfb1c4a)\n  MIG 1g.10gb Device 0: (UUID: MIG-7f1c2a3b)", "0"),
        (None, "GPU 0: NVIDIA H100 (UUID: GPU-2dfb1c4a)\nGPU 1: NVIDIA H100 (UUID: GPU-8e0a77b3)", "1"),
        # Without a driver, and without GPUs.
        (None, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "1"),
        ("", None, "1"),
    ],
)
def test_a_process_takes_a_gpu_that_it_sees(fakes, tmp_path, visible, listed, local_rank):
    (script,) = written(data=[tmp_path], out=tmp_path / "run")
    told = "exit 9" if listed is None else f"cat <<'END'\n{listed}\nEND"
    (tmp_path / "bin/nvidia-smi").write_text(f"#!/bin/bash\n{told}\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    text = script.read_text()
    if visible is None:
        # Whatever the machine of the tests has set.
        script.write_text(text.replace("set -euo pipefail\n", "set -euo pipefail\nunset CUDA_VISIBLE_DEVICES\n"))
    result = fakes.run(script, tmp_path / "run", CUDA_VISIBLE_DEVICES=visible)
    assert result.returncode == 0, result.stderr
    assert f"LOCAL_RANK={local_rank}" in fakes.notes("environment")


def test_settings_of_allocator_and_open_files(fakes, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    (script,) = written(data=[tmp_path], out=tmp_path / "run", setup="ulimit -Sn 500")
    fake = tmp_path / "bin/python"
    fake.write_text(
        fake.read_text().replace("env >", 'ulimit -Sn >> "$NOTES/files"; ulimit -Hn >> "$NOTES/files"; env >')
    )
    assert fakes.run(script, tmp_path / "run").returncode == 0
    assert "PYTORCH_ALLOC_CONF=expandable_segments:True" in fakes.notes("environment")
    assert "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in fakes.notes("environment")
    soft, hard = fakes.notes("files")[-2:]
    assert soft == hard != "500"
    # Either name that the user has set counts.
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        assert fakes.run(script, tmp_path / "run", **{name: "backend:native"}).returncode == 0
        assert "PYTORCH_ALLOC_CONF=backend:native" in fakes.notes("environment")
        assert "PYTORCH_CUDA_ALLOC_CONF=backend:native" in fakes.notes("environment")


@pytest.mark.parametrize("staging", [None, "/disk/$SLURM_JOB_USER"])
def test_a_launch_is_checked_first(fakes, tmp_path, staging):
    out, data = tmp_path / f"run {ODD}", tmp_path / f"shards {ODD}"
    (script,) = written(data=[data], out=out, gpus=4, staging=staging)
    stopped = fakes.run(script, out, CHECK=1)
    assert stopped.returncode == 1
    assert "launch-check ended with status 1, so the run was not started. Fix the problems above" in stopped.stdout
    disk = " --staging /disk/me" if staging else ""
    record = f"{out}/slurm/launch-check-7.json"
    (checked,) = fakes.notes("checked")
    assert checked == (
        f"1 -m nonverbal launch-check --data {data} --out {out}{disk} --processes 4 --timeout 600 --json {record}"
    )
    assert fakes.arguments()[2] == "launch-check"
    assert fakes.notes("scontrol") == []
    # Asked to stop meanwhile, it is queued again as a run is.
    assert fakes.run(script, out, CHECK=138).returncode == 138
    assert fakes.notes("scontrol") == ["requeue 7"]


@pytest.mark.parametrize("status", [2, 143])
def test_a_launch_in_which_a_process_did_not_answer_is_tried_three_times(fakes, tmp_path, status):
    """With status 143 srun has ended the others, after one had said who was missing."""
    out = tmp_path / "run"
    (script,) = written(data=[tmp_path], out=out)
    for launch in (1, 2):
        assert fakes.run(script, out, CHECK=status).returncode == status
        assert fakes.notes("scontrol") == ["requeue 7"] * launch
    last = fakes.run(script, out, CHECK=status)
    assert last.returncode == status
    assert "not requeued: stopped 3 times without completing another step" in last.stdout
    assert len(fakes.notes("scontrol")) == 2


def test_a_launch_with_findings_is_not_tried_again(fakes, tmp_path):
    """Also where srun ended a process that came to its end after the others."""
    out = tmp_path / "run"
    (script,) = written(data=[tmp_path], out=out)
    # An older record says nothing of this launch.
    (out / "slurm/launch-check-7.json").touch()
    fakes.run(script, out, CHECK=143)
    assert len(fakes.notes("scontrol")) == 1
    fakes.run(script, out, CHECK=143, FINDINGS=out / "slurm/launch-check-7.json")
    assert len(fakes.notes("scontrol")) == 1


def test_a_launch_is_not_checked_where_it_is_told_so(fakes, tmp_path):
    (script,) = written(data=[tmp_path], out=tmp_path / "run", check=False)
    assert fakes.run(script, tmp_path / "run", CHECK=1).returncode == 0
    assert fakes.notes("checked") == []
    assert fakes.arguments()[2] == "pretrain"


def test_python_may_be_in_a_container(fakes, tmp_path):
    container = tmp_path / "bin/apptainer"
    container.write_text('#!/bin/bash\nprintf "%s\\n" "${@:1:5}" > "$NOTES/container"\nshift 5\nexec "$@"\n')
    container.chmod(0o755)
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "index.json").write_text("{}")
    python = f"apptainer exec --nv --bind $SCRATCH 'it is $(touch broken).sif' {fakes.python}"
    out = tmp_path / "run"
    script, probe = written(data=[shards], out=out, python=python, staging="$SCRATCH/copy", then_probe=shards)
    scratch = tmp_path / "scratch disk"
    words = ["exec", "--nv", "--bind", str(scratch), "it is $(touch broken).sif"]
    for job in (script, probe):
        result = fakes.run(job, out, SCRATCH=scratch)
        assert result.returncode == 0, result.stderr
        assert fakes.notes("container") == words
        (tmp_path / "container").unlink()
    # Staging, check and run have all gone through it: nothing else starts this Python.
    assert len(fakes.notes("verified")) == len(fakes.notes("checked")) == 1
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize(
    ("recipe", "passed", "settings", "workers"),
    [
        ("seed: 1\n", [], {}, ["--trainer.workers", "3"]),
        ("trainer:\n  steps: 5\n", ["--trainer.steps", "9"], {"cpus": 12}, ["--trainer.workers", "11"]),
        ("seed: 1\n", [], {"cpus": 1}, ["--trainer.workers", "1"]),
        # Whoever says it is taken at their word.
        ("trainer:\n  workers: 2\n", [], {}, []),
        ("seed: 1\n", ["--trainer.workers=0"], {}, []),
        ("seed: 1\n", ["--trainer.workers", "6"], {}, []),
        # On CPUs a step takes long.
        ("seed: 1\n", [], {"gpus": 0}, []),
    ],
)
def test_cores_that_do_not_train_read_audio(tmp_path, recipe, passed, settings, workers):
    (tmp_path / "mine.yaml").write_text(recipe)
    asked = SubmitConfig(data=[], out=tmp_path / "run", **settings)
    assert scripts.workers(asked, [str(tmp_path / "mine.yaml"), *passed]) == workers
    (script,) = scripts.write_scripts(asked, [str(tmp_path / "mine.yaml"), *passed])
    shown = shlex.join([f"{tmp_path}/run/slurm/mine.yaml", *passed, *workers])
    assert f"settings=({shown})\n" in script.read_text()


def test_a_run_that_was_asked_to_stop_is_queued_again_while_it_gets_on(fakes, tmp_path):
    out = tmp_path / "run"
    (script,) = written(data=[tmp_path], out=out)
    for launch, step in enumerate((5, 6, 6, 6), 1):
        result = fakes.run(script, out, STATUS=138, STEP=step)
        assert result.returncode == 138
        assert len(fakes.notes("scontrol")) == launch
    assert fakes.notes("scontrol")[0] == "requeue 7"
    assert (
        "not requeued: stopped 3 times without completing another step"
        in fakes.run(script, out, STATUS=138, STEP=6).stdout
    )
    assert len(fakes.notes("scontrol")) == 4
    # Submitted again, it has another number.
    fakes.run(script, out, STATUS=138, STEP=6, SLURM_JOB_ID="8")
    assert fakes.notes("scontrol")[4:] == ["requeue 8"]


def test_a_run_that_failed_is_not_queued_again(fakes, tmp_path):
    out = tmp_path / "run"
    (script,) = written(data=[tmp_path], out=out)
    fakes.run(script, out, STATUS=138, STEP=5)
    # What the launch before it left behind does not count.
    assert fakes.run(script, out, STATUS=1).returncode == 1
    assert len(fakes.notes("scontrol")) == 1
    assert fakes.run(script, out, STATUS=143).returncode == 143
    assert len(fakes.notes("scontrol")) == 1


def test_a_run_that_was_asked_to_stop_before_it_could_say_so_is_queued_again(fakes, tmp_path):
    out = tmp_path / "run"
    (script,) = written(data=[tmp_path], out=out)
    fakes.run(script, out, STATUS=143, PREEMPTED="2030-01-01T00:00:00")
    assert len(fakes.notes("scontrol")) == 1
    fakes.run(script, out, STATUS=138)
    assert len(fakes.notes("scontrol")) == 2


def test_shards_are_copied_once_and_verified(fakes, tmp_path):
    out, shards = tmp_path / "run", tmp_path / "shards"
    shards.mkdir()
    (shards / "index.json").write_text("{}")
    (script,) = written(data=[shards], out=out, staging="${SCRATCH}/it's")
    scratch = tmp_path / "scratch disk"
    assert fakes.run(script, out, SCRATCH=scratch, VERIFY=2).returncode == 2
    assert fakes.notes("verified") == [str(path) for path in scratch.glob("it's/*.new")]
    for _ in range(2):
        assert fakes.run(script, out, SCRATCH=scratch).returncode == 0
        (copy,) = (path for path in (scratch / "it's").iterdir() if path.is_dir())
        assert (copy / "index.json").read_text() == "{}"
        assert fakes.arguments()[5:7] == ["--data", str(copy)]
        assert copy.name == staged_name(shards)
    assert len(fakes.notes("verified")) == 2
    assert fakes.notes("scontrol") == []
    # With a table beside them, they are other shards.
    (shards / "log-mel.json").write_text("{}")
    assert fakes.run(script, out, SCRATCH=scratch).returncode == 0
    assert (scratch / "it's" / staged_name(shards) / "log-mel.json").is_file()
    assert len(fakes.notes("verified")) == 3
    assert fakes.run(script, out, SCRATCH="/dev/null").returncode != 0


@pytest.mark.parametrize(
    "text", ["", "/a b", "$HOME", "/x/${HOME}'s", ODD, "$(echo $HOME)", '"$HOME"', "$1 $$ \\$HOME"]
)
def test_only_variables_are_what_they_are_in_the_job(text):
    printed = subprocess.run(["bash", "-uc", f"printf %s {quote_but_variables(text)}"], capture_output=True, text=True)
    assert printed.stdout == text.replace("${HOME}", "$HOME").replace("$HOME", os.environ["HOME"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 0}, "--nodes must be at least 1, but is 0"),
        ({"gpus": -1}, "--gpus must be at least 0"),
        ({"gpus": 2, "processes_per_node": 2}, "--processes_per_node needs --gpus 0"),
        ({"hours": 0.1, "notice": 6}, "--notice must be shorter than --hours, but is 6 of 6 minutes"),
        ({"partition": "a\n#SBATCH --nodes=9"}, "--partition must look like"),
        ({"account": "a b"}, "--account must look like"),
        ({"memory": "lots"}, "--memory must look like"),
        ({"python": "apptainer exec 'image.sif python"}, '--python must be a command such as .*, but is "apptainer'),
        ({"python": " "}, "--python must be a command such as .*, but is ' '"),
        ({"out": Path("a\nb")}, r"--out must not contain '\\n'; choose another name"),
        ({"out": Path('a"b,c')}, """--out must not contain '"' ','; choose another name"""),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        SubmitConfig(**{"data": [], "out": Path("run"), **settings})


def test_the_command_line_is_divided():
    argv = [
        "tiny.yaml",
        "--data",
        "a",
        "b",
        "--trainer.steps",
        "5",
        "--seed=3",
        "--nodes",
        "2",
        "--batches.weights.x",
        "1",
    ]
    own, passed = split(argv)
    assert own == ["--data", "a", "b", "--nodes", "2"]
    assert passed == ["tiny.yaml", "--trainer.steps", "5", "--seed=3", "--batches.weights.x", "1"]


def test_the_recipe_is_read_from_a_copy(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("seed: 1\n")
    (script,) = written([str(recipe), "--seed", "2"], data=[], out=tmp_path / "run")
    recipe.write_text("seed: 3\n")
    assert f"settings=({tmp_path}/run/slurm/mine.yaml --seed 2 --trainer.workers 3)\n" in script.read_text()
    assert (tmp_path / "run/slurm/mine.yaml").read_text() == "seed: 1\n"


def test_a_recipe_with_a_base_is_copied_as_one(tmp_path):
    (tmp_path / "base.yaml").write_text("trainer: {workers: 2, steps: 5}\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\ntrainer: {steps: 9}\n")
    (script,) = written([str(tmp_path / "mine.yaml")], data=[], out=tmp_path / "run")
    # The base has said how many processes read audio.
    assert f"settings=({tmp_path}/run/slurm/mine.yaml)\n" in script.read_text()
    copy = yaml.safe_load((tmp_path / "run/slurm/mine.yaml").read_text())
    assert copy == {"trainer": {"workers": 2, "steps": 9}}


@pytest.mark.parametrize(
    ("resolved", "settings", "message"),
    [
        ({"trainer": {"processes": 4}}, {}, "trainer.processes is computed from --nodes and --gpus; leave it out"),
        ({}, {"nodes": 3, "gpus": 2}, "3 x 2 processes share the 4 micro-batches of a step"),
        ({}, {"setup": "module load 'cuda"}, "--setup is not valid bash: .*unexpected EOF"),
    ],
)
def test_what_would_fail_after_the_queue_is_refused_before_it(make_shards, monkeypatch, resolved, settings, message):
    defaults = {"trainer": {"processes": None}, "batches": {"batches_per_step": 4}}
    shards = make_shards([("a", 1.0, "train")]).folder
    monkeypatch.setattr(checks, "resolve", lambda *_: defaults)
    checks.check_settings(SubmitConfig(data=[shards], out=Path("run")), [])
    monkeypatch.setattr(checks, "resolve", lambda *_: defaults | resolved)
    with pytest.raises(UserError, match=message):
        checks.check_settings(SubmitConfig(data=[shards], out=Path("run"), **settings), [])


def submit(*arguments, **environment):
    command = [sys.executable, "-m", "nonverbal", "submit", *map(str, arguments)]
    names = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=names)


@pytest.fixture
def command(make_shards, tmp_path):
    shards = make_shards([("a", 1.0, "train")]).folder
    (tmp_path / "cluster.yaml").write_text("partition: long\nsetup: |\n  module load a,b\n  echo hello\n")
    recipe, cluster = "recipes/pretrain/wav2vec2_tiny.yaml", tmp_path / "cluster.yaml"
    return [recipe, "--data", shards, "--out", tmp_path / "runs/my first", "--cluster", cluster, "--then_probe", shards]


@pytest.mark.processes
def test_both_scripts_are_submitted_the_probe_after_the_pretraining(command, tmp_path):
    fakes, folder = Fakes(tmp_path), tmp_path / "runs/my first/slurm"
    result = submit(*command, "--submit", "--account=me", "--trainer.steps", 10, PATH=fakes.path, NOTES=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"wrote {folder}/pretrain.sh",
        f"wrote {folder}/probe.sh",
        f"job 101: log in {folder}/pretrain-101.log",
        f"job 102: log in {folder}/probe-102.log",
    ]
    assert fakes.notes("sbatch") == [
        f"--parsable {folder}/pretrain.sh",
        f"--parsable --dependency=afterok:101 {folder}/probe.sh",
    ]
    text = (folder / "pretrain.sh").read_text()
    assert "#SBATCH --partition=long\n" in text
    assert "#SBATCH --account=me\n" in text
    assert "\nmodule load a,b\necho hello\n" in text
    assert not (tmp_path / "runs/my first/recipe.yaml").exists()


def test_how_to_submit_is_said(command, tmp_path):
    fakes = Fakes(tmp_path)
    scripts = [tmp_path / "it's/pretrain.sh", tmp_path / "it's/probe.sh"]
    line = sbatch.submit_command(scripts, "afterok")
    subprocess.run(["bash", "-euc", line], env={**os.environ, "PATH": fakes.path, "NOTES": str(tmp_path)}, check=True)
    assert fakes.notes("sbatch") == [f"--parsable {scripts[0]}", f"--dependency=afterok:101;first {scripts[1]}"]
    assert sbatch.submit_command(scripts[:1], "afterok") == f"sbatch {shlex.quote(str(scripts[0]))}"


def test_what_sbatch_says_is_said(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", fakes.path)
    monkeypatch.setenv("REFUSE", "invalid partition specified: long")
    with pytest.raises(UserError, match="sbatch refused run.sh: sbatch: error: invalid partition specified: long"):
        sbatch.submit(Path("run.sh"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="sbatch is not on the PATH; run.sh is written: submit it on a machine"):
        sbatch.submit(Path("run.sh"))


@pytest.mark.processes
def test_a_setting_that_pretraining_does_not_know_is_refused(command, tmp_path):
    result = submit(*command, "--trainer.step", "10")
    assert (result.returncode, result.stdout) == (2, "")
    assert "nonverbal: unknown key 'trainer.step' on the command line; did you mean 'trainer.steps'?" in result.stderr
    assert not (tmp_path / "runs").exists()
    result = submit(*command, "--node", "10")
    assert "nonverbal: unknown key 'node' on the command line; did you mean 'nodes'?" in result.stderr
