//! Notices: what happens is told by mail and by signed posts, tried again when it does not arrive, and never sent inside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use stillpoint::authz::{ManageNotices, ViewAudit};
use stillpoint::domain::audit::AuditFilter;
use stillpoint::domain::notice::{Delivery, DeliveryState, Destination, Notice, Way};
use stillpoint::domain::policy::{ProjectRole, TypeRole};
use stillpoint::domain::{Secret, Timestamp};
use stillpoint::jobs::postman::{Post, run, send_due, signature};
use stillpoint::ops::notices::{self, ChannelEdit, ChannelRequest, NewChannel, NewSecret};
use stillpoint::ops::{self, Error};
use stillpoint::store;

use tokio_util::sync::CancellationToken;

use crate::doors::through::Doors;
use crate::members::visitor::House;
use crate::support::{Shop, TestApp, project};

/// What somebody received: the head's lines, then the body.
pub type Received = (Vec<String>, String);

#[tokio::test]
async fn operators_see_what_became_of_mail_to_single_persons_and_others_do_not() {
    let shop = TestApp::with_shop().await;
    let member = shop.test.member("waits@example.org", TypeRole::Admin).await;
    let admin = shop.test.outsider("admin-of-shop@example.org").await;
    shop.test.set_roles(&admin, Some(ProjectRole::Admin), Default::default()).await;
    let (mut tx, id) = (shop.test.store.write().await.expect("a transaction"), project());
    let about = Some("The ticket was declined.");
    let told = store::notices::Told { project: &id, activity: None, about, at: Timestamp::now() };
    let to = Destination::Person(member.user().clone());
    store::notices::put(&mut tx, &to, &told, Notice::TicketChanged).await.expect("stored");
    shop.test.store.commit(tx).await.expect("a commit");

    let doors = Doors::of(shop).await;
    let (operator, admin) = (doors.person(&doors.shop.admin).await, doors.person(&admin).await);
    let page = "/projects/shop/notices";
    let (status, html) = doors.page(&operator, page).await;
    assert!(status == 200 && html.contains("To waits@example.org: "), "{html}");
    assert!(html.contains("The ticket was declined. not sent yet"), "{html}");
    let (status, html) = doors.page(&admin, page).await;
    assert!(status == 200 && !html.contains("waits@example.org") && !html.contains("Mail to single persons"), "{html}");
    let listed = doors.get(&operator, "/projects/shop/notices/deliveries").await;
    assert_eq!(listed, Value::Array(Vec::new()), "what a person was told is no delivery of the project's");
    doors.close().await;
}

/// Takes posts, and answers each with the next of these statuses, the last for ever.
fn takes_posts(statuses: &'static [u16]) -> (u16, Receiver<Received>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let mut head = Vec::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                let read = reader.read_line(&mut line).expect("text");
                let line = line.trim_end().to_owned();
                if read == 0 || line.is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.parse().expect("a number");
                }
                head.push(line);
            }
            let mut body = vec![0; length];
            std::io::Read::read_exact(&mut reader, &mut body).expect("the body");
            let status = statuses[number.min(statuses.len() - 1)];
            // Before the answer: whoever was answered finds it here.
            if sender.send((head, String::from_utf8(body).expect("UTF-8"))).is_err() {
                return;
            }
            let mut stream = stream;
            write!(
                stream,
                "HTTP/1.1 {status} Said\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .expect("it reads");
        }
    });
    (port, received)
}

/// A mail server that takes everything.
pub fn takes_mail() -> (u16, Receiver<Received>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if hear(stream, &sender).is_none() {
                return;
            }
        }
    });
    (port, received)
}

fn hear(mut stream: std::net::TcpStream, sender: &Sender<Received>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let mut said = Vec::new();
    write!(stream, "220 mail.test\r\n").ok()?;
    while let Some(line) = lines.next() {
        let answer = match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "DATA" => {
                write!(stream, "354 Go on\r\n").ok()?;
                let body: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                sender.send((std::mem::take(&mut said), body.join("\n"))).ok()?;
                "250 Taken"
            }
            "QUIT" => "221 Bye",
            _ => "250 Yes",
        };
        said.push(line);
        write!(stream, "{answer}\r\n").ok()?;
    }
    Some(())
}

