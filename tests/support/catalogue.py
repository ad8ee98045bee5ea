"""One small job for every entry of the catalogue: what tests over all of it are parametrized by.

A job is what differs from BASE. Every alternative of every union of the spec has one at least.
"""

from typing import Any

Job = dict[str, Any]

BASE: Job = {
    "dataset": {"name": "digits", "train_size": 200},
    "model": {"name": "cnn", "width": 4},
    "norm": {"kind": "batch"},
    "training": {"epochs": 3, "batch_size": 64},
    "optimizer": {"kind": "sgd", "lr": 0.05},
}

_GROUPS = {"kind": "group", "groups": 2}
_RESNET = {"model": {"name": "resnet20", "width": 4}}

NORMS: dict[str, Job] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch"},
    "layer": {"kind": "layer"},
    "layer-channels": {"kind": "layer", "axes": "channels"},
    "instance": {"kind": "instance"},
    "group": _GROUPS,
    "group-by-size": {"kind": "group", "channels_per_group": 2},
    "lrn-channels": {"kind": "lrn", "alpha": 0.1},
    "lrn-space": {"kind": "lrn", "across": "space", "n": 3, "alpha": 0.1},
    "rms": {"kind": "rms"},
    "ghost_batch": {"kind": "ghost_batch", "virtual_batch_size": 16},
    "batch_renorm": {"kind": "batch_renorm", "plain_steps": 3, "ramp_steps": 5, "momentum": 0.1},
    "filter_response": {"kind": "filter_response"},
    "filter_response-plain": {"kind": "filter_response", "tlu": False},
    "evonorm-B0": {"kind": "evonorm", "form": "B0"},
    "evonorm-S0": {"kind": "evonorm", "form": "S0", "groups": 2},
    "dynamic_tanh": {"kind": "dynamic_tanh"},
    "derf": {"kind": "derf", "shift": 0.1},
}

WEIGHTS: dict[str, Job] = {
    "plain": {"kind": "plain"},
    "standardization": {"kind": "standardization"},
    "scaled_standardization": {"kind": "scaled_standardization"},
    "weight_norm": {"kind": "weight_norm"},
    "spectral": {"kind": "spectral"},
}

REGULARIZERS: dict[str, Job] = {
    "weight_decay": {"kind": "weight_decay", "value": 1e-2},
    "weight_decay-decoupled": {"kind": "weight_decay", "value": 1e-2, "mode": "decoupled"},
    "weight_decay-all": {"kind": "weight_decay", "value": 1e-2, "parameters": "all"},
    "l1": {"kind": "l1", "value": 1e-3},
    "l1-proximal": {"kind": "l1", "value": 1e-2, "proximal": True},
    "l2": {"kind": "l2", "value": 1e-2},
    "elastic_net": {"kind": "elastic_net", "value": 1e-3},
    "max_norm": {"kind": "max_norm", "value": 0.5},
    "dropout": {"kind": "dropout", "p": 0.3},
    "dropout-head": {"kind": "dropout", "p": 0.3, "where": "head", "input_p": 0.1},
    "spatial_dropout": {"kind": "spatial_dropout", "p": 0.3},
    "drop_connect": {"kind": "drop_connect", "p": 0.3},
    "drop_block": {"kind": "drop_block", "p": 0.2, "block_size": 2, "ramp": True},
    "label_smoothing": {"kind": "label_smoothing"},
    "mixup": {"kind": "mixup"},
    "cutmix": {"kind": "cutmix"},
    "gradient_clipping": {"kind": "gradient_clipping", "value": 0.5},
    "gradient_clipping-value": {"kind": "gradient_clipping", "by": "value", "value": 0.01},
    "adaptive_gradient_clipping": {"kind": "adaptive_gradient_clipping"},
    "gradient_noise": {"kind": "gradient_noise"},
    "sam": {"kind": "sam", "rho": 0.1},
    "ema": {"kind": "ema", "decay": 0.9},
    "swa": {"kind": "swa", "start": 0.4},
}

AUGMENTATIONS: dict[str, Job] = {
    "rotate": {"kind": "rotate", "degrees": 15.0},
    "flip": {"kind": "flip", "axis": "vertical"},
    "scale": {"kind": "scale"},
    "shift": {"kind": "shift"},
    "contrast": {"kind": "contrast"},
    "brightness": {"kind": "brightness"},
    "padded_crop": {"kind": "padded_crop", "padding": 1},
    "rand_augment": {"kind": "rand_augment"},
    "trivial_augment": {"kind": "trivial_augment"},
    "random_erasing": {"kind": "random_erasing"},
}

