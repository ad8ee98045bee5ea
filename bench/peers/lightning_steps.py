"""The median CPU milliseconds of a training step in Lightning: `python lightning_steps.py INPUTS KEY`.

As its documentation has it, without what costs time and is not asked for: no logger, no checkpoints, no
progress bar. The optimizer is torch's fused SGD.
"""

import logging
import statistics
import sys
import time
import warnings
from itertools import pairwise
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from training import MOMENTUM, Inputs, Job, build_network


class Module(lightning.LightningModule):
    def __init__(self, job: Job, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.job, self.network = job, build_network(job)
        self.network.load_state_dict(weights)
        self.times: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        loss = functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.process_time())

    def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        groups = [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": self.job.decay},
            {"params": [one for one in parameters if one.ndim == 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=self.job.lr, momentum=MOMENTUM, fused=True)


def main() -> None:
    # It advises to use more processes for loading, where batches lie in memory.
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    inputs = Inputs(sys.argv[1])
    job = next(job for job in inputs.jobs if job.key == sys.argv[2])
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=job.epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    module = Module(job, inputs.weights(job))
    batches = DataLoader(
        TensorDataset(*inputs.split("train")), batch_size=job.batch_size, shuffle=True
    )
    validation = DataLoader(TensorDataset(*inputs.split("val")), batch_size=1024)
    trainer.fit(module, batches, validation)
    print(1000 * statistics.median(after - before for before, after in pairwise(module.times)))


if __name__ == "__main__":
    main()
