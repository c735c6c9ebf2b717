"""Writes tests/corpus/keras.* with Keras 3 (KERAS_BACKEND=jax): a dense layer, batch norm, a dense layer."""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

CORPUS = Path(__file__).parent / "corpus"


def main():
    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.layers.Input((4,)), *layers])
    model.compile("sgd", "mse")
    model.save_weights(CORPUS / "keras.weights.h5")
    for number, weight in enumerate(model.weights):
        weight.assign(np.arange(number, number + weight.value.size, dtype=np.float32).reshape(weight.shape))
    model.save_weights(CORPUS / "keras.weights.h5")
    model.save(CORPUS / "keras.keras")
    model.save(CORPUS / "keras_whole.h5")


if __name__ == "__main__":
    main()
