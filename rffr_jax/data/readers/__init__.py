"""One reader for each kind of dataset: folder, table, DeepfakeBench, prepared records."""
