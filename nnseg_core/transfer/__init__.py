"""What a new training can take over from a trained model: its plan, its weights, part by part."""
