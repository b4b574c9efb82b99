"""Every experiment by its name."""

from collections.abc import Sequence

from jaxphys._checks import InputError
from jaxphys.papers.frame import Experiment
from jaxphys.papers.microscopic_imprints.figures import FIGURES as MICROSCOPIC_IMPRINTS
from jaxphys.papers.physical_effects.figures import FIGURES as PHYSICAL_EFFECTS

EXPERIMENTS: dict[str, Experiment] = {one.name: one for one in (*PHYSICAL_EFFECTS, *MICROSCOPIC_IMPRINTS)}


def resolve(names: Sequence[str] = ()) -> list[Experiment]:
    """The experiments that `names` mean, each once, in the order of the registry; all for no names.

    A name is that of an experiment, `physical-effects.fig2`, or of the group before the dot. Raises
    `InputError` that lists what is known if a name is neither.

    >>> [one.name for one in resolve(["physical-effects.fig2"])]
    ['physical-effects.fig2']
    """
    groups = list(dict.fromkeys(name.partition(".")[0] for name in EXPERIMENTS))
    for name in names:
        if name not in EXPERIMENTS and name not in groups:
            known = ", ".join([*groups, *EXPERIMENTS])
            raise InputError(f"There is no experiment {name!r}; known are {known}")
    return [
        one
        for name, one in EXPERIMENTS.items()
        if not names or name in names or name.partition(".")[0] in names
    ]
