//! What the API's door does before any operation is reached: who asks, in which version, with what body.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use stillpoint::domain::Secret;
use stillpoint::domain::policy::Grants;
use stillpoint::ops::{App, Settings, accounts, tokens};
use stillpoint::store::{Sealer, Store};
use stillpoint::{api, wire};
use tempfile::TempDir;
use tower::ServiceExt;

const NAME: &str = "2ca4d90639f706283fee";

/// The door over an empty installation with one account.
struct Door {
    router: Router,
    /// An API token of the account, which is a member of nothing.
    token: String,
    _data: TempDir,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

impl Door {
    async fn open() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", data.path().join("stillpoint.db").display());
        let store = Store::open(&url, Sealer::new(&[7; 32], &[])).await.expect("an empty database");
        let settings = Settings { data: data.path().to_owned(), roots: Vec::new(), gateway_port: None };
        let app = App::new(store, settings);
        let (email, password) = ("someone@example.org", Secret::new("correct horse battery staple"));
        accounts::unchecked_add(&app, email, &password, accounts::Kind::Member).await.expect("a new account");
        let actor = accounts::unchecked_actor(&app, email).await.expect("the account");
        let request =
            tokens::TokenRequest { name: "test".to_owned(), grants: Grants::default(), expires_in_days: None };
        let token = tokens::create(&app, &actor, request).await.expect("a token").text.reveal().to_owned();
        let router = Router::new().nest(wire::BASE, api::router(app));
        Self { router, token, _data: data }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let reply = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = reply.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        assert_eq!(parts.headers[wire::VERSION_HEADER], wire::VERSION);
        assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store");
        Reply { status: parts.status.as_u16(), headers: parts.headers, json }
    }

    async fn as_member(&self, method: &str, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let bearer = format!("Bearer {}", self.token);
        self.send(request.header(header::AUTHORIZATION, bearer).body(body.into()).expect("a request")).await
    }

