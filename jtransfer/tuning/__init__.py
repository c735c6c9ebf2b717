"""Many short runs that choose one config: a strategy of transfer, a learning rate, or any fields."""
