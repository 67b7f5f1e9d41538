"""Every public loss, with all of its arguments, none at its default."""

import keras
from keras import layers
from keras.optimizers import schedules

import keras_kd
from keras_kd import losses


@keras.saving.register_keras_serializable(package="tests_saving")
def absolute_gap(target, prediction):
    return keras.ops.mean(keras.ops.abs(target - prediction), axis=-1)


def _on_features(kind, **arguments):
    """Return what makes a loss on one layer of each side."""
    return lambda: kind(
        teacher_layer_name="block_3",
        student_layer_name=keras_kd.Tap("block_1", call=-1),
        name="mine",
        **arguments,
    )


def _on_outputs(kind, **arguments):
    """Return what makes a loss on one output of each side."""
    return lambda: kind(output=("digit", 0), name="mine", **arguments)


def _on_stages(kind, **arguments):
    """Return what makes a loss on several layers of each side."""
    return lambda: kind(
        teacher_layer_names=["block_1", keras_kd.Tap("block_3", call=1)],
        student_layer_names=["a", "b"],
        name="mine",
        **arguments,
    )


LOSSES = {
    "logits": lambda: keras_kd.LogitsDistillation(
        temperature=2.5,
        loss="reverse_kl_divergence",
        standardize=True,
        from_logits=False,
        output=("digit", 0),
        name="soft",
    ),
    "logits_schedule": lambda: keras_kd.LogitsDistillation(
        temperature=schedules.ExponentialDecay(4.0, 100, 0.5),
        loss=keras_kd.Divergence("jensen_shannon_divergence", beta=0.2),
        standardize=True,
        from_logits=False,
        output="digit",
        name="soft",
    ),
    "logits_several_outputs": lambda: keras_kd.LogitsDistillation(
        temperature=1,
        loss={
            "a": keras_kd.Divergence("skew_kl_divergence", alpha=0.3),
            "b": None,
            "c": keras.losses.BinaryCrossentropy(label_smoothing=0.2),
            "d": absolute_gap,
            "e": ["mse", "binary_kl_divergence"],
        },
        standardize=True,
        from_logits=False,
        output=1,
        name="soft",
    ),
    "hard_labels": lambda: keras_kd.HardLabelDistillation(output=-1, name="hard"),
    "features": lambda: keras_kd.FeatureDistillation(
        loss="mae",
        teacher_layer_name="backbone/features",
        student_layer_name=keras_kd.Tap("features", call=1, of="input"),
        projector=None,
        name="hint",
    ),
    "features_layer": lambda: keras_kd.FeatureDistillation(
        loss=[keras.losses.CosineSimilarity(axis=-1), None],
        teacher_layer_name=layers.Dense(3, name="block"),
        student_layer_name=keras_kd.Output(1),
        projector=layers.Dense(4, activation="relu", name="mine"),
        name="hint",
    ),
    "attention_transfer": lambda: keras_kd.AttentionTransfer(
        teacher_layer_name="block_3",
        student_layer_name=keras_kd.Tap("block_1", call=-1),
        power=4,
        name="maps",
    ),
    "attention": lambda: keras_kd.AttentionDistillation(
        teacher_layers=["a", keras_kd.Tap("b", call=1)],
        student_layers="c",
        layer_map=[1],
        heads="averaged",
        loss="mse",
        name="heads",
    ),
    "channel_wise": _on_features(
        losses.ChannelWiseDistillation, temperature=2.0, projector=None
    ),
    "class_subset": _on_outputs(
        losses.ClassSubsetDistillation,
        classes=[3, 1],
        temperature=2.0,
        own_examples_only=True,
    ),
    "confidence": lambda: losses.ConfidenceWeightedDistillation(
        num_teachers=3, temperature=2.0, name="mine"
    ),
    "confidence_features": lambda: losses.ConfidenceWeightedFeatures(
        num_teachers=2,
        teacher_layer_name=["block_3", "block_4"],
        student_layer_name=keras_kd.Tap("block_1", call=-1),
        classifier_layer_name=["logits", "head/logits"],
        output="digit",
        name="mine",
    ),
    "contrastive": _on_features(
        losses.ContrastiveDistillation,
        num_examples=9,
        sample_ids="row",
        size=8,
        negatives=3,
        temperature=0.1,
        momentum=0.9,
        seed=4,
    ),
    "congruence": _on_features(losses.CorrelationCongruence, gamma=0.2, order=3),
    "correlation": _on_outputs(
        losses.CorrelationDistillation, beta=2.0, gamma=3.0, temperature=4.0
    ),
    "curriculum": _on_outputs(
        losses.CurriculumTemperature,
        reversal_strength=schedules.ExponentialDecay(1.0, 10, 0.5),
        loss="reverse_kl_divergence",
        minimum=2.0,
        span=3.0,
        initial_theta=0.5,
        standardize=True,
    ),
    "alpha_beta": _on_outputs(
        losses.AlphaBetaDistillation, alpha=0.5, beta=0.7, temperature=2.0
    ),
    "decoupled": _on_outputs(
        losses.DecoupledDistillation,
        alpha=2.0,
        beta=schedules.ExponentialDecay(1.0, 10, 0.5),
        temperature=3.0,
        standardize=True,
    ),
    "exits": lambda: losses.ExitDistillation(
        ["a", keras_kd.Tap("b", call=1)],
        temperature=2.0,
        alpha=schedules.ExponentialDecay(0.5, 10, 0.5),
        feature_weight=0.1,
        output="digit",
        name="mine",
    ),
    "information": _on_features(
        losses.InformationDistillation,
        alpha=1.5,
        correlation_weight=1.0,
        mutual_weight=0.5,
        projector=None,
    ),
    "last_batch": lambda: losses.LastBatchDistillation(
        batch_size=6, temperature=2.0, sample_ids="row", output="digit", name="mine"
    ),
    "margin": _on_outputs(losses.MarginDistillation),
    "masked_generation": _on_features(
        losses.MaskedGenerativeDistillation,
        mask="pixels",
        mask_ratio=0.25,
        seed=3,
        projector=None,
    ),
    "multi_level": _on_outputs(
        losses.MultiLevelLogitDistillation, temperatures=[1.0, 2.0], standardize=True
    ),
    "neuron_selectivity": _on_features(losses.NeuronSelectivityTransfer),
    "normalized": _on_outputs(
        losses.NormalizedDistillation, gamma=2.0, temperature=3.0
    ),
    "one_for_all": _on_outputs(
        losses.OneForAllDistillation,
        student_layer_names=["a", keras_kd.Tap("b", call=1)],
        epsilon=1.5,
        temperature=2.0,
    ),
    "orthogonal": _on_features(losses.OrthogonalDistillation),
    "overhaul": _on_stages(losses.OverhaulDistillation),
    "pearson": _on_features(losses.PearsonDistillation, projector=None),
    "probabilistic": _on_features(losses.ProbabilisticKnowledgeTransfer),
    "refined": _on_outputs(
        losses.RefinedLogitDistillation,
        alpha=2.0,
        beta=3.0,
        temperature=5.0,
        confidence_temperature=6.0,
        standardize=True,
    ),
    "relational": _on_features(
        losses.RelationalDistillation, distance_weight=1.0, angle_weight=2.0
    ),
    "review": _on_stages(losses.ReviewDistillation, width=8),
    "same_class": lambda: losses.SameClassDistillation(
        temperature=2.0, output="digit", name="mine"
    ),
    "similarity": _on_features(losses.SimilarityPreserving),
    "simple_recipe": _on_features(
        losses.SimpleRecipeDistillation, power=2.0, projector=None
    ),
    "teacher_dropping": lambda: losses.TeacherDroppingDistillation(
        num_teachers=3,
        temperature=2.0,
        drop_rate=schedules.ExponentialDecay(0.5, 10, 0.5),
        seed=4,
        name="mine",
    ),
    "transformed_teacher": _on_outputs(
        losses.TransformedTeacherMatching, gamma=0.2, weighted=True
    ),
    "variational": _on_features(
        losses.VariationalInformation, initial_variance=2.0, projector=None
    ),
    "view_agreement": lambda: losses.ViewAgreementDistillation(
        temperature=schedules.ExponentialDecay(4.0, 100, 0.5),
        sample_ids="row",
        stop_gradient=False,
        output="digit",
        name="mine",
    ),
    "virtual_teacher": lambda: losses.VirtualTeacherDistillation(
        correct_probability=0.9, temperature=2.0, output="digit", name="mine"
    ),
    "hidden_states": lambda: losses.HiddenStateDistillation(
        teacher_layer_names=["a", keras_kd.Tap("b", call=1), "c"],
        student_layer_names=["x", keras_kd.Tap("y", call=-1)],
        loss="mae",
        projector=None,
        name="mine",
    ),
    "tinybert": lambda: losses.TinyBertDistillation(
        teacher_layer_names=["a", keras_kd.Tap("b", call=1), "c"],
        student_layer_names=["x", "y"],
        embeddings=("embedding", keras_kd.Tap("tokens", call=0)),
        attention=(["a/attention"], [keras_kd.Tap("x/attention", call=0)]),
        name="mine",
    ),
    "distilbert": lambda: losses.DistilBertDistillation(
        "layer_11",
        keras_kd.Tap("layer_5", call=-1),
        temperature=schedules.ExponentialDecay(4.0, 100, 0.5),
        logits_weight=1.0,
        cosine_weight=2.0,
        output=("tokens", 0),
        name="mine",
    ),
    "attention_relations": lambda: losses.AttentionRelationDistillation(
        teacher_layer="layer_11",
        student_layer=keras_kd.Tap("layer_5", call=-1),
        relation_heads=12,
        padding_mask="padding_mask",
        name="mine",
    ),
    "mutual": lambda: losses.MutualDistillation(2.5, teachers=[1, 0], name="mine"),
    "collaborative": lambda: losses.CollaborativeDistillation(
        "lowest_margin", 2.5, name="mine"
    ),
    "gated": lambda: losses.GatedEnsembleDistillation(
        keras_kd.Tap("block_1", call=-1), 2.5, name="mine"
    ),
    "data_free": lambda: losses.DataFreeDistillation(
        0.5,
        0.2,
        3.0,
        2.5,
        layer_name=keras_kd.Tap("teacher/block_1", call=-1),
        name="mine",
    ),
}
