"""The model card: metadata by huggingface_hub, and a text from a template. The card says what is not known.

Shapes: N clips, L layers, S frames, M values.
"""

import math
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.exactness import EXACT
from nonverbal.evaluation.tables import Table, markdown, md
from nonverbal.licences import in_words
from nonverbal.release.facts import Facts
from nonverbal.release.passport import FIGURES, Passport
from nonverbal.release.scored import Result
from nonverbal.release.settings import ReleaseConfig, text_of
from nonverbal.release.terms import CARRIED, NOBODY, OTHER, STRICTEST, UNKNOWN, ReleaseTerms
from nonverbal.release.trained import Use
from nonverbal.system import version_of
from nonverbal.tasks.contamination import BY_AUTHORS, HELD_OUT, LABELS_SEEN, TRANSDUCTIVE
from nonverbal.tasks.contamination import UNKNOWN as UNHEARD
from nonverbal.text import slug

CARD = "README.md"

TEMPLATES = Path(__file__).with_name("templates")

TASKS = {
    "encoder": "feature-extraction",
    "classifier": "audio-classification",
    "recogniser": "automatic-speech-recognition",
}
"""Kind of model to the Hub's ``pipeline_tag``."""

CALLED = {
    "encoder": "An audio encoder",
    "classifier": "An audio classifier",
    "recogniser": "A speech recogniser",
}

STATUSES = {UNHEARD: "unknown whether held out"}
"""Leak statuses that a sentence calls something else."""

MEANINGS = {
    HELD_OUT: "none of the test clips, and no clip of the same recordings, was in its training data",
    TRANSDUCTIVE: "test clips, or clips of the same recordings, were in its pretraining data, without their labels",
    LABELS_SEEN: "the model was trained with labels of test clips, or of their recordings",
    UNHEARD: "its training data are not known well enough to tell",
    BY_AUTHORS.strip(): "according to what the model's authors say about their training data",
}
"""Leak statuses, and what may follow them, to their definitions."""

USES: dict[Use, str] = {"pretraining": "pretrained", "fine-tuning": "fine-tuned"}

TYPES = {"uar": "recall", "accuracy": "accuracy", "f1": "f1", "wer": "wer", "cer": "cer"}
"""Metric to the Hub's identifier. UAR is the mean recall over classes."""

OTHERS = {
    UNKNOWN: "the terms of part of what the model was made from are not stated, so no licence is named.",
    STRICTEST: "no single licence expresses all terms of what the model was made from.",
}
"""``license_name`` to what the card says in place of a licence."""


