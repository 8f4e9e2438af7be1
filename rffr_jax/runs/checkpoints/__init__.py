"""What is kept on disk of models and runs."""
