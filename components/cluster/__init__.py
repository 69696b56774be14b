"""All that talks to the Kubernetes API: client, watch, launching, Indexed Jobs, chunk Jobs."""
