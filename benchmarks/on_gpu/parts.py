"""The parts in their order: the most important first."""

from __future__ import annotations

from typing import get_args

from fishtune.core.config.settings import TrainOptions

from .running import Part

LOADED = (
    "fishtune.core.stages.train.run",
    "fishtune.core.stages.extract.run",
    "fishtune.core.stages.merge.run",
    "fishtune.core.demo.checkpoint",
)
"""What most parts need, loaded once."""

_MODES = [mode for mode in get_args(TrainOptions.model_fields["checkpointing"].annotation) if mode != "auto"]
"""Ways of checkpointing that there are, but for the choice among them."""

PARTS = (
    Part("card", "on_gpu.cards:card", 20),
    Part("fishtune gpus", "on_gpu.cards:listing", 15),
    Part("inputs", "on_gpu.inputs:make_inputs", 60),
    *(
        Part(
            f"training {preset}, {mode}",
            "on_gpu.training:training_speed",
            50,  # most of it the compiler's
            {"preset": preset, "checkpointing": mode},
        )
        for preset in ("r_16_alpha_16", "r_8_alpha_16", "full")
        for mode in _MODES
    ),
    *(
        Part(f"step alone, {way}", "on_gpu.steps:steps_alone", 50, {"preset": "r_16_alpha_16", "way": way})
        for way in ("as the stage", "C++", "CUDA graphs")
    ),
    Part("extraction", "on_gpu.extraction:extraction_speed", 60),
    Part("generation", "on_gpu.generation:generation_speed", 60),
    Part("merge", "on_gpu.merging:merging", 60),
    Part("out of memory", "on_gpu.survival:out_of_memory", 45),
    Part("kill -9", "on_gpu.survival:killed_and_resumed", 60),
    Part("gate in bf16", "on_gpu.agreement:gate_in_bf16", 30),
    Part("codes", "on_gpu.agreement:codes_like_the_cpu", 30),
    Part("tests", "on_gpu.agreement:gpu_tests", 60),
)
