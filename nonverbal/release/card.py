"""A model card: metadata by huggingface_hub, and a text of facts. What is not known is said, or left out.

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
from nonverbal.release.terms import CARRIED, OTHER, STRICTEST, UNKNOWN, ReleaseTerms
from nonverbal.release.trained import Use
from nonverbal.system import version_of
from nonverbal.tasks.contamination import UNKNOWN as UNHEARD
from nonverbal.text import slug

CARD = "README.md"

TEMPLATES = Path(__file__).with_name("templates")

TASKS = {
    "encoder": "feature-extraction",
    "classifier": "audio-classification",
    "recogniser": "automatic-speech-recognition",
}
"""What a model is to the Hub's ``pipeline_tag``."""

CALLED = {
    "encoder": "An encoder of sound",
    "classifier": "A classifier of sound",
    "recogniser": "A recogniser of speech",
}

STATUSES = {UNHEARD: "not known whether held out"}
"""Leak statuses that need more words in a sentence."""

USES: dict[Use, str] = {"pretraining": "pretrained", "fine-tuning": "fine-tuned"}

TYPES = {"uar": "recall", "accuracy": "accuracy", "f1": "f1", "wer": "wer", "cer": "cer"}
"""Our metrics to the Hub's identifiers: UAR is the mean of the classes' recalls."""

OTHERS = {
    UNKNOWN: "of part of what it was made of nobody says what is allowed, so that no licence is named.",
    STRICTEST: "no one licence says all of this.",
}
"""What a card says of these in the place of a licence."""


