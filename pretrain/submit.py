"""Pretrain on a Slurm cluster: ``nonverbal submit RECIPE.yaml --data SHARDS --out RUN --nodes 2 --gpus 4``.

By path: ``python pretrain/submit.py RECIPE.yaml --data SHARDS ...``. Takes every setting of ``nonverbal pretrain`` too,
and writes RUN/slurm/pretrain.sh, which you can read and change before you hand it to sbatch; ``--submit`` does that.
The run saves itself before its time is over and when it is preempted, and is queued again until it is done.
"""

from nonverbal import cli, config
from nonverbal.stages.slurm import SubmitConfig, check_settings, split, submit, submit_command, write_scripts


def main(argv: list[str]) -> None:
    """Check the settings, write the scripts, and submit them or say how."""
    own, passed = split(argv)
    settings = config.load(SubmitConfig, with_cluster(own), prog="nonverbal submit", description=__doc__)
    check_settings(settings, passed)
    scripts = write_scripts(settings, passed)
    print("\n".join(f"wrote {script}" for script in scripts))
    if not settings.submit:
        print(f"submit with: {submit_command(scripts)}")
        return
    job = None
    for script in scripts:
        job = submit(script, after=job)
        print(f"job {job}: log in {script.with_name(f'{script.stem}-{job}.log')}")


def with_cluster(own: list[str]) -> list[str]:
    """Put the file of ``--cluster`` where ``config.load`` looks for a recipe."""
    for position, argument in enumerate(own):
        key, _, value = argument.partition("=")
        if key == "--cluster":
            return [*([value] if value else own[position + 1 : position + 2]), *own]
    return own


if __name__ == "__main__":
    cli.run(main)
