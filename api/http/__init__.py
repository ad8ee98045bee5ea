"""What all endpoints share: who asks, bodies, errors, idempotency, OpenAPI."""

from api.http import docs, drawings, error_responses, openapi
from api.http.body import Document
from api.http.comparison_table import TABLES, TableFormat, respond_with_table
from api.http.dependencies import (
    Administrator,
    Archived,
    Filter,
    Id,
    Page,
    Reader,
    Secret,
    Writer,
    ensure_own,
    get_current_user,
    lock_asking_token,
)
from api.http.disconnects import GoneClients
from api.http.drawings import (
    HARMLESS,
    pending_headers,
    pending_response,
    render_response,
    request_render,
)
from api.http.error_responses import MEDIA_TYPE
from api.http.errors import (
    BadParameter,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
    parse,
)
from api.http.headers import SafeHeaders
from api.http.idempotency import Once
from api.http.openapi import describe_body
from api.http.overrides import Overridden
from api.http.query_parameters import Columns, Jobs, ResultPage, Sorting, read_parameter
from api.http.spool import TYPES, ExportFormat, spool_rows

__all__ = [
    "HARMLESS",
    "MEDIA_TYPE",
    "TABLES",
    "TYPES",
    "Administrator",
    "Archived",
    "BadParameter",
    "Columns",
    "Conflict",
    "Document",
    "ExportFormat",
    "Filter",
    "Forbidden",
    "GoneClients",
    "Id",
    "Invalid",
    "Jobs",
    "NotFound",
    "Once",
    "Overridden",
    "Page",
    "Reader",
    "ResultPage",
    "SafeHeaders",
    "Secret",
    "Sorting",
    "TableFormat",
    "Unavailable",
    "Writer",
    "describe_body",
    "docs",
    "drawings",
    "ensure_own",
    "error_responses",
    "get_current_user",
    "lock_asking_token",
    "openapi",
    "parse",
    "pending_headers",
    "pending_response",
    "read_parameter",
    "render_response",
    "request_render",
    "respond_with_table",
    "spool_rows",
]
