"""A reward server for lamsearch's rewards of the type `http`, to copy into another environment.

    python reward_server.py 8000

It serves two scorers: http://127.0.0.1:8000/brightness and /flaky. Replace their functions.
"""

import base64
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageStat


def brightness(image: Image.Image, prompt: str) -> float:
    return ImageStat.Stat(image.convert("L")).mean[0] / 255


def flaky(image: Image.Image, prompt: str) -> float:
    if "fail" in prompt:
        raise ValueError("this scorer fails for such prompts")
    return brightness(image, prompt) + len(prompt)


SCORERS = {
    "brightness": (brightness, {"name": "brightness", "version": "1", "scale": "0 to 1"}),
    "flaky": (flaky, {"name": "flaky", "version": "2", "scale": "letters"}),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer("info", lambda scorer, info: info)

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pairs = list(zip(given["images"], given["prompts"], strict=True))
        self.answer(
            "score",
            lambda scorer, info: {
                "scores": [score(scorer, *pair) for pair in pairs],
                "version": info["version"],
            },
        )

    def answer(self, action: str, respond) -> None:
        name, _, asked = self.path.strip("/").partition("/")
        known = name in SCORERS and asked == action
        body = json.dumps(respond(*SCORERS[name]) if known else {"error": "not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def score(scorer, png: str, prompt: str) -> float | None:
    try:  # one bad image costs its own score, not the batch's
        return scorer(Image.open(io.BytesIO(base64.b64decode(png))), prompt)
    except Exception as error:
        print(f"no score: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
