//! Notices: what happens is told by mail and by signed posts, tried again when it does not arrive, and never sent inside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;
use stillpoint::authz::ManageNotices;
use stillpoint::domain::Secret;
use stillpoint::domain::notice::{Delivery, DeliveryState, Notice, Way};
use stillpoint::domain::policy::TypeRole;
use stillpoint::jobs::postman::{Post, send_due, signature};
use stillpoint::ops::Error;
use stillpoint::ops::notices::{self, ChannelRequest, NewChannel};

use crate::support::{Shop, TestApp, project};

/// What somebody received: the head's lines, then the body.
type Received = (Vec<String>, String);

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
            let mut stream = stream;
            write!(
                stream,
                "HTTP/1.1 {status} Said\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .expect("it reads");
            if sender.send((head, String::from_utf8(body).expect("UTF-8"))).is_err() {
                return;
            }
        }
    });
    (port, received)
}

/// A mail server that takes everything.
fn takes_mail() -> (u16, Receiver<Received>) {
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

fn post(inside: &[&str]) -> Post {
    Post {
        smtp: None,
        from: None,
        inside: inside.iter().map(|text| text.parse().expect("a network")).collect(),
        console: "https://stillpoint.example.org/".to_owned(),
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
    let at = stillpoint::domain::Timestamp::from_micros(seconds * 1_000_000);
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
