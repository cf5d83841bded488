"""Keras models in (``.h5``, ``.keras``, checked before anything is built) and out (through Keras itself)."""
