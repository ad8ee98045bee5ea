"""The API explorer at `/docs`, served with its own assets so that it works offline."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

STATIC = Path(__file__).parent / "static"

#: Nothing from elsewhere and no script in the page itself. The pictures inside the style sheet are `data:`;
#: Swagger UI writes `style` attributes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=["GET", "HEAD"])
def read_docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", media_type="text/html", headers=_HEADERS)