def card_text(facts: Facts, terms: ReleaseTerms, passport: Passport, settings: ReleaseConfig, command: str) -> str:
    """Return a model card, metadata and text.

    Args:
        facts: of the model.
        terms: what its licences leave of it.
        passport: figures and stacks; its files are not looked at.
        settings: names, and what only a person knows.
        command: that made the release.
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
        statuses={STATUSES.get(status, status): corpora for status, corpora in facts.scored.heard.items()},
        fine_tuned=facts.model.fine_tuned,
        code="auto_map" in facts.model.config,
        other=OTHERS.get(terms.licence_name, "under this licence."),
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
    """Return what a model is, in a sentence: its kind and size, what it started from, how much of what it heard."""
    known = facts.trained
    heard = {use: [one for one in known.corpora if one.use == use and one.weight != 0] for use in USES}
    origin = " and ".join(md(start.name) for start in known.starts) or ("random weights" if known.corpora else "")
    parts = [f"{CALLED[facts.model.kind]}: {md(facts.family)}, {facts.parameters:,} parameters"]
    for use, done in USES.items():
        if own := heard[use]:
            names = ", ".join(dict.fromkeys(md(one.name) for one in own))
            start = f" from {origin}" if origin else ""
            parts.append(f"{done}{start} on {sum(one.hours for one in own):.3g} h of {names}")
            # What comes second starts from what came first.
            origin = ""
    if origin and len(parts) == 1:
        parts.append(f"from {origin}")
    return ", ".join(parts) + "."


def metadata(facts: Facts, terms: ReleaseTerms, settings: ReleaseConfig) -> ModelCardData:
    """Return what stands between the dashes."""
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
    """Return a number as ``model-index`` has it: protocol and leak status stand beside it."""
    return EvalResult(
        task_type=result.task,
        dataset_type=slug(result.corpus),
        dataset_name=result.corpus,
        dataset_config=result.how,
        dataset_args={"pretraining": result.status},
        metric_type=TYPES[result.metric],
        metric_name=f"{result.name} {result.interval}".strip(),
        metric_value=round(result.value, 4),
    )


def facts_table(facts: Facts) -> Table:
    """Return what a user has to know of a model before all else."""
    frames = f"{facts.frames_a_second:.4g} a second"
    longest = "the whole clip" if math.isinf(facts.longest) else f"{facts.longest:g} s; longer ones in equal windows"
    normalised = {
        True: "to zero mean and unit variance, by its feature extractor",
        False: "none: waveforms as they are, in [-1, 1]",
        None: "by its feature extractor",
    }
    shown = [["longest clip in training", f"{facts.shown:g} s"]] if facts.shown is not None else []
    rows = [
        ["kind", facts.family],
        ["parameters", f"{facts.parameters:,}"],
        *[[words, value] for words, value in facts.architecture],
        ["layers", f"{facts.layers}, with what enters the first block"],
        ["values of a frame", str(facts.dimensions)],
        ["frames", frames],
        ["sound", f"mono, {SAMPLE_RATE:,} Hz"],
        ["normalisation", normalised[facts.normalise]],
        [
            "shortest clip",
            f"{facts.shortest} sample{'' if facts.shortest == 1 else 's'} ({1000 * facts.shortest / SAMPLE_RATE:g} ms)",
        ],
        ["at once, by nonverbal", longest],
        *shown,
    ]
    return Table("What it is", ["", ""], rows, [], 2)


def figures_table(passport: Passport) -> Table:
    """Return what was measured, a column a stack."""
    columns = ["difference", *(_stack(stack) for stack in passport.stacks)]
    names = [name for name in FIGURES if any(one.figures.get(name) is not None for one in passport.measured)]
    rows = [[FIGURES[name], *(_figure(one.figures.get(name)) for one in passport.measured)] for name in names]
    note = (
        "largest difference of an embedding (mean and deviation over frames) of four synthetic sounds of 0.5 to 3.1 s, "
        "over the RMS of its layer; probabilities as they are"
    )
    return Table("Alone, in batches, padded", columns, rows, [note], 1)


def padding(passport: Passport) -> str:
    """Return in a sentence what padding does in plain transformers, at worst under the stacks that were tried."""
    worst = {
        name: max((value for one in passport.measured if (value := one.figures.get(name)) is not None), default=None)
        for name in ("batch", "padded")
    }
    if worst["padded"] is None:
        return "Whether padding changes anything in plain transformers was not measured: give clips one at a time."
    if worst["padded"] <= EXACT:
        return "In plain transformers, clips may be padded as its feature extractor does: nothing changes but rounding."
    alone = "" if worst["batch"] is None or worst["batch"] > EXACT else ", or in batches of one length"
    return (
        f"In plain transformers, padding changes embeddings, by up to {worst['padded']:.1e} of a layer's RMS below: "
        f"give clips one at a time{alone}."
    )


def _stack(stack: dict[str, str]) -> str:
    return ", ".join(f"{name} {stack[name]}" for name in ("torch", "transformers", "device") if name in stack)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def corpora_table(facts: Facts) -> Table:
    """Return the corpora that it was trained on."""
    rows = [
        [
            corpus.name,
            corpus.use + (f", weight {corpus.weight:g}" if corpus.weight is not None else ""),
            f"{corpus.clips:,}",
            f"{corpus.hours:.3g}",
            f"{corpus.validation_clips:,}" if corpus.validation_clips else "-",
            corpus.licence,
            corpus.home or "not in the catalog of the toolkit",
        ]
        for corpus in facts.trained.corpora
    ]
    columns = ["corpus", "for", "clips", "hours", "validation clips", "licence", "home"]
    return Table("Corpora", columns, rows, [], 2)


def sources_table(facts: Facts) -> Table:
    """Return the terms of all that it was made of."""
    rows = [
        [
            source.name,
            source.kind,
            source.licence or "not stated",
            in_words(source.terms),
            source.terms.source + ("" if source.terms.verified else ", not read at the owner's"),
        ]
        for source in facts.trained.sources
    ]
    return Table("Terms of what it was made of", ["source", "kind", "licence", "terms", "by"], rows, [], 5)


def _carried(terms: ReleaseTerms) -> list[tuple[str, str]]:
    """Return what is carried over, in words."""
    allowed = {True: "allowed", False: "refused", None: "nobody says"}
    asked = {True: "asked for", False: "not asked for", None: "nobody says"}
    return [
        (words, (allowed if name in ("commercial", "derivatives") else asked)[getattr(terms.carried, name)])
        for name, words in CARRIED.items()
    ]


def _link(terms: ReleaseTerms, settings: ReleaseConfig) -> str:
    return terms.licence_link or f"https://huggingface.co/{settings.repo}/blob/main/{CARD}#licence"
