"""Python client of the twotower service.

>>> from twotower_client import Client
>>> with Client("http://127.0.0.1:8000", key="...") as client:
...     answer = client.recommend(user_id="u42", k=5)
...     print([item["item_id"] for item in answer["items"]])
"""

from twotower_client.api import Client
from twotower_client.transport import ServiceError

__all__ = ["Client", "ServiceError"]
