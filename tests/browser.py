"""Pages laid out by Chromium, without a window: what a script finds in them at a width."""

import html
import json
import re
import subprocess
from pathlib import Path

from chromium import PATH

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def laid_out(
    folder: Path, pages: dict[str, str], widths: tuple[int, ...], script: str
) -> dict[tuple[str, int], object]:
    """Returns (name, width) → what a function of a document gives, as JSON has it, all of one start of Chromium.

    Args:
      folder: An empty folder.
      pages: Name → HTML. Its policy, which lets no script run, is left out.
      widths: In pixels.
      script: The function's body, of `document` and `window`.
    """
    frames = "".join(
        f'<iframe data-name="{name}" data-width="{width}" width="{width}" height="900" frameborder="0" '
        f'srcdoc="{html.escape(_POLICY.sub("", text))}"></iframe>'
        for name, text in pages.items()
        for width in widths
    )
    run = f"""<pre id="found"></pre>{frames}<script>
    const of = (document, window) => {{ {script} }};
    window.onload = () => {{
      const found = [...document.querySelectorAll("iframe")].map(frame =>
        [frame.dataset.name, +frame.dataset.width, of(frame.contentDocument, frame.contentWindow)]);
      document.getElementById("found").textContent = JSON.stringify(found);
    }};
    </script>"""
    (folder / "frames.html").write_text(f"<!doctype html><meta charset=utf-8>{run}")
    command = [PATH, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900", "--dump-dom"]
    folder_of_its_own = f"--user-data-dir={folder / 'chromium'}"
    told = subprocess.run(
        [*command, folder_of_its_own, (folder / "frames.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    text = re.search(r'<pre id="found">(.*?)</pre>', told, re.DOTALL)[1]
    return {(name, width): value for name, width, value in json.loads(html.unescape(text))}