pub fn post(inside: &[&str]) -> Post {
    Post {
        smtp: None,
        from: None,
        inside: inside.iter().map(|text| text.parse().expect("a network")).collect(),
        console: Some("https://stillpoint.example.org/".to_owned()),
    }
}

async fn add(shop: &Shop, way: Way, address: String) -> NewChannel {
    let request = ChannelRequest { way, address, notices: Notice::ALL.to_vec() };
    notices::add(&shop.test.app, &proof(shop).await, request).await.expect("it is added")
}

async fn proof(shop: &Shop) -> stillpoint::authz::Authorized<ManageNotices> {
    let app = &shop.test.app;
    app.authorize_project::<ManageNotices>(&shop.admin, &project()).await.expect("whoever runs the installation")
}

async fn log(shop: &Shop) -> Vec<Delivery> {
    notices::deliveries(&shop.test.app, &proof(shop).await).await.expect("the log")
}

async fn send(shop: &Shop, post: &Post) {
    send_due(&shop.test.store, post).await.expect("the store works");
}

/// As if the pause were over.
async fn wait_no_longer(shop: &Shop) {
    let mut tx = shop.test.store.write().await.expect("a transaction");
    sqlx::query("UPDATE deliveries SET next_at = 0").execute(&mut *tx).await.expect("a table");
    shop.test.store.commit(tx).await.expect("a commit");
}

#[tokio::test]
async fn a_failed_snapshot_and_a_restore_are_posted_with_a_signature() {
    let shop = TestApp::with_shop().await;
    let (port, received) = takes_posts(&[200]);
    let made = add(&shop, Way::Webhook, format!("http://127.0.0.1:{port}/hook?key=1")).await;
    let secret = made.secret.expect("a webhook has one");
    let name = shop.snapshot().await;
    assert!(log(&shop).await.is_empty(), "nothing to tell of");
    let restored = shop.restore(&name).await;
    send(&shop, &post(&["127.0.0.0/8"])).await;
    let (head, body) = received.recv().expect("a post");
    assert!(head[0].starts_with("POST /hook?key=1 "), "{head:?}");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&told["type"], &told["environment"]), (&"restored".into(), &"main".into()), "{told:#}");
    assert_eq!(told["activity"]["id"], restored.id.as_str());
    let link = format!("https://stillpoint.example.org/projects/shop/activities/{}", restored.id);
    assert_eq!(told["link"], link.as_str());
    let signed = head.iter().find_map(|line| line.strip_prefix("stillpoint-signature: ")).expect("a signature");
    let seconds: i64 = signed.split(['=', ',']).nth(1).and_then(|text| text.parse().ok()).expect("a time");
    let at = Timestamp::from_micros(seconds * 1_000_000);
    assert_eq!(signed, signature(&secret, at, &body));

    std::fs::remove_dir_all(&shop.site.uploads).expect("it is there");
    let asked = shop.ask_for_snapshot().await;
    let failed = shop.test.settle(&asked.activity.id).await;
    send(&shop, &post(&["127.0.0.0/8"])).await;
    let told: Value = serde_json::from_str(&received.recv().expect("a post").1).expect("JSON");
    assert_eq!(told["type"], "snapshot_failed");
    assert_eq!(told["activity"]["failure_reason"].as_str(), failed.failure.as_deref());
    let states: Vec<_> = log(&shop).await.into_iter().map(|delivery| (delivery.state, delivery.attempts)).collect();
    assert_eq!(states, [(DeliveryState::Delivered, 1), (DeliveryState::Delivered, 1)]);
}

#[tokio::test]
async fn what_does_not_arrive_is_tried_again_and_the_log_says_why() {
    let shop = TestApp::with_shop().await;
    // Where it leads on was not looked at.
    let (port, received) = takes_posts(&[500, 302, 204]);
    add(&shop, Way::Webhook, format!("http://127.0.0.1:{port}/")).await;
    shop.restore(&shop.snapshot().await).await;
    for (attempt, status) in [(1, "500"), (2, "302")] {
        send(&shop, &post(&["127.0.0.0/8"])).await;
        received.recv().expect("a post");
        let delivery = log(&shop).await.remove(0);
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Waiting, attempt));
        assert_eq!(delivery.error.as_deref(), Some(format!("it answered {status}").as_str()));
        // It waits for its pause.
        send(&shop, &post(&["127.0.0.0/8"])).await;
        assert!(received.try_recv().is_err());
        wait_no_longer(&shop).await;
    }
    send(&shop, &post(&["127.0.0.0/8"])).await;
    received.recv().expect("a post");
    let delivery = log(&shop).await.remove(0);
    assert_eq!((delivery.state, delivery.attempts, delivery.error), (DeliveryState::Delivered, 3, None));
}

