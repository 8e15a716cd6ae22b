"""Signals of queues and of encoders that follow another, for the tables of methods."""

from trainer.schema.signals import Signal

QUEUE_SIGNALS = {
    "negatives_fill_ratio": Signal(
        "ratio", "share of real keys in the queue", "queue_filled_ratio", fills="queue"
    ),
    "oldest_key_age_steps": Signal(
        "steps", "age of the oldest negative, in steps", "queue_oldest_key_age_steps"
    ),
    "queue_dataset_ratio": Signal(
        "ratio", "K / N; above 1, images meet their own old keys", "queue_dataset_ratio"
    ),
}
KEY_ENCODER_SIGNALS = {
    "key_encoder_distance_ratio": Signal(
        "ratio",
        "lag of the key encoder, |theta_q - theta_k| / |theta_q|",
        "key_encoder_distance_ratio",
    ),
}
