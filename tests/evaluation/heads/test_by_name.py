import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.heads.by_name import full_name, head_named
from nonverbal.evaluation.heads.fcn import Fcn
from nonverbal.evaluation.heads.mlp import Mlp


def test_a_name_alone_is_the_head_as_it_is() -> None:
    assert head_named("fcn") is HEADS["fcn"]
    assert head_named("fcn:") == HEADS["fcn"]
    assert [full_name(name) for name in ("logistic", "fcn:", "multilayer")] == ["logistic", "fcn", "multilayer"]


def test_settings_are_set_and_named_in_one_spelling() -> None:
    assert head_named("fcn:dropout=0,batch=16") == Fcn(dropout=0.0, batch=16)
    assert head_named("mlp:rate=1e-3,decay=false") == Mlp(rate=1e-3, decay=False)
    assert full_name("fcn:dropout=.10,batch=16") == full_name("fcn:batch=16,dropout=1e-1,epochs=20")
    assert full_name("fcn:dropout=.10,batch=16") == "fcn:batch=16,dropout=0.1"
    assert head_named(full_name("mlp:rate=2e-5")) == Mlp(rate=2e-5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("deep", "there is no head 'deep'; there are logistic, svm, mlp"),
        ("fcn:drop=0.1", "the head fcn has no setting 'drop'; did you mean dropout?"),
        ("svm:cost=1", "the head svm has no setting 'cost'; there are none"),
        ("fcn:batch=many", "batch of the head fcn must be a whole number, but is 'many'"),
        ("fcn:batch=2.5", "batch of the head fcn must be a whole number, but is '2.5'"),
        ("fcn:rate=fast", "rate of the head fcn must be a number, but is 'fast'"),
        ("fcn:decay=1", "decay of the head fcn must be true or false, but is '1'"),
        ("fcn:dropout=1.5", "below 1, but are 1.5"),
    ],
)
def test_what_is_wrong_is_said(text: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        head_named(text)
