"""Turn folders of sound into shards: ``nonverbal prepare [RECIPE.yaml] NAME=FOLDER ... --out SHARDS``.

By path: ``python pretrain/prepare.py NAME=FOLDER ... --out SHARDS``. Every clip is decoded, checked, brought to 16 kHz
mono and kept once; the ledger records what happened to every file. ``nonverbal prepare --verify SHARDS`` compares
shards with their index. ``nonverbal prepare --log-mel SHARDS`` adds the means and deviations by which SSAM standardises
its input, so that training reads less.
"""

import re
from pathlib import Path

from nonverbal import cli, config
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, available_processors
from nonverbal.data.preparing.shards import verify
from nonverbal.errors import UserError
from nonverbal.files import room_for
from nonverbal.paths import expanded


def main(argv: list[str]) -> None:
    """Prepare, verify what was prepared, or add to it what SSAM standardises clips by."""
    if argv[:1] in (["--verify"], ["--log-mel"]):
        option = argv[0]
        if len(argv) != 2:
            raise UserError(f"{option} takes one folder of shards and nothing else: nonverbal prepare {option} SHARDS")
        folder = Path(expanded(argv[1], option))
        if option == "--log-mel":
            add_log_mel(folder)
        else:
            print(f"{folder}: {verify(folder)} files are as they were written")
        return
    prepare(config.load(PrepareConfig, with_corpora(argv), prog="nonverbal prepare", description=__doc__))


def add_log_mel(folder: Path) -> None:
    """Write the mean and deviation of each part's log-mel spectrogram."""
    # Imported only here, because it imports torch and transformers, which takes seconds.
    from nonverbal.data.log_mel import TABLE, write_log_mel

    with room_for(folder):
        table = write_log_mel(folder, available_processors())
    print(f"{folder / TABLE}: {len(table.values)} parts")


def with_corpora(argv: list[str]) -> list[str]:
    """Turn each leading ``NAME=FOLDER`` into ``--corpora.NAME.folder=FOLDER``.

    Raises:
        UserError: two folders have the same name, or a folder has none.
    """
    arguments: list[str] = []
    names = set()
    leading = True
    for argument in argv:
        named = re.fullmatch(r"([^-/=.][^/=.]*)=(.+)", argument)
        leading = leading and not argument.startswith("-")
        if not (leading and named):
            if leading and Path(argument).is_dir():
                raise UserError(f"{argument} is a folder: give its corpus a name, such as sounds={argument}")
            arguments.append(argument)
            continue
        if named[1] in names:
            raise UserError(f"{argument}: the corpus {named[1]!r} was given before; give each folder a name of its own")
        names.add(named[1])
        arguments.append(f"--corpora.{named[1]}.folder={named[2]}")
    return arguments


if __name__ == "__main__":
    cli.run(main)
