"""The paper: blocks, residuals, and the one forward path from pixels to logits."""
