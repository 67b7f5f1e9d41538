"""Which layers each registered method compares, on convnets of three named stages."""

from typing import Any

from keras_kd import DistillationLoss, losses

STAGES = ["stage_0", "stage_1", "stage_2"]
# Where the last stage, or the stages, are not what the paper compares.
LAYERS: dict[str, Any] = dict.fromkeys(
    ("rkd", "pkt", "cc", "crd", "itrd", "srd", "vkd"), "embedding"
) | {"ofd": [f"{stage}_normalized" for stage in STAGES]}
KINDS = ("outputs", "feature", "stages", "exits", "nothing")


def classifier_methods() -> list[str]:
    """List the methods that fit an image classifier."""
    return [name for name, m in losses.methods().items() if m.signals in KINDS]


def teacher_layers(name: str) -> list[str]:
    """List the layers of the teacher that a method reads, beside its logits."""
    signals = losses.methods()[name].signals
    if signals == "feature":
        return [LAYERS.get(name, STAGES[-1])]
    return list(LAYERS.get(name, STAGES)) if signals == "stages" else []


def make_loss(name: str, examples: int) -> DistillationLoss:
    """Return a method with its published settings.

    Args:
        name: The method.
        examples: The number of training examples; x holds their numbers as "index".
    """
    signals, arguments = losses.methods()[name].signals, {}
    layers: Any = teacher_layers(name)
    if signals == "feature":
        student = "reused_features" if name == "simkd" else layers[0]
        arguments = {"teacher_layer_name": layers[0], "student_layer_name": student}
    elif signals == "stages":
        arguments = {"teacher_layer_names": layers, "student_layer_names": layers}
    elif signals == "exits":
        arguments = {"student_layer_names": STAGES}
    if name == "crd":
        arguments |= {"num_examples": examples, "sample_ids": "index"}
    return losses.get(name, **arguments)
