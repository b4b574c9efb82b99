"""Run experiments by name and write what they found: pictures, datasets, claims, one report."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import xarray as xr
from tqdm import tqdm

from jaxphys._checks import InputError, require
from jaxphys.io import save_run, write_atomically
from jaxphys.papers.claims import Claim, save_claims
from jaxphys.papers.frame import Experiment, Result, Settings, stored_claims
from jaxphys.papers.pages import Entry, page
from jaxphys.papers.registry import EXPERIMENTS, resolve
from jaxphys.reports.run_page import png


def reproduce(
    names: Sequence[str],
    out: Path | str,
    settings: Settings | None = None,
    *,
    force: bool = False,
    jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> list[Claim]:
    """Run experiments and write `NAME.nc`, `NAME.png`, `claims.json` and `report.html` into the folder `out`.

    What is there already, made with the same settings by the same version, is not computed again, so
    a call that was interrupted goes on where it stopped. `claims.json` and the report cover everything
    in the folder.

    **Arguments**

    - `names`: of experiments or groups of them, as `resolve` knows them; none means all.
    - `settings`: `Settings()`, the papers' ensemble sizes, if left out.
    - `force`: compute again what is there, and replace results of other settings.
    - `jobs`: figures computed side by side, in threads. An interruption then waits for those at work.
    - `report`: called with a line of text for every experiment. `progress`: show a bar.

    Returns the claims of the experiments named. Raises `InputError`, before any compute, on unknown names, a
    missing extra, single precision, and results of other settings in the folder.
    """
    settings = Settings() if settings is None else settings
    out = Path(out)
    experiments = resolve(names)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: must be a folder, but it is a file")
    require(jobs >= 1, "jobs", "be at least 1", f"it is {jobs}")
    missing = [one for one in experiments if force or not _is_done(one, settings, out)]
    for one in missing:
        one.check()
    out.mkdir(parents=True, exist_ok=True)
    if force:
        _remove_damaged(missing, out)
    found: dict[str, list[Claim]] = {}
    for one in experiments:
        if one not in missing:
            with _opened(_path(out, one)) as dataset:
                dataset.load()
            if not (out / f"{one.name}.png").exists():
                _draw(one, dataset, out)
            report(f"{one.name}: already there")
            found[one.name] = stored_claims(dataset)
    write_summary(out)
    with tqdm(total=len(missing), unit="figure", disable=not progress, leave=False) as bar:
        for one, result in _computed(missing, settings, jobs):
            save_run(result.dataset, _path(out, one))
            _draw(one, result.dataset, out)
            with bar.external_write_mode():
                report(f"{one.name}: {_tally(result.claims)}, {result.dataset.attrs['seconds']:.1f} s")
            bar.update()
            found[one.name] = result.claims
            # After every experiment, so that an interruption leaves a folder that agrees with itself.
            write_summary(out)
    return [claim for one in experiments for claim in found[one.name]]


def _computed(
    missing: Sequence[Experiment], settings: Settings, jobs: int
) -> Iterator[tuple[Experiment, Result]]:
    """Experiments with their results as they are done."""

    def timed(one: Experiment) -> Result:
        begin = time.perf_counter()
        result = one.run(settings)
        seconds = round(time.perf_counter() - begin, 2)
        return Result(result.dataset.assign_attrs(seconds=seconds), result.claims)

    if jobs == 1:
        for one in missing:
            yield one, timed(one)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(timed, one): one for one in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_summary(out: Path | str) -> None:
    """Write `claims.json` and `report.html` for the datasets and pictures that a folder holds."""
    out = Path(out)
    entries, claims = [], []
    for one in EXPERIMENTS.values():
        if not _path(out, one).exists() or not (out / f"{one.name}.png").exists():
            continue
        with _opened(_path(out, one)) as dataset:
            facts = dict(dataset.attrs)
            found = stored_claims(dataset)
            facts["settings"] = dict(json.loads(facts.get("settings", "{}")))
        entries.append(Entry(one.name, one.title, one.caption, (out / f"{one.name}.png"), found, facts))
        claims += found
    save_claims(claims, out / "claims.json")
    text = page(entries)
    write_atomically(out / "report.html", lambda to: to.write_text(text, encoding="utf-8"))


def _path(out: Path, one: Experiment) -> Path:
    return out / f"{one.name}.nc"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[xr.Dataset]:
    """What an experiment wrote before; damage that is noticed while it is read is one `InputError`."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            yield dataset
    except Exception:  # Layers below xarray raise what they like on broken files.
        raise InputError(f"{path}: cannot be read; remove it, or give --force or another folder") from None


def _remove_damaged(experiments: Sequence[Experiment], out: Path) -> None:
    """What is computed again anyway shall not keep the summary from being written."""
    for one in experiments:
        try:
            with _opened(_path(out, one)) as dataset:
                stored_claims(dataset)
        except InputError:
            _path(out, one).unlink(missing_ok=True)


def _is_done(one: Experiment, settings: Settings, out: Path) -> bool:
    """Whether the same settings and version made what is there; refuses to replace what others made."""
    path = _path(out, one)
    if not path.exists():
        return False
    with _opened(path) as dataset:
        found = str(dataset.attrs.get("settings"))
    wanted = one.identity(settings)
    if found != wanted:
        raise InputError(
            f"{path}: was made with other settings ({_difference(found, wanted)}); "
            "give --force or another folder"
        )
    return True


def _difference(found: str, wanted: str) -> str:
    try:
        before, now = json.loads(found), json.loads(wanted)
        changes = [f"{key} {before.get(key)} instead of {value}" for key, value in now.items()]
        return ", ".join(
            text for text, (key, value) in zip(changes, now.items(), strict=True) if before.get(key) != value
        )
    except (ValueError, AttributeError):
        return "unknown ones"


def _draw(one: Experiment, dataset: xr.Dataset, out: Path) -> None:
    picture = png(one.draw(dataset))
    write_atomically(out / f"{one.name}.png", lambda to: to.write_bytes(picture))


def _tally(claims: Sequence[Claim]) -> str:
    counts = dict.fromkeys(("holds", "conditional", "does not hold"), 0)
    for claim in claims:
        counts[claim.verdict] += 1
    words = {"holds": "hold", "conditional": "conditional", "does not hold": "do not hold"}
    return ", ".join(f"{count} {words[verdict]}" for verdict, count in counts.items() if count) + (
        "" if claims else "no claims"
    )