    async fn exchange(&self, form: String) -> Reply {
        let request = Request::post("/api/oauth2/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, "Basic cGxhdGZvcm0tY2xpOg==");
        self.send(request.body(form.into()).expect("a request")).await
    }
}

const ROUTES: [(&str, &str); 27] = [
    ("GET", "/api/projects"),
    ("GET", "/api/projects/demo"),
    ("GET", "/api/projects/demo/activities"),
    ("GET", "/api/projects/demo/activities/2ca4d90639f706283fee"),
    ("POST", "/api/projects/demo/activities/2ca4d90639f706283fee/cancel"),
    ("GET", "/api/projects/demo/activities/2ca4d90639f706283fee/log"),
    ("GET", "/api/projects/demo/environments"),
    ("GET", "/api/projects/demo/environments/main"),
    ("GET", "/api/projects/demo/environments/main/activities"),
    ("POST", "/api/projects/demo/environments/main/backup"),
    ("GET", "/api/projects/demo/environments/main/backups"),
    ("GET", "/api/projects/demo/environments/main/backups/2ca4d90639f706283fee"),
    ("GET", "/api/projects/demo/environments/main/backups/2ca4d90639f706283fee/restore"),
    ("POST", "/api/projects/demo/environments/main/backups/2ca4d90639f706283fee/restore"),
    ("GET", "/api/projects/demo/environments/main/services"),
    ("GET", "/api/projects/demo/environments/main/services/database/dump"),
    ("GET", "/api/projects/demo/environments/main/backups/2ca4d90639f706283fee/services"),
    ("GET", "/api/projects/demo/environments/main/backups/2ca4d90639f706283fee/services/database/dump"),
    ("GET", "/api/projects/demo/user-access"),
    ("GET", "/api/projects/demo/user-access/2ca4d90639f706283fee"),
    ("PATCH", "/api/projects/demo/user-access/2ca4d90639f706283fee"),
    ("DELETE", "/api/projects/demo/user-access/2ca4d90639f706283fee"),
    ("GET", "/api/projects/demo/invitations"),
    ("POST", "/api/projects/demo/invitations"),
    ("DELETE", "/api/projects/demo/invitations/2ca4d90639f706283fee"),
    ("GET", "/api/projects/demo/audit"),
    ("GET", "/api/projects/demo/audit/export"),
];

#[tokio::test]
async fn nobody_without_a_token_gets_anything_anywhere() {
    let door = Door::open().await;
    for (method, path) in ROUTES {
        for authorization in
            [None, Some("Bearer "), Some("Bearer stp_wrong"), Some("Bearer sta_wrong"), Some("Basic eDp5")]
        {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let reply = door.send(request.body(Body::empty()).expect("a request")).await;
            assert_eq!(reply.status, 401, "{method} {path} {authorization:?}");
            assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
            assert_eq!(reply.json["code"], "not_logged_in");
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_and_what_cannot_exist_look_the_same() {
    let door = Door::open().await;
    for (method, path) in ROUTES.into_iter().skip(1) {
        let foreign = door.as_member(method, path, Body::empty()).await;
        assert_eq!((foreign.status, &foreign.json["code"]), (404, &"not_found".into()), "{method} {path}");
    }
    let unknown = door.as_member("GET", "/api/projects/demo", Body::empty()).await;
    for odd in ["/api/projects/DEMO", "/api/projects/..%2f..", "/api/projects/%ff", "/api/projects/a%00b"] {
        let reply = door.as_member("GET", odd, Body::empty()).await;
        assert_eq!((reply.status, &reply.json), (404, &unknown.json), "{odd}");
    }
    let empty = door.as_member("GET", "/api/projects", Body::empty()).await;
    assert_eq!((empty.status, empty.json), (200, serde_json::json!([])));
}

#[tokio::test]
async fn an_api_token_is_exchanged_for_one_that_works() {
    let door = Door::open().await;
    let reply = door.exchange(format!("grant_type=api_token&api_token={}", door.token)).await;
    assert_eq!((reply.status, &reply.json["token_type"]), (200, &"bearer".into()));
    let bearer = format!("Bearer {}", reply.json["access_token"].as_str().expect("a string"));
    let request = Request::get("/api/projects").header(header::AUTHORIZATION, bearer);
    assert_eq!(door.send(request.body(Body::empty()).expect("a request")).await.status, 200);

    let wrong = door.exchange("grant_type=api_token&api_token=wrong".to_owned()).await;
    assert_eq!((wrong.status, &wrong.json["error"]), (401, &"invalid_grant".into()));
    let other = door.exchange("grant_type=password&username=a&password=b".to_owned()).await;
    assert_eq!((other.status, &other.json["error"]), (400, &"unsupported_grant_type".into()));
}

#[tokio::test]
async fn bad_bodies_methods_addresses_and_versions_are_problems() {
    let door = Door::open().await;
    let backup = "/api/projects/demo/environments/main/backup";
    let restore = format!("/api/projects/demo/environments/main/backups/{NAME}/restore");
    for (method, path, body, status) in [
        ("POST", backup, "{".to_owned(), 400),
        ("POST", backup, r#"{"safe": "perhaps"}"#.to_owned(), 400),
        ("POST", restore.as_str(), "[1]".to_owned(), 400),
        ("POST", backup, "x".repeat(65 * 1024), 413),
        ("DELETE", backup, String::new(), 405),
        ("GET", "/api/nowhere", String::new(), 404),
        ("GET", "/api/projects/demo/", String::new(), 404),
    ] {
        let reply = door.as_member(method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.json["status"], status);
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    }
    let newer = Request::get("/api/projects").header(wire::VERSION_HEADER, "2").body(Body::empty());
    let reply = door.send(newer.expect("a request")).await;
    assert_eq!((reply.status, &reply.json["code"]), (400, &"unsupported_version".into()));
}