MODELS: dict[str, Job] = {
    "mlp": {"model": {"name": "mlp", "hidden": [16, 16]}},
    "cnn": {},
    "resnet20": _RESNET,
    "resnet20-norm_free": {
        "model": {"name": "resnet20", "width": 4, "skip_init": True},
        "norm": {"kind": "none"},
        "weights": {"kind": "scaled_standardization"},
        "regularization": [{"kind": "adaptive_gradient_clipping", "value": 0.1}],
    },
    "alexnet_small": {
        "model": {"name": "alexnet_small", "width": 4},
        "norm": {"kind": "lrn", "alpha": 0.1},
    },
    "inception_small": {"model": {"name": "inception_small", "width": 4}},
    "vit_small": {
        "model": {"name": "vit_small", "patch": 2, "width": 8, "depth": 2, "heads": 2},
        "norm": {"kind": "layer"},
    },
    "autoencoder": {
        "model": {"name": "autoencoder", "hidden": 16},
        "norm": {"kind": "none"},
        "task": {"kind": "reconstruction"},
    },
    "polynomial": {
        "dataset": {"name": "polynomial_noise", "train_size": 100},
        "model": {"name": "polynomial", "degree": 4},
        "norm": {"kind": "none"},
        "task": {"kind": "regression"},
    },
    "library": {
        "dataset": {"name": "digits", "train_size": 100, "image_size": 32},
        "model": {"name": "torchvision:mobilenet_v3_small"},
        "norm": _GROUPS | {"groups": 8},
    },
}

TASKS: dict[str, Job] = {
    "classification": {},
    "regression": {**MODELS["polynomial"], "model": {"name": "mlp", "hidden": [16]}},
    "reconstruction": MODELS["autoencoder"],
    "reconstruction-mse": {
        **MODELS["autoencoder"],
        "task": {"kind": "reconstruction", "loss": "mse"},
    },
}

OPTIMIZERS: dict[str, Job] = {
    "sgd": {"kind": "sgd", "lr": 0.05, "nesterov": True},
    "adam": {"kind": "adam", "lr": 0.01},
    "adamw": {"kind": "adamw", "lr": 0.01},
    "lion": {"kind": "lion", "lr": 0.001},
    "muon": {"kind": "muon", "adamw_lr": 0.01},
    "muon-match_rms_adamw": {"kind": "muon", "lr": 0.01, "scale": "match_rms_adamw"},
}

SCHEDULES: dict[str, Job] = {
    "constant": {"kind": "constant", "warmup_epochs": 1.0},
    "step": {"kind": "step", "milestones": [1, 2]},
    "cosine": {"kind": "cosine"},
}

STOPPING: dict[str, Job] = {
    "none": {"kind": "none"},
    "patience": {"kind": "patience", "patience": 2},
    "generalization_loss": {"kind": "generalization_loss", "alpha": 50.0},
    "progress_quotient": {"kind": "progress_quotient", "strip": 2},
    "successive_increases": {"kind": "successive_increases", "increases": 1, "strip": 1},
}

DIAGNOSTICS: dict[str, Job] = {
    "off": {"kind": "off"},
    "epoch": {"kind": "epoch", "samples": 16},
    "steps": {"kind": "steps", "points": 4, "samples": 16},
}

INITIALIZATIONS: dict[str, Job] = {
    "default": {"kind": "default"},
    "normal": {"kind": "normal", "std": 0.1},
}

TRAINING: dict[str, Job] = {
    "bf16": {**BASE["training"], "precision": "bf16"},
    "compile": {**BASE["training"], "drop_last": True, "compile": True},
}

DATASETS: dict[str, Job] = {
    name: {"dataset": {"name": name, "train_size": 100}, "model": {"name": "mlp", "hidden": [16]}}
    for name in ("moons", "circles", "blobs", "mnist1d")
}


def _in(section: str, entries: dict[str, Job]) -> dict[str, Job]:
    return {name: {section: entry} for name, entry in entries.items()}


#: Section of the catalogue → example by name.
SECTIONS: dict[str, dict[str, Job]] = {
    "norms": _in("norm", NORMS),
    "weights": {name: {"weights": entry, "norm": _GROUPS} for name, entry in WEIGHTS.items()},
    "regularizers": {
        **{name: {"regularization": [entry]} for name, entry in REGULARIZERS.items()},
        "stochastic_depth": {
            **_RESNET,
            "regularization": [{"kind": "stochastic_depth", "p": 0.3}],
        },
    },
    "augmentations": {name: {"augmentation": [entry]} for name, entry in AUGMENTATIONS.items()},
    "models": MODELS,
    "tasks": TASKS,
    "initializations": _in("init", INITIALIZATIONS),
    "optimizers": {
        **_in("optimizer", OPTIMIZERS),
        "least_squares": {
            **MODELS["polynomial"],
            "optimizer": {"kind": "least_squares"},
            "training": {"epochs": 1, "batch_size": 100},
        },
    },
    "schedules": _in("schedule", SCHEDULES),
    "training": _in("training", TRAINING),
    "early_stopping": _in("early_stopping", STOPPING),
    "diagnostics": _in("diagnostics", DIAGNOSTICS),
    "datasets": DATASETS,
}

#: `section/example` → the whole job.
CATALOGUE: dict[str, Job] = {
    f"{section}/{name}": {**BASE, **job}
    for section, jobs in SECTIONS.items()
    for name, job in jobs.items()
}
