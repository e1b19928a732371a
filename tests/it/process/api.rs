//! The JSON door, as a client in another process uses it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Installation, OPERATOR, PASSWORD, until};

const MAIN: &str = "/projects/shop/environments/main";

/// An activity that was asked for, and the snapshot that it makes or restores.
#[derive(Debug, Clone)]
pub struct Asked {
    pub activity: String,
    pub snapshot: String,
}

impl Installation {
    /// `None` when the server can't be reached.
    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        self.ask_as(&self.token, method, path, body)
    }

    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let (status, text) = self.send(token, method, path, body)?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    fn send(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Option<(u16, String)> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent: ureq::Agent = config.timeout_global(Some(Duration::from_secs(30))).build().into();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}/api{path}", self.listen))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let mut reply = agent.run(request.body(text).expect("a request")).ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.body_mut().read_to_string().ok()?))
    }

    /// Logs the operator in at the console's page; whether that led to the projects.
    pub fn log_in(&self) -> bool {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
        let agent: ureq::Agent = config.timeout_global(Some(Duration::from_secs(30))).build().into();
        let console = format!("http://127.0.0.1:{}", self.listen);
        let request = agent.post(format!("{console}/actions/log-in")).header("origin", &console);
        let reply = request.send_form([("email", OPERATOR), ("password", PASSWORD)]).expect("the server answers");
        reply.status() == 303 && reply.headers().get("location").is_some_and(|location| location == "/")
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None).expect("the server answers");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    #[track_caller]
    pub fn ask_snapshot(&self) -> Asked {
        self.ask_snapshot_as(&self.token, json!({}))
    }

    #[track_caller]
    pub fn ask_snapshot_as(&self, token: &str, body: Value) -> Asked {
        accepted(self.ask_as(token, "POST", &format!("{MAIN}/backup"), Some(body)))
    }

    #[track_caller]
    pub fn ask_restore(&self, snapshot: &str) -> Asked {
        accepted(self.ask("POST", &format!("{MAIN}/backups/{snapshot}/restore"), Some(json!({}))))
    }

    #[track_caller]
    pub fn ask_drill(&self, snapshot: &str) -> Asked {
        accepted(self.ask("POST", &format!("{MAIN}/drills"), Some(json!({ "backup": snapshot }))))
    }

    /// What it would do is looked at first, and that is confirmed.
    #[track_caller]
    pub fn ask_confirmed(&self, snapshot: &str) -> Asked {
        self.ask_as_shown(snapshot, &self.preflight(snapshot))
    }

    #[track_caller]
    pub fn ask_as_shown(&self, snapshot: &str, preflight: &Value) -> Asked {
        let confirmed = json!({ "plan_hash": preflight["plan_hash"] });
        accepted(self.ask("POST", &format!("{MAIN}/backups/{snapshot}/restore"), Some(confirmed)))
    }

    pub fn preflight(&self, snapshot: &str) -> Value {
        self.get(&format!("{MAIN}/backups/{snapshot}/restore"))
    }

    /// These parts of it alone.
    #[track_caller]
    pub fn ask_restore_of(&self, snapshot: &str, parts: &[&str]) -> Asked {
        let path = format!("{MAIN}/backups/{snapshot}/restore");
        accepted(self.ask("POST", &path, Some(json!({ "parts": parts }))))
    }

    /// What a restore of one part is refused with, and what the preflight says of it.
    #[track_caller]
    pub fn refused_restore_of(&self, snapshot: &str, part: &str) -> (String, Value) {
        let path = format!("{MAIN}/backups/{snapshot}/restore");
        let (status, body) = self.ask("POST", &path, Some(json!({ "parts": [part] }))).expect("the server answers");
        assert_eq!(status, 409, "{body}");
        (body.to_string(), self.preflight_of(snapshot, part))
    }

    pub fn preflight_of(&self, snapshot: &str, part: &str) -> Value {
        self.get(&format!("{MAIN}/backups/{snapshot}/restore?parts={part}"))
    }

    /// A snapshot that was taken.
    #[track_caller]
    pub fn snapshot(&self) -> String {
        let asked = self.ask_snapshot();
        self.succeeded(&asked);
        asked.snapshot
    }

    #[track_caller]
    pub fn restore(&self, snapshot: &str) {
        let asked = self.ask_restore(snapshot);
        self.succeeded(&asked);
    }

    #[track_caller]
    pub fn ask_restore_into(&self, snapshot: &str, target: &str) -> Asked {
        let body = json!({ "environment_name": target });
        accepted(self.ask("POST", &format!("{MAIN}/backups/{snapshot}/restore"), Some(body)))
    }

    #[track_caller]
    pub fn restore_into(&self, snapshot: &str, target: &str) -> Value {
        self.succeeded(&self.ask_restore_into(snapshot, target))
    }

    /// A restore into an environment that is made after `main`.
    #[track_caller]
    pub fn ask_new(&self, snapshot: &str, name: &str) -> Asked {
        let body = json!({ "environment_name": name, "branch_from": "main" });
        accepted(self.ask("POST", &format!("{MAIN}/backups/{snapshot}/restore"), Some(body)))
    }

    /// Takes an environment away, without a last snapshot of it.
    #[track_caller]
    pub fn remove(&self, environment: &str) {
        let path = format!("/projects/shop/environments/{environment}?backup=false");
        self.succeeded(&accepted(self.ask("DELETE", &path, None)));
    }

    /// One part alone.
    #[track_caller]
    pub fn restore_part_into(&self, snapshot: &str, target: &str, part: &str) -> Asked {
        let body = json!({ "environment_name": target, "parts": [part] });
        let asked = accepted(self.ask("POST", &format!("{MAIN}/backups/{snapshot}/restore"), Some(body)));
        self.succeeded(&asked);
        asked
    }

    /// From the line of its log that begins so to the one that begins so.
    #[track_caller]
    pub fn between(&self, asked: &Asked, first: &str, last: &str) -> Duration {
        let log = self.log_of(asked);
        let at = |begin: &str| {
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["data"]["message"].as_str().is_some_and(|text| text.starts_with(begin)));
            let stamp =
                line.unwrap_or_else(|| panic!("no line begins with {begin:?}: {log}"))["data"]["timestamp"].clone();
            serde_json::from_value::<stillpoint::domain::Timestamp>(stamp).expect("an instant")
        };
        at(last).since(at(first))
    }

    pub fn activity(&self, asked: &Asked) -> Value {
        self.get(&format!("/projects/shop/activities/{}", asked.activity))
    }

    /// What it has told so far, a line of JSON each.
    pub fn log_of(&self, asked: &Asked) -> String {
        let path = format!("/projects/shop/activities/{}/log?follow=0", asked.activity);
        self.send(&self.token, "GET", &path, None).expect("the server answers").1
    }

    /// Asks to cancel it.
    pub fn cancel(&self, asked: &Asked) -> u16 {
        let path = format!("/projects/shop/activities/{}/cancel", asked.activity);
        self.ask("POST", &path, Some(json!({}))).expect("the server answers").0
    }

    /// Waits for its end.
    #[track_caller]
    pub fn over(&self, asked: &Asked) -> Value {
        until(&format!("activity {} ends", asked.activity), || {
            let activity = self.activity(asked);
            matches!(activity["state"].as_str(), Some("complete" | "cancelled")).then_some(activity)
        })
    }

    #[track_caller]
    pub fn succeeded(&self, asked: &Asked) -> Value {
        let activity = self.over(asked);
        assert_eq!(activity["result"], "success", "{activity:#}");
        activity
    }

    /// The reason that the feed gives.
    #[track_caller]
    pub fn failed(&self, asked: &Asked) -> String {
        let activity = self.over(asked);
        assert_eq!(activity["result"], "failure", "{activity:#}");
        activity["failure_reason"].as_str().expect("a reason").to_owned()
    }

    pub fn backups(&self) -> Vec<Value> {
        self.get(&format!("{MAIN}/backups")).as_array().expect("a list").clone()
    }

    pub fn backup(&self, name: &str) -> Value {
        self.backup_of("main", name)
    }

    pub fn backup_of(&self, environment: &str, name: &str) -> Value {
        self.get(&format!("/projects/shop/environments/{environment}/backups/{name}"))
    }
}

#[track_caller]
fn accepted(reply: Option<(u16, Value)>) -> Asked {
    let (status, body) = reply.expect("the server answers");
    assert_eq!(status, 202, "{body}");
    let activity = &body["_embedded"]["activities"][0];
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    // A removal may take none.
    let snapshot = activity["payload"]["backup_name"].as_str().unwrap_or_default().to_owned();
    Asked { activity: text(&activity["id"]), snapshot }
}
