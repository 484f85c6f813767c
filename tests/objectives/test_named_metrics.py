"""What each objective shows, draws and judges by is what it measures."""

import string

import pytest
import test_contrastive
import test_reconstruction
import test_unit_prediction
import tiny_classifiers

from nonverbal.training.log import PANELS, SHOWN

ROWS = (48_000, 48_000)
OF_THE_TRAINER = {"lr", "grad_norm", "audio_per_second", "waiting", "skipped"}


def measured(family):
    if family == "contrastive":
        objective = test_contrastive.tiny()
        batch = test_contrastive.batch_of(objective, ROWS)
    elif family == "unit_prediction":
        objective = test_unit_prediction.tiny()
        batch = test_unit_prediction.labelled(objective, ROWS)
    elif family == "classification":
        objective = tiny_classifiers.objective_of()
        batch = tiny_classifiers.batch_for(objective, (0.3, 0.3, 0.2))
    else:
        objective = test_reconstruction.objective_of()
        batch = test_reconstruction.batch_of(objective, ROWS)
    sums = objective(batch).metrics
    return objective, objective.finish({name: float(value / weight) for name, (value, weight) in sums.items()})


@pytest.mark.parametrize("family", ["contrastive", "unit_prediction", "reconstruction", "classification"])
def test_names_of_metrics_are_those_of_rows(family):
    """A name that no row has is left out of the terminal and of the figure, so that nobody would miss it."""
    objective, row = measured(family)
    shown = {name for text in (*objective.shown, *SHOWN) for _, name, _, _ in string.Formatter().parse(text) if name}
    drawn = {name for panel in (*objective.panels, *PANELS) for name in (panel.metric, panel.baseline) if name}
    read = {name for symptom in objective.symptoms for name in symptom.reading}
    assert shown | drawn | read | {objective.best.metric} <= row.keys() | OF_THE_TRAINER
    assert len(drawn) > 2
