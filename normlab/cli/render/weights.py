"""Instructions for loading a downloaded checkpoint."""

from pathlib import Path

from normlab.cli.render.output import say
from normlab.client import Reference

#: The name of a job's best checkpoint once it is downloaded.
BEST = "best.pt"

_RECIPE = """{path} is a state dict. Only its weights, or the whole model in eval mode:

  import torch
  weights = torch.load("{path}", weights_only=True)

  from pathlib import Path
  from normlab import Client
  from trainer.training.checkpoint import restore_model
  from trainer.spec import DatasetInfo, JobSpec
  client = Client()
  spec = JobSpec.model_validate(client.show("{job}")["spec"])
  info = DatasetInfo.model_validate(client.dataset(spec.dataset.name)["info"])
  model = restore_model(spec, info, Path("{path}"))"""


def say_how_to_load(job: Reference, path: Path) -> None:
    """To a person: the job's weights, and its model."""
    say()
    say(_RECIPE.format(job=job, path=path))
