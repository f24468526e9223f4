"""What is known of each provider of machines."""
