"""Health status of a run, for people, load balancers and monitoring systems."""
