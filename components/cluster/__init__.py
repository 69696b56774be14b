"""All that is said to the Kubernetes API; steps are handed what they need by their caller."""
