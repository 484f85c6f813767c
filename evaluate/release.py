"""A folder for the Hugging Face Hub: ``nonverbal release RUN_OR_MODEL --repo ORG/NAME --out FOLDER``.

By path: ``python evaluate/release.py RUN_OR_MODEL --repo ... --out ...``. The folder holds the model, its card and its
passport, and nothing else. Licences are looked at first: what the terms of corpora and of a starting checkpoint leave
is printed, terms on data have to be acknowledged, and terms that forbid the model refuse it.
"""

from nonverbal import cli
from nonverbal.config import load
from nonverbal.evaluation.tables import Table, show
from nonverbal.release.card import CARD, sources_table
from nonverbal.release.facts import Facts
from nonverbal.release.folder import check_terms, write_release
from nonverbal.release.public import command_line
from nonverbal.release.settings import ReleaseConfig
from nonverbal.release.terms import ReleaseTerms


def main(argv: list[str]) -> None:
    """Read, say what licences allow, measure, and write."""
    settings = load(ReleaseConfig, with_model(argv), prog="nonverbal release", description=__doc__)
    facts, terms = check_terms(settings)
    say(facts, terms)
    out = write_release(facts, terms, settings, command_line(["release", *argv]))
    print(
        f"wrote {out}: {len(list(out.iterdir()))} files; read {out / CARD}, and check it with: nonverbal verify {out}"
    )


def with_model(argv: list[str]) -> list[str]:
    """Give the leading argument the name that it stands for."""
    return ["--source", *argv] if argv and not argv[0].startswith("-") else argv


def say(facts: Facts, terms: ReleaseTerms) -> None:
    """Print what licences allow, and what is not known."""
    show(
        [sources_table(facts), Table(f"licence: {terms.licence} {terms.licence_name}".rstrip(), [], [], terms.notices)]
    )
    for missing in facts.trained.missing:
        print(f"not known: {missing}")


if __name__ == "__main__":
    cli.run(main)
