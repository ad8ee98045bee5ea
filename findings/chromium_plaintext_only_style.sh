#!/bin/sh
# Chromium 156.0.8078.108 (Debian; driven by playwright 1.65.2): its own editing breaks a page's Content-Security-Policy.
#
# Typing over a selection that spans several elements keeps the look of the first: in `contenteditable` by <font> and <b>,
# in `contenteditable="plaintext-only"` by a style attribute on the paragraph. Under `style-src 'self'` that attribute counts as the
# page's: a violation is reported for a style that no script of the page has set, the style isn't applied, and the attribute
# stays in the document. An editor that paints what is typed (CodeMirror 6 asks for the same by `-webkit-user-modify`)
# has to take `beforeinput` and insert the text itself. Seen:
#
#   contenteditable: violations [], <p><font color="#0000ff"><b>x</b></font></p>
#   contenteditable=plaintext-only: violations ['style-src-attr'], <p style="color: rgb(0, 0, 255); font-weight: 700;">x</p>
#
# Needs `chromium` on PATH. Exits 0 while that is so, 1 if the second reports no violation any more, 2 if something else came out.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check playwright==1.65.2

"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import shutil
import sys
import threading

from playwright.sync_api import sync_playwright

TEXT = "<p><span class=key>key</span>: value</p>"
FILES = {
    "/": ("text/html", f"<!doctype html><link rel=stylesheet href=/look.css>"
                       f"<div id=rich contenteditable>{TEXT}</div>"
                       f"<div id=plain contenteditable=plaintext-only>{TEXT}</div>"),
    "/look.css": ("text/css", ".key { color: blue; font-weight: bold }"),
}


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, text = FILES.get(self.path, ("text/plain", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'self'")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    print("Chromium", browser.version)
    for element in ("rich", "plain"):
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.evaluate("window.violations = [];"
                      "document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))")
        page.locator(f"#{element} .key").click()
        for key in ("End", "Shift+Home", "x"):
            page.keyboard.press(key)
        page.wait_for_timeout(300)
        seen[element] = page.evaluate("violations"), page.locator(f"#{element}").inner_html()
    browser.close()

names = {"rich": "contenteditable", "plain": "contenteditable=plaintext-only"}
for element, (violations, html) in seen.items():
    print(f"{names[element]}: violations {violations}, {html}")
if seen["rich"][0] or "x" not in seen["plain"][1]:
    sys.exit(2)
sys.exit(0 if seen["plain"][0] == ["style-src-attr"] and "style=" in seen["plain"][1] else 1)
PYTHON
