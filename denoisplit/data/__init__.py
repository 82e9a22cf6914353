"""From arrays to training pairs: splits, superposition, synthetic noise, statistics, patches."""
