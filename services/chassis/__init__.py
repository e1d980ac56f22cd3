"""What makes a service run: server, errors, deadlines, authentication, channels, settings, telemetry. Knows nothing of RAG."""
