"""``denoisplit compare``: several systems on the same images, with equal training budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.arrays import takes_arrays
from denoisplit.commands.train_several import Training, train_each
from denoisplit.config.commands import COMPARE
from denoisplit.config.groups import Pairing, Preset, SuperpositionKind
from denoisplit.config.options import documented
from denoisplit.config.systems import SPLITTING, SYSTEMS, options_for
from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts, write_text
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.json_file import read_json, write_json
from denoisplit.files.outputs import check_folder
from denoisplit.images import Files
from denoisplit.report.comparison import comparison_page
from denoisplit.report.tables import VERDICT, lacks_truth, mean_column, text_table
from denoisplit.run import METRICS, load
from denoisplit.training.equal_budget import Effort, efforts_of, equal_budgets

PathLike = str | Path

PAGE, NUMBERS = "compare.html", "compare.json"


class Comparison(NamedTuple):
    """Metrics of each system, as in metrics.json of its run, and the training of its networks."""

    metrics: dict[str, dict[str, Any]]
    done: dict[str, list[Effort]]

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Verdicts, and metrics averaged over structures, by title of the system."""
        return {
            SYSTEMS[name].title: {
                VERDICT + verdict["structure"]: verdict["verdict"]
                for verdict in metrics.get("verdicts") or []
            }
            | mean_column(metrics)
            for name, metrics in self.metrics.items()
        }

    @property
    def text(self) -> str:
        """One row per metric, one column per system."""
        return text_table(self.columns, "mean over structures") + f"{self.note}\n"

    @property
    def note(self) -> str:
        """How long the networks were trained, how many there are, and what was not computed."""
        distinct = {effort for efforts in self.done.values() for effort in efforts}
        if len(distinct) == 1:
            sentences = [f"Every network was trained {distinct.pop()}."]
        else:
            sentences = [
                f"{SYSTEMS[name].title} was trained {' and '.join(map(str, sorted(set(efforts))))}."
                for name, efforts in self.done.items()
            ]
        sentences += [
            f"{SYSTEMS[name].title} has {len(efforts)} networks."
            for name, efforts in self.done.items()
            if len(efforts) > 1
        ]
        if any(lacks_truth(metrics) for metrics in self.metrics.values()):
            sentences.append("Numbers that need a noise-free truth are left out: there is none.")
        return " ".join(sentences)


@takes_arrays("structures", "truth", kept=True)
@documented(COMPARE)
def compare(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    systems: Sequence[str] = SPLITTING,
    preset: Preset | None = None,
    pairing: Pairing | None = None,
    superposition: SuperpositionKind | None = None,
    truth: Mapping[str, Files] | None = None,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    progress: bool = True,
    network: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    noise_model_fit: Mapping[str, Any] | None = None,
    n2v: Mapping[str, Any] | None = None,
    prediction: Mapping[str, Any] | None = None,
    denoiser: Mapping[str, Any] | None = None,
) -> Comparison:
    """Train each system on the same images for the same steps, with as many pixels in each step.

    For HDN(+)muSplit this holds for each of its C + 2 networks, as in the paper. No training ends
    early, and all epochs have the same number of steps: ``max_steps`` is rounded down to whole
    epochs of about 100. The pixels are the fewest of any system's own settings.

    Each system is a run in ``output``; finished ones are kept, and an interrupted one is resumed. A
    table and a page of pictures are written beside them.

    ``max_steps``, or a preset that sets it, must be given, and nothing that ends a training
    otherwise.

    Parameters
    ----------
    {options}

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        For unknown systems, images or options that cannot be used, or an output that another
        process writes.
    """
    for name in systems:
        if name not in SPLITTING:
            raise InputError(
                where="systems",
                found=name,
                expected=f"some of {', '.join(SPLITTING)}",
                remedy="choose others",
            )
    if len(set(systems)) < max(2, len(systems)):
        raise InputError(
            where="systems",
            found=", ".join(systems),
            expected="two or more different ones",
            remedy="add one",
        )
    given = {
        "preset": preset,
        "pairing": pairing,
        "superposition": superposition,
        "synthetic_poisson": synthetic_poisson,
        "synthetic_gaussian": synthetic_gaussian,
        "max_steps": max_steps,
        "seed": seed,
        "network": network,
        "objective": objective,
        "data": data,
        "training": training,
        "noise_model_fit": noise_model_fit,
        "n2v": n2v,
        "prediction": prediction,
        "denoiser": denoiser,
    }
    options = {name: value for name, value in given.items() if value is not None}
    output = Path(output)
    budgets = equal_budgets(structures, systems, options)
    trainings = {
        name: Training(
            output / name,
            structures,
            {"system": name, "truth": truth, **budgets[name].added_to(options_for(name, options))},
            SYSTEMS[name].title,
        )
        for name in systems
    }
    check_folder(output)
    with output_lock(output):
        train_each(list(trainings.values()), jobs)
        runs = {name: load(training.run) for name, training in trainings.items()}
        comparison = Comparison(
            {name: read_json(run.path / METRICS) for name, run in runs.items()},
            {name: efforts_of(run) for name, run in runs.items()},
        )
        drop_drafts(output / NUMBERS)
        drop_drafts(output / PAGE)
        write_json(output / NUMBERS, comparison.metrics)
        frames = comparison.metrics[systems[0]]["frames"]
        page = comparison_page(runs, comparison.columns, frames=frames, note=comparison.note)
        write_text(output / PAGE, page)
        return comparison
