"""The verdicts on a study's claims as a table of words."""

from collections.abc import Sequence

from studies.claims import ClaimVerdict, ours
from studies.report.tables import NOTHING, Table


def claims_table(verdicts: Sequence[ClaimVerdict]) -> Table:
    """A row per claim: the paper's number beside ours."""
    header = ("claim", "verdict", "here", "reported before", "n", "p after Holm")
    return Table(header, tuple(_row(one) for one in verdicts))


def _row(one: ClaimVerdict) -> tuple[str, ...]:
    p_value = NOTHING if one.p_adjusted is None else _chance(one.p_adjusted)
    return (one.says, one.verdict, ours(one), one.paper or NOTHING, str(one.n), p_value)


def _chance(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
