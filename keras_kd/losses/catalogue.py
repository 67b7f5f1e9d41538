"""What is published about each method: the entries of the registry.

The weights are those of the papers' image classifiers, CIFAR-100 where they report it;
that of "cc", of which none fits our scale, makes its term about as large as the task's.
Methods on features stand beside the task loss alone, as they were published.
"""

from typing import Any

from keras_kd.losses.features import (
    AttentionTransfer,
    ChannelWiseDistillation,
    FeatureDistillation,
    InformationDistillation,
    NeuronSelectivityTransfer,
    PearsonDistillation,
)
from keras_kd.losses.logits import (
    CorrelationDistillation,
    CurriculumTemperature,
    DecoupledDistillation,
    HardLabelDistillation,
    LogitsDistillation,
    MultiLevelLogitDistillation,
    NormalizedDistillation,
    RefinedLogitDistillation,
    TransformedTeacherMatching,
)
from keras_kd.losses.registry import Method, register
from keras_kd.losses.relations import (
    CorrelationCongruence,
    ProbabilisticKnowledgeTransfer,
    RelationalDistillation,
    SimilarityPreserving,
)
from keras_kd.losses.self_distillation import VirtualTeacherDistillation
from keras_kd.losses.transformers import (
    AttentionDistillation,
    AttentionRelationDistillation,
    MarginDistillation,
)


def _logits(
    name: str, divergence: Any, paper: str, when: str, **settings: Any
) -> Method:
    """Return a divergence of tempered distributions, at the weights of plain KD."""
    defaults = {"temperature": 4.0, "loss": divergence, **settings}
    weight = defaults.pop("weight", 0.9)
    task = 1.0 - weight if weight < 1.0 else 0.1
    return Method(
        name, LogitsDistillation, paper, "outputs", weight, task, when, defaults
    )


