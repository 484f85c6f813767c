import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy
from torch import Tensor

from nonverbal.errors import UserError
from nonverbal.evaluation.renyi import Form, largest, renyi_divergence

FORMS: tuple[Form, ...] = ("normalised", "as_printed")
LOGITS = arrays(np.float64, (2, 6), elements=st.floats(-30, 30))
ORDERS = st.floats(0.05, 8).filter(lambda order: abs(order - 1) > 1e-3)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def as_in_the_paper(x: np.ndarray, y: np.ndarray, order: float, delta: float) -> float:
    """The formula as it stands."""
    return float(np.log(np.sum((x + delta) ** order * (y + delta) ** (1 - order))) / (order - 1))


def test_bernoulli_by_hand() -> None:
    """Order 2 of (1/2, 1/2) from (1/4, 3/4): log(1/4 / (1/4) + 1/4 / (3/4)) = log(4/3)."""
    half, quarter = logs(0.5, 0.5), logs(0.25, 0.75)
    assert float(renyi_divergence(half, quarter, 2, 0)) == pytest.approx(math.log(4 / 3), abs=1e-12)
    # The other way: log(1/16 / (1/2) + 9/16 / (1/2)) = log(5/4).
    assert float(renyi_divergence(half, quarter, 2, 0, direction="backward")) == pytest.approx(math.log(5 / 4))
    # Order 1/2: -2 log of the Bhattacharyya coefficient.
    coefficient = math.sqrt(0.5 * 0.25) + math.sqrt(0.5 * 0.75)
    assert float(renyi_divergence(half, quarter, 0.5, 0)) == pytest.approx(-2 * math.log(coefficient))
    # With 0.2 added: (0.7, 0.7) from (0.45, 0.95), which sum to 1.4.
    printed = math.log(0.49 / 0.45 + 0.49 / 0.95)
    assert float(renyi_divergence(half, quarter, form="as_printed")) == pytest.approx(printed)
    assert float(renyi_divergence(half, quarter)) == pytest.approx(printed - math.log(1.4))


@settings(max_examples=60, deadline=None)
@given(LOGITS, ORDERS, st.floats(0.01, 2))
def test_categorical_by_the_formula_as_it_stands(logits: np.ndarray, order: float, delta: float) -> None:
    log_x, log_y = torch.from_numpy(logits).log_softmax(dim=1)
    x, y = log_x.exp().numpy(), log_y.exp().numpy()
    printed, normalised = (float(renyi_divergence(log_x, log_y, order, delta, form)) for form in reversed(FORMS))
    assert printed == pytest.approx(as_in_the_paper(x, y, order, delta), abs=1e-9)
    p, q = ((values + delta) / (1 + 6 * delta) for values in (x, y))
    assert normalised == pytest.approx(as_in_the_paper(p, q, order, 0), abs=1e-9)
    backward = renyi_divergence(log_x, log_y, order, delta, direction="backward")
    assert float(backward) == float(renyi_divergence(log_y, log_x, order, delta))


@settings(max_examples=40, deadline=None)
@given(LOGITS, st.floats(0, 1))
def test_it_tends_to_kullback_leibler_as_the_order_tends_to_one(logits: np.ndarray, delta: float) -> None:
    log_x, log_y = torch.from_numpy(logits / 10).log_softmax(dim=1)
    p, q = (log_values.exp().numpy() + delta for log_values in (log_x, log_y))
    expected = entropy(p, q)  # which normalises
    assert float(renyi_divergence(log_x, log_y, 1, delta)) == pytest.approx(expected, abs=1e-9)
    for order in (1 - 1e-5, 1 + 1e-5):
        assert float(renyi_divergence(log_x, log_y, order, delta)) == pytest.approx(expected, abs=2e-4)


@settings(max_examples=60, deadline=None)
@given(LOGITS, ORDERS, st.floats(0.01, 2))
def test_normalised_is_never_negative_and_grows_with_the_order(logits: np.ndarray, order: float, delta: float) -> None:
    log_x, log_y = torch.from_numpy(logits).log_softmax(dim=1)
    found = float(renyi_divergence(log_x, log_y, order, delta))
    assert -1e-9 <= found <= largest(6, order, delta) + 1e-9
    assert float(renyi_divergence(log_x, log_y, order + 0.5, delta)) >= found - 1e-9
    assert float(renyi_divergence(log_x, log_x, order, delta)) == pytest.approx(0, abs=1e-12 / abs(order - 1))


@settings(max_examples=60, deadline=None)
@given(LOGITS, st.floats(1.1, 8), st.floats(0.01, 2))
def test_as_printed_it_is_not_zero_where_both_are_equal(logits: np.ndarray, order: float, delta: float) -> None:
    log_x, log_y = torch.from_numpy(logits).log_softmax(dim=1)
    bound = math.log(1 + 6 * delta) / (order - 1)
    assert float(renyi_divergence(log_x, log_x, order, delta, "as_printed")) == pytest.approx(bound)
    assert float(renyi_divergence(log_x, log_y, order, delta, "as_printed")) >= bound - 1e-9
    assert bound > 0


def test_as_printed_it_has_the_same_gradient() -> None:
    """The two differ by a constant, so they train the same network."""
    gradients = []
    for form in FORMS:
        logits = torch.linspace(-2, 3, 24, dtype=torch.float64).sin().reshape(2, 3, 4).requires_grad_()
        renyi_divergence(*logits.log_softmax(dim=-1), form=form).sum().backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        gradients.append(logits.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, atol=1e-14, rtol=0)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_the_gradient_is_that_of_differences(order: float, delta: float) -> None:
    logits = torch.linspace(-1, 2, 20, dtype=torch.float64).cos().reshape(2, 2, 5).requires_grad_()

    def divergence(values: Tensor) -> Tensor:
        return renyi_divergence(*values.log_softmax(dim=-1), order, delta)

    assert torch.autograd.gradcheck(divergence, logits)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_extreme_inputs_have_finite_values_and_gradients(order: float, delta: float) -> None:
    """Probabilities that round to 0 in single precision."""
    logits = torch.tensor([[[1e4, 0.0, -1e4]], [[-1e4, 0.0, 1e4]]], requires_grad=True)
    found = renyi_divergence(*logits.log_softmax(dim=-1), order, delta)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


def test_what_delta_leaves_of_it() -> None:
    """One feature against another: at delta .2 hardly anything is left over many features."""
    one, other = np.eye(64)[:2] + 0.2
    expected = as_in_the_paper(one, other, 2, 0) - math.log(13.8)
    assert largest(64) == pytest.approx(expected)
    assert [round(largest(features), 3) for features in (2, 64, 1280)] == [1.642, 0.353, 0.022]


def test_divergences_that_there_are_not_are_refused() -> None:
    equal = logs(0.5, 0.5)
    for order, delta in ((0.0, 0.2), (-1.0, 0.2), (math.nan, 0.2), (2.0, -0.1)):
        with pytest.raises(UserError, match="order must be above 0"):
            renyi_divergence(equal, equal, order, delta)
    with pytest.raises(UserError, match="order 1 is infinite"):
        renyi_divergence(equal, equal, 1, 0.2, "as_printed")
