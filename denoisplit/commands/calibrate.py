"""``denoisplit calibrate``: calibrate a finished run anew, with error map, verdict and report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.everyday import CALIBRATE
from denoisplit.config.options import documented
from denoisplit.evaluation.held_out import data_of_run
from denoisplit.files.atomic import drop_drafts
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.outputs import check_folder
from denoisplit.images import Files
from denoisplit.run import Run, load
from denoisplit.training.calibration.calibrate import calibrate_and_evaluate

PathLike = str | Path


@takes_arrays("truth")
@documented(CALIBRATE)
def calibrate(
    run: Run | PathLike, *, truth: Mapping[str, Files] | None = None, progress: bool = True
) -> Run:
    """Calibrate a finished run anew, and add error map, intervals, verdict, metrics and report.

    The images of the training must be where they were. The network and its settings stay as they
    are; the rest is replaced when all of it is complete. Errors are those by the noise-free images
    or the truth of the training, or by ``truth``; else they are estimated from the noisy images.

    Parameters
    ----------
    {options}

    Returns
    -------
    Run
        The calibrated run.

    Raises
    ------
    InputError
        If images are missing or changed, the truth does not belong to them, there is no truth
        and no noise model can be had, or another process writes to the run.
    """
    run = run if isinstance(run, Run) else load(run)
    check_folder(run.path)
    with output_lock(run.path):
        drop_drafts(run.path)
        data = data_of_run(run, truth=truth, otherwise="train a new run")
        settings = run.config.settings
        # also for preset paper, whose trainings make no error map
        prediction = settings.prediction.model_copy(update={"error_map": True})
        settings = settings.model_copy(update={"prediction": prediction})
        calibrate_and_evaluate(run.path, settings, data, run.model, must_judge=True)
        return load(run.path, device=run.model.input_mean.device)
