"""The trainer that ``nnseg finetune`` takes."""

from nnseg_standard.training.finetune import finetune
from nnseg_standard.training.trainer import StandardTrainer


def test_it_is_the_standard_training_with_a_lower_rate_that_rises_first():
    chosen = finetune()

    assert chosen == StandardTrainer(learning_rate=0.001, warm_up=0.05)
    assert chosen.learning_rate_at(0.0) == 0.0001
    assert chosen.learning_rate_at(0.05) == 0.001
