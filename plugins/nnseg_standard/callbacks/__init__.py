"""Watch a training: a line per epoch, a log, a picture, warnings."""
