"""Heads by name, one file each."""

from nonverbal.evaluation.heads.base import Frames, Head, Pooled
from nonverbal.evaluation.heads.cnn import Cnn
from nonverbal.evaluation.heads.fcn import Fcn
from nonverbal.evaluation.heads.linear import Linear
from nonverbal.evaluation.heads.logistic import Logistic
from nonverbal.evaluation.heads.mlp import Mlp
from nonverbal.evaluation.heads.multilayer import Multilayer
from nonverbal.evaluation.heads.nonlinear import Nonlinear
from nonverbal.evaluation.heads.svm import Svm

HEADS: dict[str, Head[Pooled]] = {
    "logistic": Logistic(),
    "svm": Svm(),
    "mlp": Mlp(),
    "linear": Linear(),
    "fcn": Fcn(),
    "cnn": Cnn(),
}
"""Heads on pooled embeddings; ``docs/add-a-head.md`` shows how to add one."""

FRAME_HEADS: dict[str, Head[Frames]] = {"nonlinear": Nonlinear(), "multilayer": Multilayer()}
"""Heads on frames."""
