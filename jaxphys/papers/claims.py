"""What a paper says, what we measured, and whether the one bears out the other."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import ArrayLike

from jaxphys._checks import InputError, require
from jaxphys.io import write_atomically
from jaxphys.io.files import about, read_text

Verdict = Literal["holds", "does not hold", "conditional"]
Number = float | str | None


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper beside our number.

    **Attributes**

    - `id`: unique, from the name of its figure on, as `physical-effects.fig2.node-error`.
    - `source`: where the paper says it. `statement`: what it says and, in brackets, when we say it holds.
    - `paper_value`: the paper's number or words; None where it gives none.
    - `value`: our number (None where there is none). `spread`: its 10 % and 90 % quantiles over
      realizations; None where it is no statistic of an ensemble. `realizations`: how many there were.
    - `verdict`: `"holds"`, `"does not hold"` or `"conditional"`; `condition`: when, or why not.

    Raises `InputError` on an unknown verdict, and on a conditional one without its condition.
    """

    id: str
    source: str
    statement: str
    paper_value: Number
    value: Number
    spread: tuple[float, float] | None
    realizations: int
    verdict: Verdict
    condition: str = ""

    def __post_init__(self) -> None:
        known = get_args(Verdict)
        require(self.verdict in known, "verdict", f"be one of {', '.join(known)}", f"it is {self.verdict!r}")
        if self.verdict == "conditional":
            require(self.condition != "", "condition", "say when the claim holds", "it is empty")


def measured(
    id: str,
    source: str,
    statement: str,
    values: ArrayLike | Sequence[float | int | np.number],
    holds: bool | Verdict | Callable[[float], bool],
    *,
    paper: Number = None,
    statistic: Callable[[np.ndarray], float | np.floating] = np.median,
    condition: str = "",
    conditional: bool = False,
) -> Claim:
    """A claim about an ensemble: a statistic of one number per realization, and the spread of these.

    `values`: `(R,)`, booleans count as 0 and 1; entries that are not finite are left out, and a claim
    without any does not hold. `holds`: a verdict, or a test of the statistic; with `conditional` passing it
    means that the claim holds under `condition` alone.
    """
    numbers = np.asarray(values, dtype=float).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return Claim(
            id, source, statement, paper, None, None, 0, "does not hold", condition or "Nothing was measured."
        )
    value = float(statistic(numbers))
    spread = None
    if numbers.size > 1:
        low, high = np.quantile(numbers, (0.1, 0.9))
        spread = (float(low), float(high))
    if callable(holds):
        holds = bool(math.isfinite(value) and holds(value))
    passed: Verdict = "conditional" if conditional else "holds"
    verdict: Verdict = holds if isinstance(holds, str) else passed if holds else "does not hold"
    return Claim(id, source, statement, paper, value, spread, int(numbers.size), verdict, condition)


def geometric_mean(values: np.ndarray) -> float:
    """Of numbers that are at least 0; zeros count as the smallest normal number."""
    return float(np.exp(np.mean(np.log(np.maximum(values, np.finfo(float).tiny)))))


def to_json(claims: Iterable[Claim]) -> str:
    """Claims as the text of a JSON list; numbers that are not finite become null."""

    def finite(value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return [finite(one) for one in value] if isinstance(value, tuple | list) else value

    entries = [{name: finite(value) for name, value in dataclasses.asdict(c).items()} for c in claims]
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, where: str = "claims") -> list[Claim]:
    """Claims from the text that `to_json` made of them.

    `where`: what the text is called in messages. Raises `InputError` on any other text.
    """
    names = [field.name for field in dataclasses.fields(Claim)]
    try:
        entries = json.loads(text)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("it holds something else")
        claims = []
        for entry in entries:
            if set(entry) != set(names):
                raise ValueError(f"an entry must have the keys {', '.join(names)}")
            spread = entry["spread"]
            claims.append(Claim(**{**entry, "spread": None if spread is None else tuple(spread)}))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{where} must hold a list of claims: {str(error).splitlines()[0]}") from None
    return claims


def save_claims(claims: Sequence[Claim], path: Path | str) -> None:
    """Write claims to a file as a JSON list of their fields, which `load_claims` reads back.

    **Arguments**

    - `claims`: numbers of theirs that are not finite become null.
    - `path`: of the file, in UTF-8; it is written whole or not at all, and replaces what was there.

    Raises `OSError` where it cannot be written.
    """
    text = to_json(claims)
    write_atomically(path, lambda to: to.write_text(text, encoding="utf-8"))


def load_claims(path: Path | str) -> list[Claim]:
    """Read a `claims.json`; raises `InputError` if the file is none."""
    with about(path):
        text = read_text(path)
    return from_json(text, f"File {path}")