METHODS = (
    _logits(
        "kd",
        "kl_divergence",
        "Hinton, Vinyals and Dean, 2015, arXiv:1503.02531",
        "First, and always as the baseline.",
    ),
    _logits(
        "reverse_kl",
        "reverse_kl_divergence",
        "Gu et al., 2024, MiniLLM, arXiv:2306.08543",
        "A student that must not cover all that the teacher does: generators.",
    ),
    _logits(
        "jsd",
        "jensen_shannon_divergence",
        "Agarwal et al., 2024, GKD, arXiv:2306.13649",
        "Between forward and reverse KL; bounded.",
    ),
    _logits(
        "skew_kl",
        "skew_kl_divergence",
        "Ko et al., 2024, DistiLLM, arXiv:2402.03898",
        "Generators, where forward KL is unstable.",
    ),
    _logits(
        "skew_reverse_kl",
        "skew_reverse_kl_divergence",
        "Ko et al., 2024, DistiLLM, arXiv:2402.03898",
        "Generators, where reverse KL is unstable.",
    ),
    _logits(
        "symmetric_kl",
        "symmetric_kl_divergence",
        "Jeffreys, 1946; as a compromise in Wu et al., 2024, arXiv:2404.02657",
        "Neither direction of KL wins clearly.",
    ),
    _logits(
        "akl",
        "adaptive_kl_divergence",
        "Wu et al., 2024, arXiv:2404.02657",
        "Language models: forward KL for the head, reverse KL for the tail.",
    ),
    _logits(
        "tvd",
        "total_variation_distance",
        "Wen et al., 2023, arXiv:2307.15190",
        "Outliers must not dominate; bounded.",
    ),
    _logits(
        "logit_mse",
        "mse",
        "Kim et al., 2021, arXiv:2105.08919",
        "Raw logits of one scale on both sides.",
        temperature=1.0,
    ),
    _logits(
        "logit_cosine",
        "cosine_similarity",
        "the directions of the logits, as in Sun et al., 2024, arXiv:2403.01427",
        "Only the direction of the logits shall count.",
        temperature=1.0,
    ),
    _logits(
        "lskd",
        "kl_divergence",
        "Sun et al., 2024, arXiv:2403.01427",
        "A student too small for the range of the teacher's logits.",
        temperature=2.0,
        standardize=True,
        weight=9.0,
    ),
    Method(
        "binary_kd",
        LogitsDistillation,
        "Yang et al., 2023, arXiv:2308.06453",
        "outputs",
        0.9,
        0.1,
        "Multi-label classifiers, or one sigmoid output.",
        {"temperature": 2.0, "loss": "binary_kl_divergence"},
    ),
    Method(
        "hard_label",
        HardLabelDistillation,
        "Touvron et al., 2021, DeiT, arXiv:2012.12877",
        "outputs",
        0.5,
        0.5,
        "Noisy labels, or a teacher that is rarely wrong.",
    ),
    Method(
        "dkd",
        DecoupledDistillation,
        "Zhao et al., 2022, arXiv:2203.08679",
        "outputs",
        1.0,
        1.0,
        "A teacher so sure that its other classes hardly count in plain KD.",
        labels=True,
        warmup=20 / 240,
    ),
    Method(
        "nkd",
        NormalizedDistillation,
        "Yang et al., 2023, arXiv:2303.13005",
        "outputs",
        1.0,
        1.0,
        "As decoupled distillation, with one weight fewer.",
        labels=True,
    ),
    Method(
        "dist",
        CorrelationDistillation,
        "Huang et al., 2022, arXiv:2205.10536",
        "outputs",
        2.0,
        1.0,
        "A teacher much stronger than the student: only its rankings shall count.",
        {"temperature": 4.0},
    ),
    Method(
        "ttm",
        TransformedTeacherMatching,
        "Zheng and Yang, 2024, arXiv:2402.11148",
        "outputs",
        45.0,
        1.0,
        "As plain KD, and the student shall not be too sure of itself.",
        {"gamma": 0.1},
    ),
    Method(
        "wttm",
        TransformedTeacherMatching,
        "Zheng and Yang, 2024, arXiv:2402.11148",
        "outputs",
        4.0,
        1.0,
        "As ttm, with more weight where the teacher is unsure.",
        {"gamma": 0.1, "weighted": True},
    ),
    Method(
        "rld",
        RefinedLogitDistillation,
        "Sun et al., 2024, arXiv:2408.07703",
        "outputs",
        1.0,
        1.0,
        "A teacher that is often wrong on the training set.",
        labels=True,
        warmup=20 / 240,
    ),
    Method(
        "ctkd",
        CurriculumTemperature,
        "Li et al., 2023, arXiv:2211.16231",
        "outputs",
        0.9,
        0.1,
        "No time to search for a temperature.",
    ),
    Method(
        "mlkd",
        MultiLevelLogitDistillation,
        "Jin, Wang and Lin, 2023, CVPR",
        "outputs",
        0.9,
        0.1,
        "Strong augmentation on both views of an image.",
    ),
    Method(
        "tf_kd",
        VirtualTeacherDistillation,
        "Yuan et al., 2020, arXiv:1909.11723",
        "nothing",
        0.9,
        0.1,
        "There is no teacher.",
        labels=True,
    ),
    Method(
        "hint",
        FeatureDistillation,
        "Romero et al., 2015, FitNets, arXiv:1412.6550",
        "feature",
        100.0,
        1.0,
        "Layers of one meaning; the first thing to try on features.",
        {"loss": "mse"},
    ),
    Method(
        "at",
        AttentionTransfer,
        "Zagoruyko and Komodakis, 2017, arXiv:1612.03928",
        "feature",
        1000.0,
        1.0,
        "Convnets of very different widths.",
    ),
    Method(
        "sp",
        SimilarityPreserving,
        "Tung and Mori, 2019, arXiv:1907.09682",
        "feature",
        3000.0,
        1.0,
        "Layers of any two shapes, and no projector wanted.",
    ),
    Method(
        "rkd",
        RelationalDistillation,
        "Park et al., 2019, arXiv:1904.05068",
        "feature",
        1.0,
        1.0,
        "Embeddings: metric learning and retrieval.",
    ),
    Method(
        "pkt",
        ProbabilisticKnowledgeTransfer,
        "Passalis and Tefas, 2018, arXiv:1803.10837",
        "feature",
        30000.0,
        1.0,
        "Embeddings whose neighbourhoods matter: retrieval.",
    ),
    Method(
        "cc",
        CorrelationCongruence,
        "Peng et al., 2019, arXiv:1904.01802",
        "feature",
        100.0,
        1.0,
        "Embeddings, as a smoother relative of rkd.",
    ),
    Method(
        "itrd",
        InformationDistillation,
        "Miles et al., 2021, arXiv:2112.00459",
        "feature",
        1.0,
        1.0,
        "Embeddings, with few settings to search.",
    ),
    Method(
        "nst",
        NeuronSelectivityTransfer,
        "Huang and Wang, 2017, arXiv:1707.01219",
        "feature",
        50.0,
        1.0,
        "Convnets of any widths, and no projector wanted.",
    ),
    Method(
        "cwd",
        ChannelWiseDistillation,
        "Shu et al., 2021, arXiv:2011.13256",
        "feature",
        50.0,
        1.0,
        "Dense prediction: segmentation and detection.",
    ),
    Method(
        "pkd",
        PearsonDistillation,
        "Cao et al., 2022, arXiv:2207.02039",
        "feature",
        6.0,
        1.0,
        "Detectors of different kinds, whose features differ in scale.",
    ),
    Method(
        "attention",
        AttentionDistillation,
        "Jiao et al., 2020, TinyBERT, arXiv:1909.10351",
        "attention",
        1.0,
        1.0,
        "Transformers over the same tokens.",
    ),
    Method(
        "minilm",
        AttentionRelationDistillation,
        "Wang et al., 2021, MiniLMv2, arXiv:2012.15828",
        "attention",
        1.0,
        0.0,
        "Transformers of other width and heads, before any task.",
    ),
    Method(
        "margin_mse",
        MarginDistillation,
        "Hofstätter et al., 2020, arXiv:2010.02666",
        "outputs",
        1.0,
        0.0,
        "Rankers: scores of one query's documents.",
    ),
)


def register_all() -> None:
    """Make all of them known to `get`."""
    for method in METHODS:
        register(method)
