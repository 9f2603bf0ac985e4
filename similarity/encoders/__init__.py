"""Text encoders: MiniLM in OpenVINO and sentence-transformers models."""
