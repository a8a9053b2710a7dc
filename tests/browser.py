"""Opening a page of results in headless Chromium, and asking it what it shows."""

import html
import json
import re
import shutil
import subprocess

import pytest

# Drawing a picture decodes all of it at once; what cannot be decoded stays transparent.
PROBE = """<script>
const refused = [];
document.addEventListener("securitypolicyviolation", (event) => refused.push(event.blockedURI));
function whole(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  if (!picture.complete || canvas.width * canvas.height === 0) return false;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const values = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return values.every((value, position) => position % 4 < 3 || value === 255);
}
addEventListener("load", () => {
  const pictures = [...document.images].map((picture) => ({
    whole: whole(picture), width: picture.naturalWidth, shown: picture.getBoundingClientRect().width,
  }));
  const report = document.createElement("pre");
  report.id = "probe";
  report.textContent = JSON.stringify({
    pictures, refused, pageWidth: document.documentElement.scrollWidth, windowWidth: innerWidth,
  });
  document.body.append(report);
});
</script>
</head>"""


@pytest.fixture
def open_in_browser(tmp_path):
    """Open a copy of a page in Chromium; return what its pictures are like and which requests its policy refused."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser to open the page in (looked for {', '.join(names)})")

    def look(page: str) -> dict:
        # The page itself forbids scripts; the copy allows this one.
        assert "default-src 'none';" in page
        page = page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
        copy = tmp_path / "copy.html"
        copy.write_text(page.replace("</head>", PROBE), encoding="utf-8")
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={tmp_path / 'browser'}",
                "--virtual-time-budget=5000",
                "--dump-dom",
                copy.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        probe = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
        assert probe, done.stderr[-2000:]
        return json.loads(html.unescape(probe[1]))

    return look
