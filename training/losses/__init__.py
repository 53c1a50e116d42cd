"""Training losses: pure functions of logits and masks, computed in float32."""
