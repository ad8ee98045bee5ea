"""Which norm goes into which model of torchvision and timm: docs/models.md."""