#[tokio::test]
async fn posts_go_to_no_inner_network_that_the_operator_has_not_allowed() {
    let shop = TestApp::with_shop().await;
    let (port, received) = takes_posts(&[200]);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let made = add(&shop, Way::Webhook, format!("http://{host}:{port}/")).await;
        notices::try_out(&shop.test.app, &proof(&shop).await, &made.channel.id).await.expect("a trial");
        send(&shop, &post(&["10.0.0.0/8"])).await;
        let delivery = log(&shop).await.remove(0);
        // Nobody waits a day for a trial.
        assert_eq!(delivery.state, DeliveryState::GivenUp, "{host}: {delivery:?}");
        let error = delivery.error.expect("a reason");
        assert!(error.contains("inner network") && error.contains("--webhook-network"), "{host}: {error}");
        notices::remove(&shop.test.app, &proof(&shop).await, &made.channel.id).await.expect("it is removed");
    }
    assert!(received.try_recv().is_err());
    assert!(log(&shop).await.is_empty(), "the log goes with its channel");
}

#[tokio::test]
async fn a_notice_comes_by_mail_when_the_operator_has_named_a_server() {
    let shop = TestApp::with_shop().await;
    let made = add(&shop, Way::Mail, "team@example.org".to_owned()).await;
    assert!(made.secret.is_none());
    let try_out = async || {
        notices::try_out(&shop.test.app, &proof(&shop).await, &made.channel.id).await.expect("a trial");
    };
    try_out().await;
    let again = notices::try_out(&shop.test.app, &proof(&shop).await, &made.channel.id).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "one at a time: {again:?}");
    send(&shop, &post(&[])).await;
    let delivery = log(&shop).await.remove(0);
    assert!(delivery.error.as_deref().is_some_and(|error| error.contains("--smtp")), "{delivery:?}");

    let (port, received) = takes_mail();
    let smtp = Some(Secret::new(format!("smtp://127.0.0.1:{port}")));
    let with_mail = Post { smtp, from: Some("Stillpoint <backup@example.org>".to_owned()), ..post(&[]) };
    shop.restore(&shop.snapshot().await).await;
    send(&shop, &with_mail).await;
    let (envelope, text) = received.recv().expect("a mail");
    assert!(envelope.iter().any(|line| line.contains("RCPT TO:<team@example.org>")), "{envelope:?}");
    assert!(text.contains("A restore is complete"), "{text}");
    assert!(text.contains("https://stillpoint.example.org/projects/shop/activities/"), "{text}");
}

#[tokio::test]
async fn who_may_not_manage_a_project_sees_no_addresses() {
    let shop = TestApp::with_shop().await;
    let member = shop.test.member("member@example.org", TypeRole::Admin).await;
    let refused = shop.test.app.authorize_project::<ManageNotices>(&member, &project()).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    for (way, address) in [(Way::Mail, "nobody"), (Way::Webhook, "ftp://example.org"), (Way::Webhook, "example.org")] {
        let request = ChannelRequest { way, address: address.to_owned(), notices: Notice::ALL.to_vec() };
        let refused = notices::add(&shop.test.app, &proof(&shop).await, request).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{address}: {:?}", refused.err());
    }
}

