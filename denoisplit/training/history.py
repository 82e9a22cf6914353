"""Records of a training: history.csv, one log line per epoch, the progress bar."""

from __future__ import annotations

import csv
import io
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from denoisplit.files.atomic import write_text
from denoisplit.files.csv_file import read_rows
from denoisplit.progress import Bar, logger

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_data",
    "train_kl",
    "val_loss",
    "val_data",
    "val_kl",
    "val_psnr",
    "val_risk",
    "learning_rate",
    "skipped_steps",
    "seconds",
)


class History(Callback):
    """Callback that writes history.csv, one row per epoch, and moves the progress bar."""

    def __init__(self, path: Path, progress: Bar) -> None:
        self.path = path
        self.bar = progress
        self.rows: list[dict[str, Any]] = []
        self._start = time.monotonic()
        self._seconds_before = 0.0  # of the interrupted training that is resumed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the rows of finished epochs when a training is resumed."""
        if trainer.current_epoch and self.path.exists():
            rows = read_rows(self.path, ("epoch", "step"))
            self.rows = [
                {name: row.get(name, "") for name in COLUMNS}
                for row in rows
                if int(row["epoch"]) <= trainer.current_epoch
            ]
            self._seconds_before = float(self.rows[-1]["seconds"] or 0) if self.rows else 0.0
        self.bar.to(trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *unused: Any
    ) -> None:
        """Move the progress bar."""
        self.bar.to(trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write one more row and log the losses."""
        values = {name: f"{v.item():.6g}" for name, v in trainer.callback_metrics.items()}
        seconds = self._seconds_before + time.monotonic() - self._start
        row = {
            **{name: values.get(name, "") for name in COLUMNS},
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.4g}",
            "skipped_steps": pl_module.skipped_steps,
            "seconds": f"{seconds:.1f}",
        }
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
        logger.info(
            "epoch %d of %d: training loss %s, validation loss %s",
            row["epoch"],
            trainer.max_epochs,
            row["train_loss"],
            row["val_loss"],
        )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence, within the context, the hints that Lightning gives to its developers."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # crops are cut from memory: worker processes would only cost time
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            warnings.filterwarnings("ignore", ".*`srun` command is available.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
