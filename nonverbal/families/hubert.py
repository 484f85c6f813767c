"""HuBERT: the encoder of wav2vec 2.0, pretrained by predicting the units of masked frames (Hsu et al., 2021)."""

from collections.abc import Iterable

from nonverbal.data.batching.unit_targets import UnitSampler
from nonverbal.data.batching.units import open_units
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.families import wav2vec2
from nonverbal.families.base import Family, Pretraining
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective


def build(settings: HubertSettings, folders: list[ShardFolder], seed: int, begun: Iterable[str] | None) -> Pretraining:
    """Build a pretraining whose targets are the units of each row.

    Raises:
        UserError: no units are given, or they lack a folder of shards.
    """
    if settings.units is None:
        raise UserError("HuBERT needs units; make them with nonverbal cluster, and give their folder as --hubert.units")
    units = open_units(settings.units)
    objective = build_hubert_objective(settings, units.clusters, seed)
    sampler = UnitSampler(objective.target_sampler, [units.units(folder) for folder in folders])
    return Pretraining(objective, sampler, {str(units.folder): units.sha256})


FAMILY = Family(
    name="hubert",
    settings=HubertSettings,
    build=build,
    encoders=wav2vec2.ENCODERS,
    # Only wav2vec 2.0 has this setting, because HuBERT has no codebooks.
    past={
        "architecture.codebooks": 2,
        "architecture.codes": 320,
        "architecture.code_size": 256,
        "dropouts.quantiser": 0.1,
    },
)
