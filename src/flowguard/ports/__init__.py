"""What the application needs of the world: one Protocol a file. Adapters subclass these by name."""
