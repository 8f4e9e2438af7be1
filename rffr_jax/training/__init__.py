"""One loop, two objectives: pretrain the MAE, train the detector."""
