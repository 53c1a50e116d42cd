"""How a run is, for people, load balancers and monitors."""