/// Takes posts and answers none of them until it is told to.
fn keeps_waiting() -> (u16, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (came, coming) = channel();
    let (go_on, told) = channel::<()>();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if came.send(()).is_err() || told.recv().is_err() {
                return;
            }
            // What was sent need not be read for an answer to it.
            let _ = write!(stream, "HTTP/1.1 204 Said\r\nconnection: close\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    (port, coming, go_on)
}

#[tokio::test]
async fn a_server_that_takes_long_keeps_no_other_waiting() {
    let shop = TestApp::with_shop().await;
    let (slow, came, go_on) = keeps_waiting();
    let (quick, received) = takes_posts(&[204]);
    let one = add(&shop, Way::Webhook, format!("http://127.0.0.1:{slow}/")).await;
    let other = add(&shop, Way::Webhook, format!("http://127.0.0.1:{quick}/")).await;
    shop.restore(&shop.snapshot().await).await;
    let sending = tokio::spawn({
        let store = shop.test.store.clone();
        async move { send_due(&store, &post(&["127.0.0.0/8"])).await }
    });
    // Both are there, and the slow one has answered nothing.
    let (came, received) = tokio::task::spawn_blocking(move || {
        came.recv().expect("the slow one is asked");
        received.recv().expect("the quick one is asked");
        (came, received)
    })
    .await
    .expect("they come");
    // What is told meanwhile goes to the quick one; to the slow one one goes after the other.
    for channel in [&one.channel, &other.channel] {
        notices::try_out(&shop.test.app, &proof(&shop).await, &channel.id).await.expect("a trial");
    }
    assert!(!sending.is_finished());
    // Its turn comes when what came of the first one is written down.
    let second = async {
        while received.try_recv().is_err() {
            send(&shop, &post(&["127.0.0.0/8"])).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), second).await.expect("the second one");
    assert!(came.try_recv().is_err(), "one at a time");
    go_on.send(()).expect("it waits for it");
    go_on.send(()).expect("it waits for it");
    sending.await.expect("it does not panic").expect("the store works");
    send(&shop, &post(&["127.0.0.0/8"])).await;
    let states: Vec<_> = log(&shop).await.into_iter().map(|delivery| (delivery.state, delivery.attempts)).collect();
    assert_eq!(states, [(DeliveryState::Delivered, 1); 4]);
}

#[tokio::test]
async fn what_goes_to_one_address_goes_in_order_and_is_not_held_up_for_a_day() {
    let shop = TestApp::with_shop().await;
    let (port, received) = takes_posts(&[500, 500, 500, 204, 204]);
    add(&shop, Way::Webhook, format!("http://127.0.0.1:{port}/")).await;
    let snapshot = shop.snapshot().await;
    let (first, second) = (shop.restore(&snapshot).await, shop.restore(&snapshot).await);
    let mut sent = Vec::new();
    for _ in 0..4 {
        send(&shop, &post(&["127.0.0.0/8"])).await;
        while let Ok((_, body)) = received.try_recv() {
            let told: Value = serde_json::from_str(&body).expect("JSON");
            sent.push(told["activity"]["id"].as_str().expect("an id").to_owned());
        }
        wait_no_longer(&shop).await;
    }
    // It waits for the first one's turn twice; after its third try it does not.
    let (first, second) = (first.id.to_string(), second.id.to_string());
    assert_eq!(sent, [&first, &first, &first, &second, &first].map(String::clone));
    assert!(log(&shop).await.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
}

#[tokio::test]
async fn where_nobody_said_where_the_console_is_there_is_no_link_and_it_says_what_to_do() {
    let shop = TestApp::with_shop().await;
    let (mail, letters) = takes_mail();
    let (port, posts) = takes_posts(&[204]);
    add(&shop, Way::Mail, "team@example.org".to_owned()).await;
    add(&shop, Way::Webhook, format!("http://127.0.0.1:{port}/")).await;
    shop.restore(&shop.snapshot().await).await;
    let smtp = Some(Secret::new(format!("smtp://127.0.0.1:{mail}")));
    let from = Some("backup@example.org".to_owned());
    send(&shop, &Post { smtp, from, console: None, ..post(&["127.0.0.0/8"]) }).await;
    let text = letters.recv().expect("a mail").1;
    assert!(!text.contains("http") && text.contains("--public-url"), "{text}");
    let told: Value = serde_json::from_str(&posts.recv().expect("a post").1).expect("JSON");
    assert_eq!(told["link"], Value::Null, "{told:#}");
}

#[tokio::test]
async fn a_storage_budget_that_is_nearly_used_is_told_once_for_each_time() {
    let shop = TestApp::with_shop().await;
    let (port, received) = takes_posts(&[204]);
    add(&shop, Way::Webhook, format!("http://127.0.0.1:{port}/")).await;
    let declare = async |budget: &str| {
        let declaration = shop.site.declaration("shop", "main", "production", "starter");
        let budget = format!("[[project]]\nstorage_budget = {budget:?}");
        shop.test.declare(&declaration.replacen("[[project]]", &budget, 1)).await;
    };
    let told = async || {
        send(&shop, &post(&["127.0.0.0/8"])).await;
        received.try_iter().map(|(_, body)| serde_json::from_str(&body).expect("JSON")).collect::<Vec<Value>>()
    };
    declare("50 GiB").await;
    shop.snapshot().await;
    assert_eq!(told().await, Vec::<Value>::new(), "there is room");
    declare("1 KiB").await;
    shop.snapshot().await;
    let first = told().await;
    assert_eq!((first.len(), &first[0]["type"]), (1, &"storage_near".into()), "{first:?}");
    let about = first[0]["about"].as_str().expect("how much it is");
    assert!(about.contains(" of the storage budget of 1.0 KiB are used: "), "{about}");
    assert_eq!(first[0]["link"], "https://stillpoint.example.org/projects/shop/plan");
    shop.snapshot().await;
    assert_eq!(told().await, Vec::<Value>::new(), "it is known");
    declare("50 GiB").await;
    shop.snapshot().await;
    declare("1 KiB").await;
    shop.snapshot().await;
    assert_eq!(told().await.len(), 1, "once more, since there was room in between");
}

#[tokio::test]
async fn a_snapshot_that_is_still_not_there_after_an_hour_is_told_once() {
    let shop = TestApp::with_shop().await;
    add(&shop, Way::Webhook, "https://example.org/hook".to_owned()).await;
    let store = &shop.test.store;
    let alter = async |sql: &'static str| {
        let mut tx = store.write().await.expect("a transaction");
        sqlx::query(sql).execute(&mut *tx).await.expect("a table");
        store.commit(tx).await.expect("a commit");
    };
    alter("UPDATE schedules SET due_at = 1, next_at = 1 WHERE what = 'snapshot'").await;
    stillpoint::jobs::begin_due(store).await.expect("a readable store");
    let told = async || log(&shop).await.into_iter().map(|delivery| delivery.notice).collect::<Vec<_>>();
    // Those of half a century, which no server began.
    assert_eq!(told().await, [Notice::SnapshotMissed]);
    stillpoint::jobs::tell_late(store).await.expect("a readable store");
    assert_eq!(told().await.len(), 1, "the one that was begun has an hour");
    alter("UPDATE activities SET created_at = created_at - 7200000000 WHERE state = 'pending'").await;
    for _ in 0..2 {
        stillpoint::jobs::tell_late(store).await.expect("a readable store");
        assert_eq!(told().await, [Notice::SnapshotMissed, Notice::SnapshotMissed]);
    }
    // The next one is missed behind it: that is another piece of news, and the last.
    for _ in 0..2 {
        alter("UPDATE schedules SET due_at = 9000000000000000, next_at = 1 WHERE what = 'snapshot'").await;
        stillpoint::jobs::begin_due(store).await.expect("a readable store");
    }
    assert_eq!(told().await.len(), 3);
}

#[tokio::test]
async fn notices_are_managed_from_the_command_line() {
    let doors = Doors::of(TestApp::with_shop().await).await;
    let admin = doors.person(&doors.shop.admin).await;
    let (port, received) = takes_posts(&[204, 500]);
    let stop = CancellationToken::new();
    let posting = tokio::spawn(run(doors.shop.test.store.clone(), post(&["127.0.0.0/8"]), stop.clone()));
    let ask = async |words: &[&str]| {
        let words = words.iter().chain(&["-p", "shop"]).map(|word| (*word).to_owned()).collect();
        let output = doors.command(&admin, words).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(ask(&["integrations"]).await.0, Some(1), "there is none");
    let url = format!("http://127.0.0.1:{port}/hook");
    let (code, said, told) = ask(&["integration:add", "--type", "health.webhook", "--url", &url]).await;
    assert_eq!(code, Some(0), "{told}");
    let mut lines = said.lines();
    let id = lines.next().and_then(|line| line.strip_prefix("Integration: ")).expect("its id").to_owned();
    assert!(lines.next().is_some_and(|line| line.starts_with("Secret: whs_")), "{said}");
    let words = ["integration:add", "-t", "mail", "--recipients", "a@example.org,b@example.org"];
    let (code, said, told) = ask(&[&words[..], &["--notices", "drill_failed,storage_near"]].concat()).await;
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{told}");
    for wrong in [
        &["integration:add", "--type", "webhook", "--recipients", "a@example.org"][..],
        &["integration:add", "--type", "mail", "--url", "https://example.org"],
        &["integration:add", "--type", "mail", "--recipients", "a@example.org", "--notices", "rain"],
        &["integration:add", "--type", "pigeon", "--url", "https://example.org"],
    ] {
        let (code, _, told) = ask(wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}: {told}");
    }
    let (_, table, _) =
        ask(&["integration:list", "--format", "csv", "--columns", "type,address,notices", "--no-header"]).await;
    let of_mail = "mail,a@example.org,\"drill_failed, storage_near\"";
    assert!(table.contains(of_mail) && table.contains("webhook,http://127.0.0.1"), "{table}");

    let (code, _, told) = ask(&["integration:validate", &id]).await;
    assert_eq!((code, told.contains("It was delivered")), (Some(0), true), "{told}");
    received.try_recv().expect("a post");
    let (code, _, told) = ask(&["integration:validate", &id]).await;
    assert_eq!((code, told.contains("it answered 500")), (Some(1), true), "{told}");
    let columns = "notice,state,address,error";
    let (_, table, _) = ask(&["notice:log", &id, "--format", "tsv", "--columns", columns, "--no-header"]).await;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.starts_with(&format!("trial\tgiven_up\t{url}\tit answered 500")), "{table}");

    let (code, said, told) = ask(&["integration:update", &id, "--notices", "drill_failed", "--new-secret"]).await;
    assert_eq!((code, said.starts_with("Secret: whs_")), (Some(0), true), "{told}");
    for wrong in [&["--recipients", "a@example.org"][..], &[], &["--notices", "rain"]] {
        let (code, _, told) = ask(&[&["integration:update", &id], wrong].concat()).await;
        assert_eq!(code, Some(2), "{wrong:?}: {told}");
    }
    let (_, table, _) = ask(&["notice:log", &id, "--no-header", "--format", "tsv"]).await;
    assert_eq!(table.lines().count(), 2, "its log stays: {table}");

    let (code, _, told) = ask(&["integration:delete", &id]).await;
    assert_eq!((code, told.contains("nobody is there to confirm it")), (Some(1), true), "{told}");
    let (code, _, told) = ask(&["integration:delete", &id, "-y"]).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, _, told) = ask(&["integration:delete", &id, "-y"]).await;
    assert_eq!((code, told.contains("There is no integration")), (Some(1), true), "{told}");
    stop.cancel();
    posting.await.expect("it ends when it is told to");
    doors.close().await;
}

