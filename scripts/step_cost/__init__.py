"""What a step of a training costs: by hand, and in its compiled program."""
