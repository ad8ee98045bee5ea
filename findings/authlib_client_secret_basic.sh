#!/bin/sh
# authlib 1.9.10, CPython 3.11.7: its OAuth 2 clients send name and secret of a Basic login (client_secret_basic) as they
# are. RFC 6749, 2.3.1, has both encoded like a form's values first, and servers decode them: a secret with + or % is
# another one for them, and the answer is invalid_client (seen with npm's oidc-provider 9.13.3). A function in place of
# the method's name (token_endpoint_auth_method) can encode them.
# Output seen: "sent: normlab:a+secret%2Fwith, meant: normlab:a%2Bsecret%252Fwith, read by a server: 'a secret/with'"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "authlib==1.9.10" requests
"$folder/venv/bin/python" - <<'EOF'
import base64
import sys
from urllib.parse import quote_plus, unquote_plus

from authlib.oauth2.auth import ClientAuth

NAME, SECRET = "normlab", "a+secret%2Fwith"
_, headers, _ = ClientAuth(NAME, SECRET, "client_secret_basic").prepare("POST", "https://as.example", {}, "")
sent = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
meant = f"{quote_plus(NAME)}:{quote_plus(SECRET)}"
read = unquote_plus(sent.partition(":")[2])
print(f"sent: {sent}, meant: {meant}, read by a server: {read!r}")
sys.exit(not (sent != meant and read != SECRET))
EOF
