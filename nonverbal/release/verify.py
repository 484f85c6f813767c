"""Verification of a released folder: its files against its passport, and its model against the passport's figures."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.models import device
from nonverbal.evaluation.exactness import EXACT
from nonverbal.release import measuring
from nonverbal.release.contents import Contents, contents_of
from nonverbal.release.file_checks import (
    check_bits,
    check_code,
    check_inside,
    check_links,
    check_pickles,
    check_surplus,
    check_weights,
    few,
)
from nonverbal.release.findings import Finding, wrong
from nonverbal.release.measuring import Loaded, Unloadable, gap
from nonverbal.release.passport import PASSPORT, Measured, Passport, read_passport
from nonverbal.release.text_checks import check_names, check_paths, check_sizes, check_tokens

ACROSS = 1e-4
"""Largest difference between float32 embeddings on two machines or stacks, divided by the layer's RMS."""

ON_GPU = 10
"""Factor on the limits of this toolkit's figures on a GPU, where kernels add in another order."""

UNSAFE = ("link", "path outside", "code")
"""Checks that must pass before anything is loaded."""

LOADING = {
    "missing": ("missing key", "a value in the files for each weight of the model"),
    "unknown": ("unknown key", "a place in the model for each weight of the files"),
    "drawn": ("key drawn at random", "the same weights each time that it is loaded"),
    "not finite": ("NaN or infinite", "finite numbers"),
    "unlike": ("weight not as in the file", "the values of the files, under either spelling of weight norm"),
}
"""From the kind of fault of weights to the name of its check and the expected state."""

MOST: dict[str, Callable[[float], float]] = {
    "batch": lambda stated: EXACT,
    "ours batch": lambda stated: EXACT,
    "ours padded": lambda stated: EXACT,
    "ours alone": lambda stated: ACROSS,
    "probabilities batch": lambda stated: EXACT,
    "padded": lambda stated: max(1.1 * stated, ACROSS),
    "probabilities padded": lambda stated: max(1.1 * stated, ACROSS),
    # These vary, because processors round differently.
    "bf16": lambda stated: max(2 * stated, 0.05),
    "gpu": lambda stated: max(10 * stated, 1e-3),
}
"""From the name of a figure to its limit, given the passport's value, or 0 if the passport has none."""


def verify(folder: Path, trust: bool = False, python: Path | None = None, names: Iterable[str] = ()) -> list[Finding]:
    """Check a released folder, and return the findings of all checks, passed or failed.

    Args:
        folder: a folder with ``passport.json``.
        trust: whether Python code in the folder may be run, provided that each code file has its hash in the passport.
        python: interpreter of another environment with torch and transformers, in which the model is loaded.
        names: names of speakers, none of which may occur: see ``check_names``.

    Raises:
        UserError: there is no such folder or interpreter, or the interpreter lacks torch or transformers.
    """
    found = contents_of(folder)
    passport, findings = _passport(found)
    findings += look(found, passport, trust, names)
    unsafe = [finding for finding in wrong(findings) if finding.check in UNSAFE]
    if found.code and (passport is None or any(finding.file in found.code for finding in wrong(findings))):
        unsafe += [Finding("code", False, found.code[0], "not as in the passport", "the passport's hash", "see above")]
    if unsafe:
        reasons = few(list(dict.fromkeys(finding.check for finding in unsafe)))
        return [*findings, Finding("loads", False, "", f"not tried: {reasons}", "a safe folder", "see above")]
    return findings + load(folder, passport, trust, python)


def look(found: Contents, passport: Passport | None, trust: bool, names: Iterable[str]) -> list[Finding]:
    """Run the checks that load nothing."""
    checks: dict[str, Iterator[Finding]] = {
        "link": check_links(found),
        "path outside": check_inside(found, passport),
        "missing file, changed bit": check_bits(found, passport) if passport else iter(()),
        "file too many": check_surplus(found, passport) if passport else iter(()),
        "pickle": check_pickles(found),
        "too large": check_sizes(found),
        "weights": check_weights(found),
        "code": check_code(found, trust),
        "local path": check_paths(found),
        "token": check_tokens(found),
        "name": check_names(found, names),
    }
    findings = []
    for name, check in checks.items():
        # A text is searched as it stands and as parsed JSON, which may give equal findings.
        findings += [*dict.fromkeys(check)] or [_well(name, f"files: {len(found.files)}")]
    return findings


def load(folder: Path, passport: Passport | None, trust: bool, python: Path | None) -> list[Finding]:
    """Load a model with transformers alone in another process, measure it again, and compare."""
    try:
        loaded = measuring.run_plain(folder, trust, python)
    except Unloadable as error:
        return [Finding("loads", False, "", str(error), "a model that transformers loads", "release it again")]
    findings = [_well("loads", in_words(loaded.measured)), *weights(loaded)]
    if wrong(findings) or passport is None:
        return findings
    findings += compared(passport.measured[0], loaded.measured)
    try:
        ours = measuring.with_ours(folder, loaded.measured)
    except UserError as error:
        return [*findings, Finding("ours alone", False, "", str(error), "loaded by this toolkit", "release it again")]
    return findings + figures(passport.measured[0], ours, [name for name in MOST if name.startswith("ours")])


def weights(loaded: Loaded) -> Iterator[Finding]:
    """Find weights that were not loaded as in the files."""
    for key, (check, expected) in LOADING.items():
        if names := loaded.loading[key]:
            yield Finding(check, False, "model.safetensors", few(names), expected, "release the model again")
        else:
            yield _well(check, "none")


def compared(stated: Measured, now: Measured) -> list[Finding]:
    """Compare what was measured now, with transformers alone, with the passport."""
    apart = gap(now, stated.sketch)
    expected = f"at most {ACROSS:g} of a layer's RMS from the passport's"
    remedy = "compare versions with the passport's; if only they differ, report it to the publisher of the model"
    well = apart <= ACROSS
    first = Finding("embeddings", well, PASSPORT, f"{apart:.1e}", expected, "" if well else remedy)
    return [first, *figures(stated, now, [name for name in MOST if not name.startswith("ours")])]


def figures(stated: Measured, now: Measured, names: Iterable[str]) -> list[Finding]:
    """Compare the named figures that were measured now with the passport's."""
    found = []
    for name in names:
        value, said = now.figures.get(name), stated.figures.get(name)
        if value is not None:
            most = MOST[name](said or 0.0) * (ON_GPU if name.startswith("ours") and device() == "cuda" else 1)
            well = value <= most
            expected = f"at most {most:.2g}" + ("" if said is None else f"; the passport says {said:.2g}")
            remedy = "" if well else "measure with the passport's versions; if it persists, release the model again"
            found.append(Finding(name, well, "", f"{value:.2g}", expected, remedy))
    return found


def in_words(measured: Measured) -> str:
    """Return a stack in words."""
    return ", ".join(f"{name} {version}" for name, version in measured.stack.items())


def _passport(found: Contents) -> tuple[Passport | None, list[Finding]]:
    try:
        if PASSPORT not in found.files:
            raise UserError("the folder has no such file")
        passport = read_passport(found.folder)
    except UserError as error:
        remedy = "release the model again; without a passport, its files and figures cannot be compared"
        return None, [Finding("passport", False, PASSPORT, str(error), "a passport", remedy)]
    return passport, [_well("passport", f"files: {len(passport.files)}, stacks: {len(passport.measured)}")]


def _well(check: str, value: str) -> Finding:
    return Finding(check, True, "", value, "", "")
