"""Make a folder for the Hugging Face Hub: ``nonverbal release RUN_OR_MODEL --repo ORG/NAME --out FOLDER``.

By path: ``python evaluate/release.py RUN_OR_MODEL --repo ... --out ...``. The folder holds the model, its card and its
passport, and nothing else. Licences are checked first: the combined terms of the corpora and the starting checkpoint
are printed, terms on data must be acknowledged, and a model that terms forbid is refused. With ``--push`` the folder is
also released on the Hub, in a private repository unless ``--public`` is given.
"""

from functools import partial
from itertools import pairwise

from nonverbal import cli
from nonverbal.config import load, with_first
from nonverbal.evaluation.tables import Table, show
from nonverbal.release.card import CARD
from nonverbal.release.card_tables import sources_table
from nonverbal.release.facts import Facts
from nonverbal.release.folder import check_terms, private_names, write_release
from nonverbal.release.hub import check_push, push
from nonverbal.release.public import command_line
from nonverbal.release.settings import ReleaseConfig
from nonverbal.release.terms import ReleaseTerms
from nonverbal.release.trained import NOT_HERE
from nonverbal.release.verify import verify

PUSHING = ("--push", "--public", "--tag")
"""Settings that do not affect the folder, and so are not in the command that its card shows."""

TEXTS = ("--description", "--citation")
"""Settings that are texts, which the card shows in their own sections."""


def main(argv: list[str]) -> None:
    """Read the model, print what licences allow, measure, and write."""
    settings = load(ReleaseConfig, with_first(argv, "source"), prog="nonverbal release", description=__doc__)
    facts, terms = check_terms(settings)
    say(facts, terms)
    if settings.push:
        check_push(settings.repo, settings.tag)
    out = write_release(facts, terms, settings, command_line(["release", *shown(argv)]))
    print(
        f"wrote {out}: {len(list(out.iterdir()))} files; read {out / CARD}, and check it with: nonverbal verify {out}"
    )
    if settings.push:
        checks = partial(verify, trust=True, names=private_names(facts, settings))
        print(f"released at {push(out, settings.repo, checks, not settings.public, settings.tag)}")


def shown(argv: list[str]) -> list[str]:
    """Leave out texts, and settings of pushing alone, so that the folder is the same with and without ``--push``."""
    kept: list[str] = []
    for before, word in pairwise(["", *argv]):
        key = word.partition("=")[0]
        # The value of an option may be the next word.
        of_those = before in (*PUSHING, *TEXTS) and not word.startswith("--")
        if key not in (*PUSHING, *TEXTS) and not of_those:
            kept.append(word)
    return kept


def say(facts: Facts, terms: ReleaseTerms) -> None:
    """Print what licences allow, and what is not known."""
    show(
        [sources_table(facts), Table(f"licence: {terms.licence} {terms.licence_name}".rstrip(), [], [], terms.notices)]
    )
    for missing in facts.trained.missing:
        print(f"not known: {missing}")
    for start in facts.trained.starts:
        if start.terms.remark == NOT_HERE:
            print(f"if {start.name} is a checkpoint of the Hub, name it with --base_model")


if __name__ == "__main__":
    cli.run(main)
