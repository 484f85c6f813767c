"""The model card: metadata by huggingface_hub, and a text from a template. The card says what is not known.

Shapes: N clips, L layers, S frames, M values.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nonverbal.evaluation.tables import markdown, md
from nonverbal.release.card_tables import (
    corpora_table,
    explained,
    facts_table,
    figures_table,
    meanings,
    padding,
    sources_table,
)
from nonverbal.release.facts import Facts
from nonverbal.release.passport import Passport
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
"""From the kind of model to the Hub's ``pipeline_tag``."""

CALLED = {
    "encoder": "An audio encoder",
    "classifier": "An audio classifier",
    "recogniser": "A speech recogniser",
}

STATUSES = {UNHEARD: "unknown whether held out"}
"""Leak statuses that have another name in sentences."""

USES: dict[Use, str] = {"pretraining": "pretrained", "fine-tuning": "fine-tuned"}

TYPES = {"uar": "recall", "accuracy": "accuracy", "f1": "f1", "wer": "wer", "cer": "cer"}
"""From a metric to the Hub's identifier. UAR is the mean recall over classes."""

OTHERS = {
    UNKNOWN: "the terms of part of what the model was made from are not stated, so no licence is named.",
    STRICTEST: "no single licence expresses all terms of what the model was made from.",
}
"""From ``license_name`` to what the card says in place of a licence."""


def card_text(facts: Facts, terms: ReleaseTerms, passport: Passport, settings: ReleaseConfig, command: str) -> str:
    """Return the model card: metadata and text.

    Args:
        facts: what is known about the model.
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
        command=command,
        version=version_of("nonverbal"),
        description=text_of(settings.description),
        citation=text_of(settings.citation),
        **_of_facts(facts),
        **_of_passport(passport),
        **_of_terms(terms, facts),
    )
    return f"---\n{metadata(facts, terms, settings).to_yaml()}\n---\n\n{text.strip()}\n"


def _of_facts(facts: Facts) -> dict[str, Any]:
    """Return what the template shows about a model, its training and its scores."""
    return {
        "opening": opening(facts),
        "evaluated": evaluated(facts),
        "explained": explained(facts),
        "meanings": meanings(facts),
        "seeds": ", ".join(map(str, facts.scored.seeds)),
        "fine_tuned": facts.model.fine_tuned,
        "code": "auto_map" in facts.model.config,
        "facts_table": facts_table(facts),
        "corpora": corpora_table(facts),
        "training": facts.training,
    }


def _of_passport(passport: Passport) -> dict[str, Any]:
    """Return what the template shows about the measured figures."""
    stacks = [", ".join(f"{name} {value}" for name, value in stack.items()) for stack in passport.stacks]
    return {"figures": figures_table(passport), "padding": padding(passport), "stacks": stacks}


def _of_terms(terms: ReleaseTerms, facts: Facts) -> dict[str, Any]:
    """Return what the template shows about the licence."""
    due = [
        f"{corpus.name} ({corpus.home})" if corpus.home else corpus.name
        for corpus in facts.trained.corpora
        if corpus.terms.attribution and corpus.weight != 0
    ]
    other = OTHERS.get(terms.licence_name, "the terms of this licence apply.")
    return {"sources": sources_table(facts), "carried": _carried(terms), "due": due, "other": other}


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
