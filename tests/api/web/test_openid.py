"""Log in at an identity provider: whose account it opens, and what is refused."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.serving import make_server

from api.openid.provider import Provider
from api.settings import Settings
from store.accounts import users
from store.db import BrowserSession, Token, database_now
from tests.support.cli import run_here
from tests.support.identity_provider import CLIENT, KEY, SECRET, IdentityProvider, providing

Sessions = sessionmaker[Session]
Configure = Callable[..., None]
HOST = "http://testserver"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with providing() as provider:
        provider.person = {"sub": "6f1c", "preferred_username": "ada"}
        yield provider


@pytest.fixture
def configure(
    settings: Settings, provider: IdentityProvider, replace: Callable[..., None]
) -> Configure:
    """The API with this provider, and these settings besides: `configure(oidc_group="lab")`."""

    def configure(**changes: Any) -> None:
        given = {
            "public_url": HOST,
            "oidc_issuer": provider.url,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SecretStr(SECRET),
            "oidc_name": "Keycloak",
            "oidc_newcomers": "viewer",
        }
        changed = Settings.model_validate({**dict(settings), **given, **changes})
        replace(settings=changed, provider=Provider(changed))

    configure()
    return configure


@pytest.fixture
def browser(app: FastAPI, sessions: Sessions, configure: Configure) -> TestClient:
    return TestClient(app, follow_redirects=False)


def begin(browser: TestClient, target: str = "/studies") -> str:
    """Where the browser is sent to."""
    answer = browser.get("/login/openid", params={"next": target})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def log_in(browser: TestClient, provider: IdentityProvider, target: str = "/studies") -> Response:
    """The page that the browser is on after its way to the provider and back."""
    return browser.get(provider.log_in(begin(browser, target)))


def name_of(browser: TestClient) -> str:
    name: str = browser.get("/api/v1/users/me").json()["name"]
    return name


def test_the_page_to_log_in_leads_to_the_provider_and_back_to_where_one_was(
    browser: TestClient, provider: IdentityProvider
) -> None:
    page = browser.get("/login?next=%2Fstudies%3Ftag%3Da").text
    assert f'href="{HOST}/login/openid?next=%2Fstudies%3Ftag%3Da">Log in with Keycloak</a>' in page
    answer = log_in(browser, provider, "/studies?tag=a")
    assert answer.status_code == 200
    # A redirect would come from the provider's page, and so without the cookie.
    assert 'content="0; url=/studies?tag=a"' in answer.text
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert browser.get("/studies?tag=a").status_code == 200
    me = browser.get("/api/v1/users/me").json()
    assert (me["name"], me["role"]) == ("ada", "viewer")


# The provider is written for an authlib of before.
@pytest.mark.filterwarnings("ignore:(authlib.jose module|get_jwt_config)")
def test_people_log_in_at_a_provider_that_others_have_written(
    browser: TestClient, configure: Configure, admin: TestClient, vision: TestClient
) -> None:
    import oidc_provider_mock
    from oidc_provider_mock import User

    claims = {"preferred_username": "grace", "groups": ["vision-team"]}
    grace = User(sub="1906", claims=claims)
    server = make_server("127.0.0.1", 0, oidc_provider_mock.app(user_claims=[grace]), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        issuer = f"http://127.0.0.1:{server.server_port}"
        configure(oidc_issuer=issuer, oidc_project_roles="vision-team=vision:member")
        back = httpx2.post(begin(browser), data={"sub": "1906"}).headers["location"]
        assert browser.get(back).status_code == 200
        assert name_of(browser) == "grace"
        assert roles_in(admin, "vision")["grace"] == ("member", True)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def roles_in(admin: TestClient, project: str) -> dict[str, tuple[str, bool]]:
    members = admin.get(f"/api/v1/projects/{project}").json()["members"]
    return {one["user"]: (one["role"], one["follows_groups"]) for one in members}


@pytest.fixture
def vision(admin: TestClient, sign_in: Callable[[str], TestClient]) -> TestClient:
    """Its only admin, of a private project that groups give roles in."""
    max_ = sign_in("max:member")
    made = max_.post("/api/v1/projects", json={"name": "vision", "visibility": "private"})
    assert made.status_code == 201
    return max_


GRANTS = "vision-team=vision:viewer, pis=vision:admin,team=x=vision:member,vision-team=later:admin"


def test_roles_in_projects_follow_the_groups_that_each_login_says(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    admin: TestClient,
    vision: TestClient,
) -> None:
    configure(oidc_project_roles=GRANTS)
    for groups, role in (
        (["else"], None),
        (["vision-team"], "viewer"),
        (["vision-team", "pis", "team=x"], "admin"),
        (["team=x"], "member"),
        # Of a single group some providers send no list; others send no claim, which says nothing.
        ("vision-team", "viewer"),
        (None, "viewer"),
        ([], None),
    ):
        provider.person = {"sub": "6f1c", "preferred_username": "ada-k"}
        if groups is not None:
            provider.person["groups"] = groups
        assert log_in(browser, provider).status_code == 200
        given = roles_in(admin, "vision").get("ada-k")
        assert given == (None if role is None else (role, True)), groups
        assert browser.get("/api/v1/projects/vision").is_success is (role is not None)
    records = admin.get("/api/v1/audit").json()["items"]
    changes = [one for one in records if one["detail"].get("by") == "groups at Keycloak"]
    assert [one["detail"]["role"] for one in changes] == [
        None,
        "viewer",
        "member",
        "admin",
        "viewer",
    ]
    # A project of the settings that isn't there is made by nobody.
    assert admin.get("/api/v1/projects/later").status_code == 404


@pytest.mark.parametrize("changed", ["pis=vision:admin", "vision-team=else:viewer", ""])
def test_a_role_that_the_settings_give_no_more_is_taken_away_at_the_next_login(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    admin: TestClient,
    vision: TestClient,
    changed: str,
) -> None:
    configure(oidc_project_roles=GRANTS)
    provider.person = {"sub": "6f1c", "preferred_username": "ada-k", "groups": ["vision-team"]}
    log_in(browser, provider)
    assert roles_in(admin, "vision")["ada-k"] == ("viewer", True)
    configure(oidc_project_roles=changed)
    assert log_in(browser, provider).status_code == 200
    assert roles_in(admin, "vision") == {"max": ("admin", False)}
    assert browser.get("/api/v1/projects/vision").status_code == 404


def test_a_role_that_somebody_has_given_is_left_alone_and_so_is_the_last_admin(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    admin: TestClient,
    vision: TestClient,
) -> None:
    configure(oidc_project_roles=GRANTS, oidc_newcomers="member")
    people = "/api/v1/projects/vision/members"
    provider.person = {"sub": "6f1c", "preferred_username": "ada-k", "groups": ["pis"]}
    log_in(browser, provider)
    assert vision.delete(f"{people}/max").status_code == 204
    provider.person["groups"] = []
    assert log_in(browser, provider).status_code == 200
    assert roles_in(admin, "vision") == {"ada-k": ("admin", True)}
    assert admin.put(f"{people}/ada-k", json={"role": "admin"}).status_code == 200
    admin.put(f"{people}/max", json={"role": "admin"})
    provider.person["groups"] = ["vision-team"]
    log_in(browser, provider)
    assert roles_in(admin, "vision")["ada-k"] == ("admin", False)
    assert "by groups" not in admin.get("/projects/vision").text


@pytest.mark.parametrize(
    "text", ["vision:member", "a=vision", "a=vision:owner", "=vision:admin", "a=:admin"]
)
def test_a_role_of_a_group_that_cannot_be_read_is_refused(settings: Settings, text: str) -> None:
    with pytest.raises(ValueError, match="must be like group=project:role"):
        Settings.model_validate({**dict(settings), "oidc_project_roles": text})


def test_a_login_asks_with_state_nonce_and_challenge_of_its_own(browser: TestClient) -> None:
    answer = browser.get("/login/openid")
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/login/openid"))
    queries = [parse_qs(urlsplit(begin(browser)).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        first, second = (query[name][0] for query in queries)
        assert first != second
        assert len(first) >= 43
    assert queries[0]["redirect_uri"] == [f"{HOST}/login/openid/callback"]
    assert queries[0]["scope"] == ["openid profile email"]


@pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test", "/\\evil.test", ""])
def test_a_login_leads_to_no_other_site(
    browser: TestClient, provider: IdentityProvider, target: str
) -> None:
    assert 'content="0; url=/"' in log_in(browser, provider, target).text


def test_a_login_ends_in_the_browser_that_began_it_and_once(
    app: FastAPI, browser: TestClient, provider: IdentityProvider
) -> None:
    other = TestClient(app, follow_redirects=False)
    back = provider.log_in(begin(browser))
    begin(other)
    for client, address in (
        (other, back),
        (TestClient(app), back),
        (browser, back.replace("state=", "state=x")),
    ):
        answer = client.get(address)
        assert answer.status_code == 403
        assert "in another browser or tab" in answer.text
        assert "normlab_session" not in answer.headers.get("set-cookie", "")
    # The cookie is gone, too.
    assert browser.get(back).status_code == 403


def test_a_code_is_good_for_one_login(browser: TestClient, provider: IdentityProvider) -> None:
    address = begin(browser)
    [cookie] = browser.cookies.jar
    back = provider.log_in(address)
    assert browser.get(back).status_code == 200
    browser.cookies.set(cookie.name, cookie.value or "", path=cookie.path)
    answer = browser.get(back)
    assert answer.status_code == 403
    assert "Keycloak does not accept this login" in answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": [CLIENT, "another client"]},
        {"azp": "another client"},
        {"iss": "https://evil.test"},
        {"exp": 1},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": None},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_login_opens_nothing(
    browser: TestClient, provider: IdentityProvider, sessions: Sessions, wrong: dict[str, Any]
) -> None:
    provider.wrong = wrong
    answer = log_in(browser, provider)
    assert answer.status_code == 403
    assert "Keycloak sent an ID token that is not valid" in answer.text
    assert browser.get("/").status_code == 303
    with sessions.begin() as session:
        assert session.scalars(select(BrowserSession.id)).all() == []
        assert users.list_users(session) == []


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSAKey.generate_key(2048, {"kid": "first"})),
        ("HS256", OctKey.import_key(SECRET)),
        ("none", KEY),
    ],
    ids=["another key", "a shared secret", "none"],
)
def test_an_id_token_that_the_provider_has_not_signed_opens_nothing(
    browser: TestClient, provider: IdentityProvider, algorithm: str, key: Any
) -> None:
    provider.algorithm, provider.key = algorithm, key
    answer = log_in(browser, provider)
    assert (answer.status_code, browser.get("/").status_code) == (403, 303)


def test_who_is_refused_by_the_provider_reads_why(
    browser: TestClient, provider: IdentityProvider
) -> None:
    state = parse_qs(urlsplit(begin(browser)).query)["state"][0]
    refused = {"state": state, "error": "access_denied", "error_description": "<b>not today</b>"}
    answer = browser.get("/login/openid/callback", params=refused)
    assert answer.status_code == 403
    assert "Keycloak refused the login: &lt;b&gt;not today&lt;/b&gt;" in answer.text


def test_a_provider_that_is_away_is_said_and_asked_again_later(
    browser: TestClient, provider: IdentityProvider, sessions: Sessions
) -> None:
    provider.is_away = True
    for _ in range(3):
        answer = browser.get("/login/openid")
        assert answer.status_code == 503
        assert "Keycloak does not answer as it should" in answer.text
    assert len(provider.asked) == 1
    with sessions.begin() as session:
        secret = users.create_token(session, users.create_user(session, "max", "member"), "x")[1]
    assert browser.post("/login", data={"token": secret}).status_code == 303


def test_a_provider_that_goes_away_in_the_middle_is_said(
    browser: TestClient, provider: IdentityProvider
) -> None:
    back = provider.log_in(begin(browser))
    provider.is_away = True
    answer = browser.get(back)
    assert answer.status_code == 503
    assert "Keycloak does not answer as it should" in answer.text


def test_a_provider_of_another_name_is_not_believed(
    browser: TestClient, provider: IdentityProvider, configure: Configure
) -> None:
    configure(oidc_issuer=f"{provider.url}/")
    assert browser.get("/login/openid").status_code == 503


def test_without_a_provider_there_is_no_login_at_one(
    browser: TestClient, replace: Callable[..., None]
) -> None:
    replace(provider=None)
    assert "Log in with" not in browser.get("/login").text
    for path in ("/login/openid", "/login/openid/callback"):
        assert browser.get(path).status_code == 404


def test_an_account_is_its_subject_s_whatever_the_name(
    app: FastAPI, browser: TestClient, provider: IdentityProvider
) -> None:
    log_in(browser, provider)
    provider.person = {"sub": "6f1c", "preferred_username": "countess"}
    log_in(browser, provider)
    assert name_of(browser) == "ada"
    # The provider has given her name to somebody else.
    provider.person = {"sub": "other", "preferred_username": "ada"}
    other = TestClient(app, follow_redirects=False)
    answer = log_in(other, provider)
    assert answer.status_code == 403
    assert "normlab users link ada --subject other" in answer.text
    assert other.get("/").status_code == 303


def test_an_admin_links_an_account_and_undoes_it(
    browser: TestClient, provider: IdentityProvider, admin: TestClient, address: str
) -> None:
    assert log_in(browser, provider).status_code == 403
    token = admin.headers["Authorization"].removeprefix("Bearer ")
    environment = {"NORMLAB_URL": address, "NORMLAB_TOKEN": token}
    done = run_here("users", "link", "ada", "--subject", "6f1c", **environment)
    assert done.returncode == 0
    assert done.stdout.endswith(b"A login as 6f1c opens the account ada\n")
    assert log_in(browser, provider).status_code == 200
    assert (name_of(browser), browser.get("/admin").status_code) == ("ada", 200)
    done = run_here("users", "unlink", "ada", **environment)
    assert done.returncode == 0
    assert browser.get("/").status_code == 303
    assert admin.get("/api/v1/users/me").status_code == 200
    actions = [one["action"] for one in admin.get("/api/v1/audit").json()["items"]]
    assert actions == ["identity.unlinked", "session.opened", "identity.linked"]


def test_a_subject_opens_one_account(
    browser: TestClient, provider: IdentityProvider, admin: TestClient, member: TestClient
) -> None:
    assert admin.patch("/api/v1/users/max", json={"login": "6f1c"}).status_code == 200
    answer = admin.patch("/api/v1/users/ada", json={"login": "6f1c"})
    assert answer.status_code == 409
    assert "is max's already" in answer.json()["detail"]


def test_a_login_cannot_be_linked_where_there_is_no_provider(
    admin: TestClient, member: TestClient
) -> None:
    answer = admin.patch("/api/v1/users/max", json={"login": "6f1c"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/login"


def test_an_account_that_was_made_here_becomes_theirs_only_where_a_setting_says_so(
    app: FastAPI,
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    admin: TestClient,
    member: TestClient,
) -> None:
    provider.person = {"sub": "1815", "preferred_username": "max"}
    assert log_in(browser, provider).status_code == 403
    configure(oidc_link_existing=True)
    assert log_in(browser, provider).status_code == 200
    assert name_of(browser) == "max"
    # Neither an admin's, nor one that is linked.
    for person in ("ada", "max"):
        provider.person = {"sub": "another", "preferred_username": person}
        assert log_in(TestClient(app, follow_redirects=False), provider).status_code == 403


def test_a_newcomer_has_the_role_of_the_settings_or_no_account(
    browser: TestClient, provider: IdentityProvider, configure: Configure
) -> None:
    configure(oidc_newcomers="none")
    answer = log_in(browser, provider)
    assert answer.status_code == 403
    assert "normlab users add ada, then normlab users link ada --subject 6f1c" in answer.text
    configure(oidc_newcomers="member")
    assert log_in(browser, provider).status_code == 200
    assert browser.get("/api/v1/users/me").json()["role"] == "member"


def test_where_no_setting_says_who_may_log_in_a_newcomer_gets_no_account(
    browser: TestClient, provider: IdentityProvider, configure: Configure
) -> None:
    configure(oidc_newcomers="")
    assert log_in(browser, provider).status_code == 403
    configure(oidc_newcomers="", oidc_group="lab")
    provider.person["groups"] = ["lab"]
    assert log_in(browser, provider).status_code == 200


@pytest.mark.parametrize(
    ("told", "domains", "is_linked"),
    [
        ("max@other.example", "", False),
        ("max@other.example", "lab.example", False),
        ("max@lab.example", "lab.example, uni.example", False),
        ("max@LAB.example", "lab.example", True),
    ],
)
def test_an_address_opens_an_existing_account_only_where_all_are_of_its_domain(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    member: TestClient,
    told: str,
    domains: str,
    is_linked: bool,
) -> None:
    configure(oidc_link_existing=True, oidc_email_domains=domains)
    provider.person = {"sub": "1815", "preferred_username": told}
    provider.beside = {"email": "max@lab.example", "email_verified": True}
    assert log_in(browser, provider).status_code == (200 if is_linked else 403)


def test_an_account_that_was_unlinked_is_not_linked_again_and_tokens_made_meanwhile_end(
    app: FastAPI,
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    admin: TestClient,
    member: TestClient,
) -> None:
    configure(oidc_link_existing=True)
    provider.person = {"sub": "wrong", "preferred_username": "max"}
    log_in(browser, provider)
    csrf = browser.get("/").text.partition('data-csrf="')[2][:64]
    made = browser.post("/api/v1/tokens", json={"name": "cli"}, headers={"X-CSRF-Token": csrf})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    other = TestClient(app)
    assert other.get("/api/v1/users/me", headers=headers).json()["name"] == "max"
    assert admin.patch("/api/v1/users/max", json={"login": None}).status_code == 200
    assert other.get("/api/v1/users/me", headers=headers).status_code == 401
    assert log_in(browser, provider).status_code == 403
    assert member.get("/api/v1/users/me").status_code == 200
    admin.patch("/api/v1/users/max", json={"login": "right"})
    provider.person = {"sub": "right", "preferred_username": "max"}
    assert log_in(browser, provider).status_code == 200


def test_a_login_takes_the_place_of_the_browser_s_session(
    browser: TestClient, provider: IdentityProvider, sessions: Sessions
) -> None:
    for _ in range(2):
        assert log_in(browser, provider).status_code == 200
    with sessions.begin() as session:
        assert len(session.scalars(select(BrowserSession.id)).all()) == 1


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"preferred_username": "ada@lab.example"}, "ada"),
        ({"email": "lovelace@lab.example", "email_verified": True}, "lovelace"),
        # Anybody's, as far as the provider knows.
        ({"email": "lovelace@lab.example", "email_verified": False}, None),
        ({"preferred_username": "../ada"}, None),
        # `reset-admin` makes whoever has that name an admin.
        ({"preferred_username": "admin"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_new_account_is_called_as_the_provider_says(
    browser: TestClient, provider: IdentityProvider, told: dict[str, Any], name: str | None
) -> None:
    provider.person, provider.beside = {"sub": "6f1c"}, told
    answer = log_in(browser, provider)
    assert answer.status_code == (403 if name is None else 200)
    if name is not None:
        assert name_of(browser) == name


@pytest.mark.parametrize(
    ("told", "is_admitted"),
    [
        ({"email": "ada@LAB.example", "email_verified": True}, True),
        ({"email": "ada@lab.example", "email_verified": False}, False),
        ({"email": "ada@lab.example"}, False),
        ({"email": "ada@evil.example", "email_verified": True}, False),
        ({"email": "lab.example@evil.example", "email_verified": True}, False),
        ({}, False),
    ],
    ids=str,
)
def test_only_a_verified_address_of_an_allowed_domain_is_let_in(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    told: dict[str, Any],
    is_admitted: bool,
) -> None:
    configure(oidc_email_domains="lab.example, uni.example")
    provider.beside = told
    answer = log_in(browser, provider)
    assert answer.status_code == (200 if is_admitted else 403)
    assert ("lab.example or uni.example" in answer.text) is not is_admitted


@pytest.mark.parametrize(
    ("groups", "is_admitted"),
    [(["lab", "staff"], True), ("lab", True), (["labour"], False), ("labour", False), (None, False)],
)  # fmt: skip
def test_only_members_of_the_group_are_let_in(
    browser: TestClient,
    provider: IdentityProvider,
    configure: Configure,
    groups: Any,
    is_admitted: bool,
) -> None:
    configure(oidc_group="lab")
    provider.person["groups"] = groups
    assert log_in(browser, provider).status_code == (200 if is_admitted else 403)


def test_what_the_provider_says_besides_of_somebody_else_is_not_taken(
    browser: TestClient, provider: IdentityProvider, configure: Configure
) -> None:
    configure(oidc_group="lab")
    provider.beside = {"sub": "other", "groups": ["lab"]}
    assert log_in(browser, provider).status_code == 403


def test_who_is_disabled_is_out_and_stays_out(
    browser: TestClient, provider: IdentityProvider, sessions: Sessions, sign_in: Any
) -> None:
    log_in(browser, provider)
    boss = sign_in("boss:admin")
    assert boss.patch("/api/v1/users/ada", json={"disabled": True}).status_code == 200
    assert browser.get("/").status_code == 303
    answer = log_in(browser, provider)
    assert answer.status_code == 403
    assert "The account ada is disabled" in answer.text


def test_logins_belong_to_one_token_that_nobody_knows_and_end_with_it(
    app: FastAPI, browser: TestClient, provider: IdentityProvider
) -> None:
    log_in(browser, provider)
    other = TestClient(app, follow_redirects=False)
    log_in(other, provider)
    [token] = browser.get("/api/v1/tokens").json()["items"]
    assert token["name"] == "logins with Keycloak"
    assert "this browser" in browser.get("/admin").text
    csrf = browser.get("/").text.partition('data-csrf="')[2][:64]
    answer = browser.delete(f"/api/v1/tokens/{token['id']}", headers={"X-CSRF-Token": csrf})
    assert answer.status_code == 204
    assert [client.get("/").status_code for client in (browser, other)] == [303, 303]
    assert log_in(browser, provider).status_code == 200
    [again] = browser.get("/api/v1/tokens").json()["items"]
    assert again["id"] != token["id"]


def test_a_token_for_programs_is_made_with_a_login_and_outlives_it(
    app: FastAPI, browser: TestClient, provider: IdentityProvider, sessions: Sessions
) -> None:
    log_in(browser, provider)
    csrf = browser.get("/").text.partition('data-csrf="')[2][:64]
    made = browser.post("/api/v1/tokens", json={"name": "cli"}, headers={"X-CSRF-Token": csrf})
    assert made.json()["expires_at"] is None
    with sessions.begin() as session:
        day = session.scalars(select(BrowserSession.expires_at)).one() - database_now(session)
        assert 23 * 3600 < day.total_seconds() <= 24 * 3600
        session.execute(update(BrowserSession).values(expires_at=database_now(session)))
    assert browser.get("/").status_code == 303
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert TestClient(app).get("/api/v1/users/me", headers=headers).json()["name"] == "ada"


def test_an_admin_s_last_token_is_not_replaced_by_a_login(
    browser: TestClient, provider: IdentityProvider, admin: TestClient, sessions: Sessions
) -> None:
    """While the provider is away, nobody could administer anything."""
    admin.patch("/api/v1/users/ada", json={"login": "6f1c"})
    log_in(browser, provider)
    with sessions.begin() as session:
        [token] = session.scalars(select(Token.id).where(Token.name == "test"))
    answer = admin.delete(f"/api/v1/tokens/{token}")
    assert answer.status_code == 409


def test_unlinking_revokes_no_admin_s_last_token(
    app: FastAPI, browser: TestClient, provider: IdentityProvider, admin: TestClient
) -> None:
    admin.patch("/api/v1/users/ada", json={"login": "6f1c"})
    log_in(browser, provider)
    csrf = browser.get("/").text.partition('data-csrf="')[2][:64]
    made = browser.post("/api/v1/tokens", json={"name": "cli"}, headers={"X-CSRF-Token": csrf})
    tokens = admin.get("/api/v1/tokens").json()["items"]
    [first] = [one["id"] for one in tokens if one["name"] == "test"]
    assert admin.delete(f"/api/v1/tokens/{first}").status_code == 204
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    answer = TestClient(app).patch("/api/v1/users/ada", json={"login": None}, headers=headers)
    assert answer.status_code == 409
    assert "make another user an admin" in answer.json()["detail"]


def test_a_login_is_in_the_audit_trail(
    browser: TestClient, provider: IdentityProvider, sign_in: Any
) -> None:
    log_in(browser, provider)
    rows = sign_in("boss:admin").get("/api/v1/audit").json()["items"]
    assert [(one["user"], one["action"], one["token"]) for one in rows] == [
        ("ada", "session.opened", "logins with Keycloak"),
        ("ada", "identity.linked", "logins with Keycloak"),
        ("ada", "user.created", "logins with Keycloak"),
    ]
    assert rows[0]["detail"] == {"provider": provider.url}
    assert rows[1]["detail"] == {"issuer": provider.url, "login": "6f1c", "role": "viewer"}


def test_a_login_that_took_too_long_is_begun_again(
    browser: TestClient, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.openid.provider.MINUTES", -1)
    answer = log_in(browser, provider)
    assert answer.status_code == 403
    assert "Log in again" in answer.text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"oidc_client_id": ""}, "NORMLAB_OIDC_CLIENT_ID"),
        ({"oidc_client_secret": ""}, "NORMLAB_OIDC_CLIENT_SECRET"),
        ({"public_url": ""}, "NORMLAB_PUBLIC_URL"),
        ({"oidc_issuer": "http://keycloak.example"}, "https://"),
        ({"oidc_scopes": "profile"}, "openid"),
    ],
)
def test_settings_that_are_not_complete_are_refused_at_the_start(
    configure: Configure, changes: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        configure(**changes)