def card_text(facts: Facts, terms: ReleaseTerms, passport: Passport, settings: ReleaseConfig, command: str) -> str:
    """Return the model card: metadata and text.

    Args:
        facts: what is known of the model.
        terms: the combined terms of its sources.
        passport: figures and stacks; its files are not read.
        settings: names, and what only a person knows.
        command: the command that made the release.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"md": md, "table": lambda table: markdown([table]).rstrip()}
    text = environment.get_template("card.md.j2").render(
        facts=facts,
        terms=terms,
        settings=settings,
        opening=opening(facts),
        evaluated=evaluated(facts),
        meanings=meanings(facts),
        seeds=", ".join(map(str, facts.scored.seeds)),
        fine_tuned=facts.model.fine_tuned,
        code="auto_map" in facts.model.config,
        other=OTHERS.get(terms.licence_name, "the terms of this licence apply."),
        facts_table=facts_table(facts),
        figures=figures_table(passport),
        padding=padding(passport),
        stacks=[", ".join(f"{name} {value}" for name, value in stack.items()) for stack in passport.stacks],
        corpora=corpora_table(facts),
        sources=sources_table(facts),
        carried=_carried(terms),
        training=facts.training,
        description=text_of(settings.description),
        citation=text_of(settings.citation),
        command=command,
        version=version_of("nonverbal"),
        due=[
            f"{corpus.name} ({corpus.home})" if corpus.home else corpus.name
            for corpus in facts.trained.corpora
            if corpus.terms.attribution and corpus.weight != 0
        ],
    )
    return f"---\n{metadata(facts, terms, settings).to_yaml()}\n---\n\n{text.strip()}\n"


def opening(facts: Facts) -> str:
    """Return a sentence that says what a model is: its kind and size, where it started, and what it was trained on."""
    known = facts.trained
    heard = {use: [one for one in known.corpora if one.use == use and one.weight != 0] for use in USES}
    origin = " and ".join(md(start.name) for start in known.starts) or ("random weights" if known.corpora else "")
    parts = [f"{CALLED[facts.model.kind]} ({md(facts.family)}, {facts.parameters:,} parameters)"]
    for use, done in USES.items():
        if own := heard[use]:
            names = ", ".join(dict.fromkeys(md(one.name) for one in own))
            start = f" from {origin}" if origin else ""
            parts.append(f"{done}{start} on {sum(one.hours for one in own):.3g} h of audio ({names})")
            # The second training starts from the result of the first.
            origin = ""
    if origin and len(parts) == 1:
        parts.append(f"made from {origin}")
    return ", ".join(parts) + "."


def evaluated(facts: Facts) -> list[str]:
    """Return the corpora on which a model has scores, each with its leak status."""
    return [
        f"{md(corpus)} ({STATUSES.get(status, status)})"
        for status, corpora in facts.scored.heard.items()
        for corpus in corpora
    ]


def meanings(facts: Facts) -> list[tuple[str, str]]:
    """Return the definitions of the leak statuses that the tables of scores contain."""
    shown = " ".join(row[-1] for table in facts.scored.tables for row in table.rows)
    return [(status, meaning) for status, meaning in MEANINGS.items() if status in shown]


def metadata(facts: Facts, terms: ReleaseTerms, settings: ReleaseConfig) -> ModelCardData:
    """Return the card's YAML metadata."""
    bases = [start.name for start in facts.trained.starts if start.on_hub]
    datasets = dict.fromkeys(corpus.dataset for corpus in facts.trained.corpora if corpus.dataset)
    results = [eval_result(result) for result in facts.scored.results]
    code = ["custom_code"] if "auto_map" in facts.model.config else []
    learned = [] if facts.model.fine_tuned else ["self-supervised"]
    more: dict[str, Any] = {"base_model_relation": "finetune"} if bases else {}
    return ModelCardData(
        language=settings.language or None,
        license=terms.licence,
        license_name=terms.licence_name or None,
        license_link=_link(terms, settings) if terms.licence == OTHER else None,
        library_name="transformers",
        pipeline_tag=TASKS[facts.model.kind],
        tags=["audio", "nonverbal", "vocal-sounds", *learned, *code],
        base_model=bases or None,
        datasets=list(datasets) or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=settings.name if results else None,
        eval_results=results or None,
        **more,
    )


def eval_result(result: Result) -> EvalResult:
    """Return an entry of ``model-index``: a number with its protocol, leak status and interval."""
    return EvalResult(
        task_type=result.task,
        dataset_type=slug(result.corpus),
        dataset_name=result.corpus,
        dataset_config=result.how,
        dataset_args={"pretraining": result.status},
        metric_type=TYPES[result.metric],
        metric_name=f"{result.name} (95% interval {result.interval})" if result.interval else result.name,
        metric_value=round(result.value, 4),
    )


def facts_table(facts: Facts) -> Table:
    """Return the architecture of a model, and what input it takes."""
    normalised = {
        True: "to zero mean and unit variance, by the feature extractor",
        False: "none: waveforms in [-1, 1]",
        None: "by the feature extractor",
    }
    longest = "the whole clip" if math.isinf(facts.longest) else f"{facts.longest:g} s; longer clips in equal windows"
    samples = f"{facts.shortest} sample{'' if facts.shortest == 1 else 's'}"
    shown = [["longest input in fine-tuning", f"{facts.shown:g} s"]] if facts.shown is not None else []
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
        ["longest input in nonverbal", longest],
        *shown,
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


def _carried(terms: ReleaseTerms) -> list[tuple[str, str]]:
    """Return the terms that are carried over, in words."""
    allowed = {True: "allowed", False: "not allowed", None: "not stated"}
    asked = {True: "required", False: "not required", None: "not stated"}
    return [
        (words, (allowed if name in ("commercial", "derivatives") else asked)[getattr(terms.carried, name)])
        for name, words in CARRIED.items()
    ]


def _link(terms: ReleaseTerms, settings: ReleaseConfig) -> str:
    return terms.licence_link or f"https://huggingface.co/{settings.repo}/blob/main/{CARD}#licence"
