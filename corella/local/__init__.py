"""Corella on one machine: prepares the models and runs the services as processes. Never imports `services`; it starts them."""
