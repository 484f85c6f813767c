"""Find leaks between two folders of shards, or within one: ``nonverbal audit A [B] [--json FILE] [--strict]``.

By path: ``python evaluate/audit.py A B``. A leak is a clip on both sides: with the same samples, from the same
recording, of the same speaker, or with a stretch of the same sound, which an acoustic fingerprint finds through gain,
resampling, codecs and cuts. Between A and B, every such pair counts; within A, only pairs with one clip in train and
one in validation.

``nonverbal audit [A] --folds FILE`` looks for what the sides of folds share: folds of ``nonverbal folds``, EmoBox or
s3prl, or a table with paths and sides. A holds the sounds and their speakers; without A, only the contents of the lists
are compared.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from nonverbal import cli, config
from nonverbal.data.audit.fold_leaks import FoldAudit, ListAudit, Shared, audit_lists
from nonverbal.data.audit.fold_lists import read_lists
from nonverbal.data.audit.leaks import KINDS, Audit, audit, write_exclusion
from nonverbal.data.index import open_shards
from nonverbal.data.preparing.settings import available_processors
from nonverbal.errors import UserError
from nonverbal.files import write_atomically
from nonverbal.paths import check_folder_of
from nonverbal.terminal import console_of
from nonverbal.text import one_line


@dataclass
class AuditConfig:
    """Which folders or folds are audited, and what is looked for."""

    a: Path | None = None
    """Folder of shards made by `nonverbal prepare`. It may come first, without `--a`."""
    b: Path | None = None
    """Another folder of shards. It may come second, without `--b`. Unset: leaks within A."""
    folds: Path | None = None
    """Lists of folds, a file or a folder: each list is searched for what is on both of its sides. With A, the shards
    that hold the files of the lists."""
    speaker: str | None = None
    r"""Regular expression for paths in --folds, whose first group is the speaker, for lists that do not name speakers:
    `actor_(\d+)`."""
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    """What two clips must not share: samples, recording, speaker, sound."""
    shown: int = 10
    """Number of pairs that share sound to print; --json holds all pairs."""
    json: Path | None = None
    """File for all pairs, counts, settings, and hashes of the content of the folders."""
    exclude: Path | None = None
    """File for a manifest: with it, `nonverbal prepare --exclude` makes A again without the clips that it shares with
    B."""
    strict: bool = False
    """End with exit code 2 if there is a leak."""
    processes: int = field(default_factory=available_processors)
    """Processes that compute fingerprints."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(f"--kinds must be among {', '.join(KINDS)}, but has {kind!r}")
        if not self.kinds:
            raise UserError(f"--kinds must name at least one of {', '.join(KINDS)}")
        for name, least in (("shown", 0), ("processes", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")
        if self.a is None and self.folds is None:
            raise UserError(
                "there is nothing to audit: give one or two folders of shards, or lists of folds (--folds FILE)"
            )
        if self.folds is not None and (self.b is not None or self.exclude is not None):
            raise UserError(f"--folds takes one folder of shards at most, and no --{'b' if self.b else 'exclude'}")
        if self.speaker is not None and self.folds is None:
            raise UserError("--speaker applies to the paths in --folds; give --folds too")
        if self.exclude is not None and self.b is None:
            raise UserError(
                "--exclude needs two folders: nonverbal audit A B --exclude FILE; for one folder, name in a "
                "metadata.csv what was recorded together (docs/prepare.md), and prepare it again"
            )


def main(argv: list[str]) -> None:
    """Audit, show and write the results, and with ``--strict`` fail if there is a leak."""
    settings = config.load(AuditConfig, with_folders(argv), prog="nonverbal audit", description=__doc__)
    for name, path in (("json", settings.json), ("exclude", settings.exclude)):
        check_folder_of(path, name)
    if settings.folds is not None:
        audit_folds(settings, settings.folds)
        return
    assert settings.a is not None, "settings refuse that"
    a, b = open_shards(settings.a), None if settings.b is None else open_shards(settings.b)
    if b is not None and a.sha256 == b.sha256:
        raise UserError(
            f"{settings.a} and {settings.b} hold the same clips; to audit one folder: nonverbal audit {settings.a}"
        )
    result = audit(a, b, settings.kinds, settings.processes)
    show(result, settings.shown)
    if settings.json is not None:
        write_atomically(settings.json, json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n")
        print(f"wrote {settings.json}")
    if settings.exclude is not None:
        print(f"wrote {settings.exclude}: {write_exclusion(settings.exclude, result)} clips")
    if settings.strict and result.leaks():
        raise UserError(f"--strict: {verdict(result)}")


def audit_folds(settings: AuditConfig, path: Path) -> None:
    """Audit lists of folds, show and write the results, and with ``--strict`` fail if there is a leak."""
    shards = None if settings.a is None else open_shards(settings.a)
    result = audit_lists(read_lists(path), shards, settings.kinds, settings.speaker, settings.processes)
    console = console_of(140)
    console.print(sides_of(result))
    if shards is not None and result.missing:
        note = f"{len(result.missing)} of {result.listed} files are not in {shards.folder}, such as {result.missing[0]}"
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    verdict = verdict_on_folds(result, path)
    console.print(verdict, style="bold red" if result.leaks else "green", markup=False, soft_wrap=True)
    if settings.json is not None:
        write_atomically(settings.json, json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n")
        print(f"wrote {settings.json}")
    if settings.strict and result.leaks:
        raise UserError(f"--strict: {verdict}")


def sides_of(result: ListAudit) -> Table:
    """Return the table of folds: how many files each side has, and how many test files share something, by kind."""
    kinds = list(result.folds[0].test)
    table = Table("fold", "train", "validation", "test", *(f"test: same {kind}" for kind in kinds))
    for fold in result.folds:
        counts = [str(count) for count in fold.counts.values()]
        table.add_row(escape(one_line(fold.fold)), *counts, *(_said(fold, kind) for kind in kinds))
        if fold.validation:
            row = [_said_of(shared, fold.counts["validation"]) for shared in fold.validation.values()]
            table.add_row("  its validation and train", "", "", "", *row, style="dim")
    return table


def _said(fold: FoldAudit, kind: str) -> str:
    return _said_of(fold.test[kind], fold.counts["test"])


def _said_of(shared: Shared, files: int) -> str:
    if not shared.known:
        return "unknown"
    unknown = files - shared.known
    return str(shared.clips) + (f" ({unknown} unknown)" if unknown else "")


def verdict_on_folds(result: ListAudit, path: Path) -> str:
    """Return the result for lists of folds in one line."""
    if leaks := result.leaks:
        said = ", ".join(f"{kind} in {count} of {len(result.folds)} folds" for kind, count in leaks.items())
        return f"LEAK: in {path}, the test side shares with the training or validation side: {said}"
    of = {
        kind: [fold.test[kind].known == fold.counts["test"] for fold in result.folds] for kind in result.folds[0].test
    }
    unknown = [kind for kind, known in of.items() if not all(known)]
    but = f"; not known for all files: {', '.join(unknown)}" if unknown else ""
    return f"no leak in {path} by {', '.join(kind for kind in of if kind not in unknown)}{but}"


def with_folders(argv: list[str]) -> list[str]:
    """Turn one or two leading folders into ``--a=A --b=B``."""
    leading = 0
    while leading < min(len(argv), 2) and not argv[leading].startswith("-"):
        leading += 1
    named = [f"--{key}={folder}" for key, folder in zip("ab", argv[:leading], strict=False)]
    return [*named, *argv[leading:]]


def show(result: Audit, shown: int) -> None:
    """Print the counts, the pairs that share sound, and the verdict."""
    console = console_of(140)
    if result.counts():
        console.print(counts_between(result) if result.b else counts_within(result))
    sounds = [pair for pair in result.pairs if "sound" in pair.kinds]
    if sounds[:shown]:
        console.print(strongest(result, shown))
    a, b = result.concerned()
    line = f"{len(a)} of {len(result.a.clips)} clips of {result.a.shards.folder} are in a pair"
    more = f", and {len(b)} of {len(result.b.clips)} of {result.b.shards.folder}" if result.b else ""
    console.print(line + more, markup=False, soft_wrap=True)
    if result.found is not None and result.found.left_out:
        out, of = result.found.left_out, result.found.left_out + result.found.compared
        note = (
            f"note: {out} of {of} comparisons were skipped, because too many clips share their fingerprint words; "
            "pairs may be missing"
        )
        console.print(note, soft_wrap=True)
    style = "bold red" if result.leaks() else "green"
    console.print(verdict(result), style=style, markup=False, soft_wrap=True)


def verdict(result: Audit) -> str:
    """Return the result in one line."""
    leaks = result.leaks()
    pairs = ", ".join(f"{number} by {kind}" for kind, number in leaks.items())
    if result.b is not None:
        between = f"{result.a.shards.folder} and {result.b.shards.folder}"
        return f"LEAK: pairs between {between}: {pairs}" if leaks else f"no leak between {between}"
    folder = result.a.shards.folder
    if leaks:
        return f"LEAK: pairs that straddle train and validation in {folder}: {pairs}"
    apart = sum(result.apart(pair.a, pair.b) for pair in result.pairs)
    more = f"; {apart} pairs are in different groups, which other splits and folds may separate" if apart else ""
    return f"no pair straddles train and validation in {folder}{more}"


def counts_between(result: Audit) -> Table:
    """Return the table of pairs between two folders."""
    table = Table("shared", "corpus of A", "corpus of B", "pairs", "clips of A", "clips of B")
    for key, count in result.counts().items():
        table.add_row(*key, str(count.pairs), str(len(count.a)), str(len(count.b)))
    return table


def counts_within(result: Audit) -> Table:
    """Return the table of pairs within one folder: those that stay together in every split, and the others."""
    table = Table("shared", "corpus", "corpus", "pairs", "in one group", "in different groups", "straddling", "clips")
    for key, count in result.counts().items():
        figures = (count.pairs, count.pairs - count.apart, count.apart, count.straddling, len(count.a | count.b))
        table.add_row(*key, *map(str, figures))
    return table


def strongest(result: Audit, shown: int) -> Table:
    """Return the table of pairs that share sound: the worst kind first, then the surest."""
    chosen = [pair for pair in result.pairs if "sound" in pair.kinds][:shown]
    table = Table("clip", "clip", "begins at, s", "overlap, s", "bit errors", *([] if result.b else ["where"]))
    for pair in chosen:
        assert pair.offset is not None
        ids = [escape(one_line(clips[i].id)) for clips, i in ((result.a.clips, pair.a), (result.other.clips, pair.b))]
        where = "straddling" if result.straddles(pair.a, pair.b) else "groups" if result.apart(pair.a, pair.b) else "-"
        row = (*ids, f"{pair.offset:+.2f}", f"{pair.overlap:.2f}", f"{pair.rate:.3f}")
        table.add_row(*row, *([] if result.b else [where]))
    return table


if __name__ == "__main__":
    cli.run(main)
