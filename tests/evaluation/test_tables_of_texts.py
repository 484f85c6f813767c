import pytest

from nonverbal.evaluation.tables import Table, latex, short, show, signed


@pytest.mark.parametrize(
    ("value", "text", "difference"),
    [(0.5, ".500", "+.500"), (1, "1.000", "+1.000"), (0.9996, "1.000", "+1.000"), (0, ".000", "+.000")],
)
def test_numbers_have_three_decimals(value: float, text: str, difference: str) -> None:
    assert (short(value), signed(value)) == (text, difference)


def test_negative_differences() -> None:
    assert [signed(value) for value in (-0.25, -1, -0.0001)] == ["-.250", "-1.000", "+.000"]


TABLE = Table("A & B", ["model", "UAR", "choice"], [["x_y", ".500±.010", "9×1"], ["[b]", "-", "rbf×1"]], ["100% of it"])


def test_latex_escapes_what_it_must() -> None:
    assert latex([TABLE]).splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\caption{A \& B. 100\% of it.}",
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"model & UAR & choice \\",
        r"\midrule",
        r"x\_y & .500$\pm$.010 & 9$\times$1 \\",
        r"{[}b{]} & - & rbf$\times$1 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_a_table_is_shown_whole_and_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show([TABLE, Table("second", ["a"], [["two\nlines"], ["transductive"]])])
    out = capsys.readouterr().out
    for text in ("A & B", "[b]", ".500±.010", "100% of it", r"two\nlines", "transductive"):
        assert text in out
