"""Fernet tokens by Python's cryptography, by the second key of the ring too."""
import json
import pathlib

import cryptography
from cryptography.fernet import Fernet

here = pathlib.Path(__file__).parent
plaintexts = json.loads((here / "plaintexts.json").read_text(encoding="utf-8"))
plaintexts = ["ñ0:" * 333 + "." if text == "1000" else text for text in plaintexts]
newer, older = Fernet.generate_key(), Fernet.generate_key()


def texts(key):
    return [{"plain": plain, "text": Fernet(key).encrypt(plain.encode()).decode()} for plain in plaintexts]


section = {"format": "fernet"}
sets = [
    {"section": section, "keys": newer.decode(), "texts": texts(newer)},
    {"section": section, "keys": f"{newer.decode()},{older.decode()}", "texts": texts(older)},
]
print(json.dumps({"made_with": f"cryptography {cryptography.__version__}", "sets": sets}, indent=1))
