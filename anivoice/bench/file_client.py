"""`python -m anivoice.bench.file_client`: has a file converted by a server, again and again until it is ended.

Takes `base_url`, `path` and the `parameters` as JSON on standard input.
"""

import json
import sys
from pathlib import Path

import httpx2


def main() -> None:
    """Says when the first upload begins. Ends with a message where one is refused."""
    plan = json.load(sys.stdin)
    with httpx2.Client(base_url=plan["base_url"], timeout=None) as client:
        print("uploading", flush=True)
        while True:
            with Path(plan["path"]).open("rb") as audio:
                answer = client.post("/convert", files={"audio_file": audio}, data=plan["parameters"])
            if answer.status_code != httpx2.codes.OK:
                sys.exit(f"POST /convert: {answer.status_code} {answer.text}")


if __name__ == "__main__":
    main()
