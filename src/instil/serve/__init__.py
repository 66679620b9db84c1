"""Trained models behind an HTTP API: requests join and leave a running batch, under the chat contract that the model was trained with."""
