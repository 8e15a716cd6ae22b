from service.client.client import Client

__all__ = ["Client"]