#[tokio::test]
async fn an_address_is_changed_and_its_secret_stays_unless_a_new_one_is_asked_for() {
    let shop = TestApp::with_shop().await;
    let app = &shop.test.app;
    let (old, _) = takes_posts(&[204]);
    let (new, received) = takes_posts(&[204]);
    let made = add(&shop, Way::Webhook, format!("http://127.0.0.1:{old}/")).await;
    let secret = made.secret.expect("a webhook has one");
    add(&shop, Way::Mail, "team@example.org".to_owned()).await;
    let update = async |edit: ChannelEdit| notices::update(app, &proof(&shop).await, &made.channel.id, edit).await;
    let signs = async |secret: &Secret| {
        notices::try_out(app, &proof(&shop).await, &made.channel.id).await.expect("on its way");
        send(&shop, &post(&["127.0.0.0/8"])).await;
        let (head, body) = received.recv().expect("a post to the new address");
        let signed = head.iter().find_map(|line| line.strip_prefix("stillpoint-signature: ")).expect("a signature");
        let seconds: i64 = signed.split(['=', ',']).nth(1).and_then(|text| text.parse().ok()).expect("a time");
        signed == signature(secret, Timestamp::from_micros(seconds * 1_000_000), &body)
    };

    let address = Some(format!("http://127.0.0.1:{new}/hook?key=1"));
    let told = Some(vec![Notice::TicketChanged, Notice::DrillFailed, Notice::DrillFailed]);
    let changed = update(ChannelEdit { address, notices: told, secret: None }).await.expect("changed");
    assert_eq!(changed.channel.notices, [Notice::DrillFailed, Notice::TicketChanged]);
    assert!(changed.secret.is_none() && signs(&secret).await, "the secret stays");
    let given = Secret::new("a secret that the receiver has");
    let edit = ChannelEdit { secret: Some(NewSecret::Given(given.clone())), ..ChannelEdit::default() };
    assert!(update(edit).await.expect("changed").secret.is_none() && signs(&given).await);
    let edit = ChannelEdit { secret: Some(NewSecret::Made), ..ChannelEdit::default() };
    let made_anew = update(edit).await.expect("changed").secret.expect("it is shown");
    assert!(signs(&made_anew).await && made_anew != secret);
    update(ChannelEdit::default()).await.expect("nothing is different");

    for (edit, why) in [
        (ChannelEdit { address: Some("ftp://x".to_owned()), ..ChannelEdit::default() }, "no address that a post"),
        (ChannelEdit { notices: Some(Vec::new()), ..ChannelEdit::default() }, "at least one"),
        (ChannelEdit { secret: Some(NewSecret::Given(Secret::new("short"))), ..ChannelEdit::default() }, "16 to"),
    ] {
        let refused = update(edit).await.expect_err("it can't be").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    add(&shop, Way::Webhook, "https://example.org/other".to_owned()).await;
    let edit = ChannelEdit { address: Some("https://example.org/other".to_owned()), ..ChannelEdit::default() };
    assert!(update(edit).await.expect_err("twice").to_string().contains("go there already"));
    let other = stillpoint::domain::ids::ChannelId::parse("0123456789abcdef0123").expect("an id");
    let foreign = notices::update(app, &proof(&shop).await, &other, ChannelEdit::default()).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");

    let audit = app.authorize_project::<ViewAudit>(&shop.admin, &project()).await.expect("an admin");
    let asked = AuditFilter { kinds: vec!["project.notices.update".to_owned()], ..AuditFilter::default() };
    let page = ops::audit::page(app, &ops::audit::Scope::Project(Box::new(audit)), &asked).await.expect("an audit");
    let told: Vec<String> = page.entries.into_iter().map(|entry| entry.about).collect();
    assert_eq!(told.len(), 3, "what was changed, and nothing else: {told:?}");
    assert_eq!(
        told[2],
        "changed the notices that were sent as posts to 127.0.0.1: they go as posts to 127.0.0.1; they are drill_failed, \
         ticket_changed"
    );
    assert!(told.iter().all(|told| !told.contains("key=1")), "an address may hold a password: {told:?}");
}

#[tokio::test]
async fn an_address_is_changed_on_its_page_and_by_the_api() {
    let shop = TestApp::with_shop().await;
    let made = add(&shop, Way::Webhook, "https://example.org/hook".to_owned()).await;
    let house = House::of(shop).await;
    let mut admin = house.logged_in("admin@example.org").await;
    let id = made.channel.id.to_string();
    let here = "/projects/shop/notices";
    let fields = [("project", "shop"), ("channel", id.as_str()), ("when[drill_failed]", "on")];
    let wrong = [&fields[..], &[("address", "nowhere")]].concat();
    let page = admin.submit(here, "edit-channel", &wrong).await.text;
    assert!(page.contains("This is no address that a post can go to.") && page.contains("value=\"nowhere\""), "{page}");
    let right = [&fields[..], &[("address", "https://example.org/new"), ("new_secret", "on")]].concat();
    let page = admin.submit(here, "edit-channel", &right).await.text;
    assert!(page.contains("https://example.org/new") && page.contains("whs_"), "{page}");
    assert!(!admin.get(here).await.text.contains("whs_"), "it is shown once");

    let path = format!("/projects/shop/notices/channels/{id}");
    let changed = house.api(&admin, "PATCH", &path, json!({"notices": ["restored"]})).await;
    assert_eq!((changed.status, &changed.json["secret"]), (200, &Value::Null), "{}", changed.json);
    assert_eq!(
        (&changed.json["address"], &changed.json["notices"]),
        (&json!("https://example.org/new"), &json!(["restored"]))
    );
    let renewed = house.api(&admin, "PATCH", &path, json!({"renew_secret": true})).await;
    assert!(renewed.json["secret"].as_str().is_some_and(|secret| secret.starts_with("whs_")), "{}", renewed.json);
    house.shop.test.member("viewer@example.org", TypeRole::Viewer).await;
    let viewer = house.logged_in("viewer@example.org").await;
    assert_eq!(house.api(&viewer, "PATCH", &path, json!({})).await.status, 403);
    house.close().await;
}
