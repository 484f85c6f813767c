"""The tables of a model card, and the sentences that explain them."""

import math

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.encoders import KINDS
from nonverbal.evaluation.exactness import EXACT
from nonverbal.evaluation.tables import Table, md
from nonverbal.licences import in_words
from nonverbal.release.facts import Facts
from nonverbal.release.passport import FIGURES, Passport
from nonverbal.release.terms import NOBODY
from nonverbal.tasks.contamination import BY_AUTHORS, HELD_OUT, LABELS_SEEN, TRANSDUCTIVE, UNKNOWN

MEANINGS = {
    HELD_OUT: "no test clip, and no clip of the same recordings, was in its pretraining data",
    TRANSDUCTIVE: "test clips, or clips of the same recordings, were in its pretraining data, without their labels",
    LABELS_SEEN: "the model had been trained with labels of test clips, or of their recordings",
    UNKNOWN: "its pretraining data are not known well enough to tell",
    BY_AUTHORS.strip(): "according to what the model's authors say about their training data",
}
"""From leak statuses, and what may follow them, to their definitions."""


def facts_table(facts: Facts) -> Table:
    """Return the architecture of a model, and what input it takes."""
    normalised = {
        True: "to zero mean and unit variance, by the feature extractor",
        False: "none: waveforms in [-1, 1]",
        None: "by the feature extractor",
    }
    longest = "the whole clip" if math.isinf(facts.longest) else f"{facts.longest:g} s; longer clips in equal windows"
    samples = f"{facts.shortest} sample{'' if facts.shortest == 1 else 's'}"
    rows = [
        ["model type", facts.family],
        ["parameters", f"{facts.parameters:,}"],
        *[[words, value] for words, value in facts.architecture],
        ["layers of hidden states", f"{facts.layers}: the input of the first block, and the output of each block"],
        ["values per frame", str(facts.dimensions)],
        ["frames per second", f"{facts.frames_a_second:.4g}"],
        ["audio", f"mono, {SAMPLE_RATE:,} Hz"],
        ["normalisation of the waveform", normalised[facts.normalise]],
        ["shortest clip", f"{samples} ({1000 * facts.shortest / SAMPLE_RATE:g} ms)"],
        ["longest input in nonverbal", longest]
        if facts.shown is None
        else ["longest input in fine-tuning", f"{facts.shown:g} s"],
    ]
    return Table("Architecture and input", ["", ""], rows, [], 2)


def figures_table(passport: Passport) -> Table:
    """Return the measured figures, one column for each stack."""
    columns = ["compared", *(_stack(stack) for stack in passport.stacks)]
    names = [name for name in FIGURES if any(one.figures.get(name) is not None for one in passport.measured)]
    rows = [[FIGURES[name], *(_figure(one.figures.get(name)) for one in passport.measured)] for name in names]
    note = (
        "largest difference between embeddings (mean and standard deviation over frames) of four synthetic clips of "
        "0.5 to 3.1 s, divided by the RMS of the layer; probabilities: largest absolute difference"
    )
    return Table("Measured differences", columns, rows, [note], 1)


def padding(passport: Passport) -> str:
    """Return a sentence on what padding changes in transformers, at worst over the stacks that were measured."""
    worst = {
        name: max((value for one in passport.measured if (value := one.figures.get(name)) is not None), default=None)
        for name in ("batch", "padded")
    }
    if worst["padded"] is None:
        return "Whether padding changes the output in transformers was not measured. Process clips one at a time."
    if worst["padded"] <= EXACT:
        return (
            "In transformers, clips of different lengths may be padded by the feature extractor: the embeddings then "
            "differ only by rounding."
        )
    alone = "" if worst["batch"] is None or worst["batch"] > EXACT else ", or in batches of equal length"
    return (
        f"In transformers, padding changes the embeddings, by up to {worst['padded']:.1e} of a layer's RMS in the "
        f"table below. Process clips one at a time{alone}."
    )


def _stack(stack: dict[str, str]) -> str:
    named = [f"{name} {stack[name]}" for name in ("torch", "transformers") if name in stack]
    return ", ".join([*named, *([stack["device"]] if "device" in stack else [])])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def corpora_table(facts: Facts) -> Table:
    """Return the corpora that a model was trained on, one row each."""
    rows = [
        [
            corpus.name,
            corpus.use + (f", weight {corpus.weight:g}" if corpus.weight is not None else ""),
            f"{corpus.clips:,}",
            f"{corpus.hours:.3g}",
            f"{corpus.validation_clips:,}" if corpus.validation_clips else "-",
            corpus.licence,
            corpus.home or "not in the toolkit's catalog",
        ]
        for corpus in facts.trained.corpora
    ]
    columns = ["corpus", "used for", "clips", "hours", "validation clips", "licence", "source"]
    return Table("Corpora", columns, rows, [], 2)


def sources_table(facts: Facts) -> Table:
    """Return the terms of everything that a model was made from, one row each."""
    rows = [
        [
            source.name,
            source.kind,
            source.licence or "not stated",
            in_words(source.terms),
            source.terms.source + ("" if source.terms.verified or source.terms.source == NOBODY else " (not verified)"),
        ]
        for source in facts.trained.sources
    ]
    columns = ["source", "kind", "licence", "terms", "terms stated by"]
    return Table("Terms of what the model was made from", columns, rows, [], 5)


def meanings(facts: Facts) -> list[tuple[str, str]]:
    """Return the definitions of the leak statuses that the tables of scores contain."""
    shown = " ".join(row[-1] for table in facts.scored.tables for row in table.rows)
    return [(status, meaning) for status, meaning in MEANINGS.items() if status in shown]


def explained(facts: Facts) -> list[str]:
    """Return what a reader has to know about the columns and models in the tables of scores."""
    tables = facts.scored.tables
    columns = {column for table in tables for column in table.columns}
    choices = [f'"{name}"' for name in ("layer", "epoch", "chosen") if name in columns]
    models = dict.fromkeys(row[0] for table in tables for row in table.rows)
    references = [f"{md(name)} ({md(KINDS[name].title)})" for name in models if name in KINDS]
    said = [
        "UAR is the unweighted average recall: the mean recall over classes." if "UAR" in columns else "",
        f"In the column {choices[0]}, 3×2 means that 3 was chosen in two folds." if choices else "",
        f"For comparison, encoders without a checkpoint: {', '.join(references)}." if references else "",
    ]
    return [one for one in said if one]
