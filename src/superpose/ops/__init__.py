"""Functions on tensors. One folder per operation; its `reference` is the definition."""
