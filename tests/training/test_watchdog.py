import math

import numpy as np
import pytest
import torch
from test_exact_resume import TINY
from test_trainer import CLIPS, rows_of, settings_of, trainer_of
from toy import ToyObjective

from nonverbal.batch import Batch, Rows
from nonverbal.errors import UserError
from nonverbal.objectives.base import Symptom
from nonverbal.objectives.contrastive import COLLAPSED, Wav2Vec2Settings, build_objective, symptoms
from nonverbal.training.watchdog import Watchdog, WatchdogSettings

HEALTHY = {"perplexity": 60.0, "contrastive": 4.0, "accuracy": 0.1, "chance": 0.03, "grad_norm": 1.0}
LOW = Symptom("the loss is low", lambda row: row["loss"] < 1e9, ("loss",), "nothing much")


def watchdog(on_collapse="warn", patience=3):
    return Watchdog(WatchdogSettings(on_collapse, patience), symptoms(2, 64), warmup_steps=100, steps=1000)


@pytest.mark.parametrize(
    ("change", "first", "name"),
    [
        ({"perplexity": 2.1}, 130, "the codebook has collapsed .perplexity 2.1"),
        ({"contrastive": 0.001}, 130, "the contrastive loss is zero .contrastive 0.001, accuracy 0.1, chance 0.03"),
        ({"accuracy": 0.031}, 230, "the contrastive accuracy is still at chance .accuracy 0.031, chance 0.03"),
        ({"grad_norm": 0.0}, 130, "the gradient is zero .grad_norm 0"),
    ],
)
def test_each_symptom_is_told_once_after_its_patience(change, first, name):
    dog = watchdog()
    said = {step: message for step in range(10, 1000, 10) if (message := dog.read({**HEALTHY, **change}, step))}
    assert list(said) == [first]
    strict = watchdog("stop")
    assert [strict.read({**HEALTHY, **change}, step) for step in range(10, first, 10)] == [None] * (first // 10 - 1)
    with pytest.raises(UserError, match=f"stopped at step {first}: {name}.*usual causes: .*on_collapse warn"):
        strict.read({**HEALTHY, **change}, first)


@pytest.mark.parametrize("jitter", [-1e-3, 0, 1e-3])
def test_every_symptom_that_holds_is_named_the_most_specific_first(jitter):
    # The perplexity varies around its limit, so rounding decides whether it or the accuracy is the first to last.
    few = 2 + COLLAPSED * 2 * 63
    dog = watchdog(patience=4)
    for step in range(10, 1000, 10):
        perplexity = few - 0.01 + (0.02 + jitter) * (step % 40 == 0)
        row = {**HEALTHY, "perplexity": perplexity, "accuracy": 0.03}
        # The accuracy counts after step 200.
        if message := dog.read(row if step > 200 else HEALTHY, step):
            break
    assert "the codebook has collapsed (perplexity " in message
    assert message.index("codebook") < message.index("the contrastive accuracy is still at chance (accuracy 0.03, ")
    assert "usual causes: a diversity weight" in message


def test_a_symptom_that_has_passed_is_not_named():
    dog = watchdog(patience=3)
    rows = [{**HEALTHY, "perplexity": 2.0}] * 2 + [{**HEALTHY, "contrastive": 0.0}] * 3
    said = [dog.read(row, 110 + 10 * number) for number, row in enumerate(rows)]
    assert said[:4] == [None] * 4
    assert "loss is zero" in said[4]
    assert "collapsed" not in said[4]


def test_an_accuracy_that_varies_around_chance_is_at_chance():
    dog = watchdog(patience=4)
    accuracies = {step: 0.02 if step % 20 else 0.042 for step in range(10, 1000, 10)}
    said = [step for step, accuracy in accuracies.items() if dog.read({**HEALTHY, "accuracy": accuracy}, step)]
    assert len(said) == 1
    dog = watchdog(patience=4)
    assert not any(dog.read({**HEALTHY, "accuracy": 2 * accuracy}, step) for step, accuracy in accuracies.items())


def test_a_healthy_run_and_a_passing_weakness_are_left_alone():
    dog = watchdog("stop")
    for step in range(10, 1000, 10):
        assert dog.read({**HEALTHY, "perplexity": 2.0 if step % 30 else 60.0}, step) is None
        assert dog.read(HEALTHY, step) is None


def said_of(dog, collapsed, rows=60):
    """Steps at which something is said of rows whose codebook has collapsed where ``collapsed(row)``."""
    perplexities = {110 + 10 * number: 2.0 if collapsed(number) else 60.0 for number in range(rows)}
    return [step for step, value in perplexities.items() if dog.read({**HEALTHY, "perplexity": value}, step)]


def test_a_codebook_that_goes_in_and_out_of_collapse_is_noticed_once():
    # Two rows of three: after nine rows three more with than without, and then two in a row.
    assert said_of(watchdog(patience=5), lambda row: row % 3 < 2) == [110 + 10 * 10]
    assert said_of(watchdog(patience=5), lambda row: row % 3 < 1) == []
    assert said_of(watchdog(patience=5), lambda row: row % 2) == []


def test_a_symptom_is_told_again_only_after_it_has_passed():
    # Collapsed for 5 rows, then in and out, then well for as long, then collapsed again.
    again = {*range(5), 6, 8, 10, 12, *range(30, 40)}
    assert said_of(watchdog(patience=5), lambda row: row in again) == [110 + 10 * 4, 110 + 10 * 34]


def test_a_row_without_its_metrics_shows_nothing():
    assert watchdog().healthy({})
    assert all(watchdog().read({}, step) is None for step in range(10, 1000, 10))


def test_a_run_that_has_failed_stops_or_goes_on(tmp_path, make_shards, capsys):
    shards = make_shards(CLIPS)

    class Failing(ToyObjective):
        symptoms = (LOW,)

    stopping = trainer_of(tmp_path / "a", shards, settings_of(watchdog=WatchdogSettings("stop", 2)), Failing())
    with pytest.raises(UserError, match="stopped at step 5: the loss is low"):
        stopping.train()
    warned = trainer_of(tmp_path / "b", shards, settings_of(watchdog=WatchdogSettings("warn", 2)), Failing())
    warned.train()
    assert capsys.readouterr().out.count("the loss is low") == 1
    assert rows_of(tmp_path / "b")[-1]["step"] == 12


def test_what_has_collapsed_is_never_the_best(tmp_path, make_shards):
    class Failing(ToyObjective):
        symptoms = (LOW,)

    patient = settings_of(watchdog=WatchdogSettings("stop", 100))
    trainer = trainer_of(tmp_path, make_shards(CLIPS), patient, Failing())
    trainer.train()
    assert trainer.position.best_step is None
    # The encoder is the last, for want of a best.
    assert (tmp_path / "best").read_text() == "step-12\n"


def test_a_validation_loss_that_is_no_number_is_never_the_best(tmp_path, make_shards):
    class Failing(ToyObjective):
        def forward(self, batch):
            loss = super().forward(batch)
            if not self.training:
                loss.metrics["loss"] = (torch.tensor(math.nan), torch.tensor(1.0))
            return loss

    trainer = trainer_of(tmp_path, make_shards(CLIPS), objective=Failing())
    trainer.train()
    assert trainer.position.best_step is None


def test_a_codebook_made_to_collapse_is_noticed():
    objective = build_objective(Wav2Vec2Settings(architecture=TINY), seed=0)
    with torch.no_grad():
        objective.model.quantizer.weight_proj.weight.zero_()
        objective.model.quantizer.weight_proj.bias.copy_(torch.tensor([30.0, *[0.0] * 15] * 2))
    waveforms, lengths = 0.1 * torch.randn(2, 32_000), torch.tensor([32_000, 32_000])
    targets = objective.target_sampler(Rows(lengths.numpy()), np.random.default_rng(0))
    loss = objective(Batch(waveforms, lengths, [], targets, 0, 0, 0, padded=False))
    row = {name: float(total / weight) for name, (total, weight) in loss.metrics.items()}
    shown = [symptom.name for symptom in objective.symptoms if symptom.holds(row)]
    # With one code in use, nothing is left to tell apart: the loss is zero, and guessing is always right.
    assert shown == [
        "the codebook has collapsed",
        "the contrastive loss is zero",
        "the contrastive accuracy is still at chance",
    ]
    assert row["chance"] == 1
