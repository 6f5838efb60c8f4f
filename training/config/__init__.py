"""The configuration of a training run: YAML file, `--set a.b=c` overrides, checks at construction.

One file per part of it; the sentence below a field says what it is for, and the JSON schema has that sentence. Nothing
here knows torch, so a recipe is checked in a moment.
"""

from training.config.auxiliary import AuxiliaryConfig
from training.config.data import AugmentConfig, DataConfig, MixtureRule
from training.config.run import (
    CheckpointConfig,
    HeldOutConfig,
    LogConfig,
    LossConfig,
    ParallelConfig,
    TrainConfig,
    check_resume_bound_fields,
    load_config,
    resume_bound_fields,
)
from training.config.stage import (
    EncoderConfig,
    ModelConfig,
    OptimiserConfig,
    ScheduleConfig,
    StageConfig,
    TrainableRule,
    TuningConfig,
)

__all__ = [
    "AugmentConfig",
    "AuxiliaryConfig",
    "CheckpointConfig",
    "DataConfig",
    "EncoderConfig",
    "HeldOutConfig",
    "LogConfig",
    "LossConfig",
    "MixtureRule",
    "ModelConfig",
    "OptimiserConfig",
    "ParallelConfig",
    "ScheduleConfig",
    "StageConfig",
    "TrainConfig",
    "TrainableRule",
    "TuningConfig",
    "check_resume_bound_fields",
    "load_config",
    "resume_bound_fields",
]
