"""Attention layers with the structure of KerasHub's, for tests without it."""

import keras
from keras import layers, ops

TOKENS, VOCABULARY = 5, 12


@keras.saving.register_keras_serializable(package="tests_signals")
class OwnCallAttention(layers.MultiHeadAttention):
    """As Whisper's and Moonshine's: a call without `return_attention_scores`."""

    def call(self, query, value, key=None, attention_mask=None, training=None):
        key = value if key is None else key
        output, _ = self._compute_attention(
            query=self._query_dense(query),
            key=self._key_dense(key),
            value=self._value_dense(value),
            attention_mask=attention_mask,
            training=training,
        )
        return self._output_dense(output)


@keras.saving.register_keras_serializable(package="tests_signals")
class FusedAttention(layers.Layer):
    """As Llama's, Qwen's and Gemma's: grouped keys and values, one fused operation."""

    def __init__(self, heads, key_value_heads, size, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.key_value_heads, self.size = heads, key_value_heads, size

    def build(self, shape):
        width = shape[-1]

        def project(name, heads):
            return layers.EinsumDense(
                "bqm,muh->bquh", output_shape=(None, heads, self.size), name=name
            )

        self._query_dense = project("query", self.heads)
        self._key_dense = project("key", self.key_value_heads)
        self._value_dense = project("value", self.key_value_heads)
        self._output_dense = layers.EinsumDense(
            "bquh,uhm->bqm", output_shape=(None, width), name="attention_output"
        )
        for dense in (self._query_dense, self._key_dense, self._value_dense):
            dense.build(shape)
        self._output_dense.build((*shape[:-1], self.heads, self.size))

    def _compute_attention(self, query, key, value, attention_mask=None):
        groups = self.heads // self.key_value_heads
        key, value = ops.repeat(key, groups, axis=2), ops.repeat(value, groups, axis=2)
        return ops.dot_product_attention(query, key, value, mask=attention_mask)

    def call(self, x):
        parts = (self._query_dense(x), self._key_dense(x), self._value_dense(x))
        return self._output_dense(self._compute_attention(*parts))

    def get_config(self):
        names = ("heads", "key_value_heads", "size")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


@keras.saving.register_keras_serializable(package="tests_signals")
class ProjectingAttention(layers.Layer):
    """As T5's: parts of other names, and no method that Keras's layers have."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.query_projector = layers.Dense(width)
        self.key_projector = layers.Dense(width)
        self.value_projector = layers.Dense(width)

    def build(self, shape):
        for dense in (self.query_projector, self.key_projector, self.value_projector):
            dense.build(shape)

    def call(self, x):
        query, key = self.query_projector(x), self.key_projector(x)
        scores = ops.softmax(query @ ops.transpose(key, (0, 2, 1)))
        return scores @ self.value_projector(x)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Block(layers.Layer):
    """A transformer block, which holds its attention as a part."""

    def __init__(self, attention, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        if isinstance(self.attention, layers.MultiHeadAttention):
            self.attention.build(shape, shape)
        else:
            self.attention.build(shape)
        self.norm.build(shape)

    def call(self, x):
        is_plain = isinstance(self.attention, layers.MultiHeadAttention)
        return self.norm(x + (self.attention(x, x) if is_plain else self.attention(x)))


class Task(keras.Model):
    """As KerasHub's tasks: functional, with its backbone behind a property."""

    def __init__(self, backbone, **kwargs):
        inputs = backbone.input
        outputs = layers.Dense(VOCABULARY, name="logits")(backbone(inputs))
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.backbone = backbone

    @property
    def backbone(self):
        return self._backbone

    @backbone.setter
    def backbone(self, value):
        self._backbone = value


class Backbone(keras.Model):
    """As KerasHub's backbones: functional, with its blocks in a list."""

    def __init__(self, attentions, width):
        self.transformer_layers = [Block(attention) for attention in attentions]
        inputs = keras.Input((TOKENS,), dtype="int32")
        x = layers.Embedding(VOCABULARY, width, name="token_embedding")(inputs)
        for block in self.transformer_layers:
            x = block(x)
        super().__init__(inputs=inputs, outputs=x)


def task(*attentions, width=8):
    """Return a small language model with these attention layers."""
    return Task(Backbone(attentions, width))
