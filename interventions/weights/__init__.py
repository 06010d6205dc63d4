"""An edit in the weights of a copy, as an ordinary model folder or as an adapter."""
