"""Training: the task, the objective, one network, the chain, and how a training resumes."""
