"""What all endpoints share: who asks, bodies, errors, idempotency, OpenAPI."""

from api.http import drawings, error_responses, openapi
from api.http.body import Document, read_body, read_mapping
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
    authenticate,
    ensure_own,
    get_current_user,
    lock_asking_token,
    may_change,
)
from api.http.disconnects import GoneClients
from api.http.drawings import (
    HARMLESS,
    pending_headers,
    pending_response,
    render_response,
    request_render,
)
from api.http.error_responses import MEDIA_TYPE, as_api_error, find_places, is_known
from api.http.errors import (
    ApiError,
    BadParameter,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    parse,
)
from api.http.field_errors import FieldError
from api.http.headers import SafeHeaders
from api.http.idempotency import Once
from api.http.openapi import describe_body
from api.http.overrides import Overridden
from api.http.query_parameters import (
    Columns,
    Jobs,
    ResultPage,
    Sorting,
    StudiesWith,
    StudyIds,
    read_parameter,
    read_query,
)
from api.http.sessions import (
    clear_session,
    cookie_name,
    csrf_token,
    ensure_same_site,
    read_session,
    set_session,
)
from api.http.spool import TYPES, ExportFormat, spool_jobs, spool_rows

__all__ = [
    "HARMLESS",
    "MEDIA_TYPE",
    "TABLES",
    "TYPES",
    "Administrator",
    "ApiError",
    "Archived",
    "BadParameter",
    "Columns",
    "Conflict",
    "Document",
    "ExportFormat",
    "FieldError",
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
    "StudiesWith",
    "StudyIds",
    "TableFormat",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Writer",
    "as_api_error",
    "authenticate",
    "clear_session",
    "cookie_name",
    "csrf_token",
    "describe_body",
    "drawings",
    "ensure_own",
    "ensure_same_site",
    "error_responses",
    "find_places",
    "get_current_user",
    "is_known",
    "lock_asking_token",
    "may_change",
    "openapi",
    "parse",
    "pending_headers",
    "pending_response",
    "read_body",
    "read_mapping",
    "read_parameter",
    "read_query",
    "read_session",
    "render_response",
    "request_render",
    "respond_with_table",
    "set_session",
    "spool_jobs",
    "spool_rows",
]
