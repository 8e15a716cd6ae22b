"""Names of files that one part of the program writes and another looks for. Loads nothing."""

WEIGHTS, CONFIG, PREPROCESS = "encoder.safetensors", "config.json", "preprocess.json"
MODEL, PROCESSOR = "model.safetensors", "preprocessor_config.json"
"""What timm and Hugging Face look for, where timm has the network."""
TABLE = "embeddings.parquet"
PROFILE = "profile.json"
ANSWER, TILES, SHEET = "neighbours.json", "tiles.png", "sheet.png"
"""What a probe leaves."""
