"""The standard training as it suits a network that is trained already."""

from __future__ import annotations

from nnseg_standard.training.trainer import StandardTrainer


def finetune(
    epochs: int = 1000,
    iterations: int = 250,
    validation_iterations: int = 50,
    batch_size: int | None = None,
    learning_rate: float = 0.001,
    warm_up: float = 0.05,
    optimizer: str = "sgd",
    weight_decay: float = 3e-5,
    frozen: tuple[str, ...] = (),
    frozen_until: float = 1.0,
    layer_decay: float = 1.0,
    precision: str = "auto",
    max_minutes: float | None = None,
    checkpoint_every: int = 50,
) -> StandardTrainer:
    """nnU-Net's training with a tenth of its learning rate, which rises first: for fine-tuning.

    Both are nnssl's for fine-tuning convolutional networks: 0.001, and 50 of 1000 epochs.

    Attributes:
        epochs: Length of the training, or the most epochs where ``max_minutes`` is given.
        iterations: Batches to learn from per epoch.
        validation_iterations: Batches to validate on after each epoch; 0 for none.
        batch_size: Patches per batch; by default what the plan says.
        learning_rate: The highest learning rate, from which the schedule falls.
        warm_up: Share of the training, 0 to 1, in which the learning rate rises first.
        optimizer: ``sgd``, ``adamw``, ``adam``, ``radam`` or ``adan``.
        weight_decay: Pull of every parameter towards 0.
        frozen: Modules that keep their weights, by the beginning of their names: ``encoder``.
        frozen_until: Share of the training after which they learn too; 1 for never.
        layer_decay: Learning rate of each layer relative to the one after it; heads have it full.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        max_minutes: Budget of time for all epochs together.
        checkpoint_every: Epochs between two checkpoints to resume from.
    """
    return StandardTrainer(
        epochs=epochs,
        iterations=iterations,
        validation_iterations=validation_iterations,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warm_up=warm_up,
        optimizer=optimizer,
        weight_decay=weight_decay,
        frozen=frozen,
        frozen_until=frozen_until,
        layer_decay=layer_decay,
        precision=precision,
        max_minutes=max_minutes,
        checkpoint_every=checkpoint_every,
    )
