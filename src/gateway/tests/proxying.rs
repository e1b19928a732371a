//! A request's way, without any hold.

use super::*;

#[tokio::test]
async fn a_request_reaches_its_site_with_its_host_and_an_honest_origin() {
    let stage = Stage::new(Controller::SameProcess).await;
    let mut request = stage.request("GET", "/told?q=1");
    request.headers_mut().insert("x-forwarded-for", "10.9.8.7".parse().expect("a value"));
    let (status, told) = text(stage.send(request).await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(told.contains("host: \"shop.test\""), "{told}");
    assert!(told.contains("x-forwarded-for: \"127.0.0.1\"") && !told.contains("10.9.8.7"), "{told}");
}

#[tokio::test]
async fn head_no_content_and_bodies_of_unknown_length_pass() {
    let stage = Stage::new(Controller::SameProcess).await;
    let head = stage.send(stage.request("HEAD", "/told")).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_ne!(head.headers()["content-length"], "0");
    assert_eq!(stage.get("/nothing").await, (StatusCode::NO_CONTENT, String::new()));
    for method in ["GET", "POST"] {
        let request = format!(
            "{method} /echo HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        read_until(&mut stage.connect(&request).await, "hello").await;
    }
    let expecting = format!("POST /echo HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    let mut client = stage.connect(&expecting).await;
    read_until(&mut client, "100 Continue\r\n\r\n").await;
    client.write_all(b"ok").await.expect("the gateway reads");
    read_until(&mut client, "\r\n\r\nok").await;
    assert_eq!(stage.traffic().running, 0);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let stage = Stage::new(Controller::SameProcess).await;
    let write = format!("POST /write HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 0\r\n\r\n");
    let mut client = stage.connect("").await;
    for _ in 0..3 {
        client.write_all(write.as_bytes()).await.expect("still open");
        read_until(&mut client, "written").await;
    }
}

#[tokio::test]
async fn an_unknown_or_missing_host_gets_a_polite_page() {
    let stage = Stage::new(Controller::SameProcess).await;
    let mut request = stage.request("GET", "/");
    request.headers_mut().insert("host", "other.test".parse().expect("a value"));
    request.headers_mut().insert("accept", "text/html,*/*".parse().expect("a value"));
    let (status, page) = text(stage.send(request).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.starts_with("<!doctype html>"), "{page}");
    for hosts in ["", "host: shop.test\r\nhost: other.test\r\n"] {
        let mut client = stage.connect(&format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        read_until(&mut client, "400 Bad Request").await;
    }
    let absolute = format!("GET http://{HOST}/told HTTP/1.1\r\nhost: other.test\r\n\r\n");
    let told = read_until(&mut stage.connect(&absolute).await, "x-forwarded-proto").await;
    assert!(told.contains("host: \"shop.test\""), "{told}");
}

#[tokio::test]
async fn a_site_that_is_down_gets_502_as_text() {
    let stage = Stage::new(Controller::SameProcess).await;
    let (listener, gone) = loopback().await;
    drop(listener);
    let environment = stage.environment.clone();
    stage.gateway.set_routes(vec![Route { host: HOST.to_owned(), environment, upstream: uri(gone) }]);
    let (status, page) = stage.get("/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(page.starts_with("The site does not answer"), "{page}");
    assert_eq!(stage.traffic().running, 0);
}

#[tokio::test]
async fn a_site_that_hangs_gets_504_and_its_request_still_counts() {
    let settings = Settings { response: Duration::from_millis(50), ..Settings::default() };
    let stage = Stage::with(Controller::SameProcess, settings).await;
    assert_eq!(stage.get("/slow").await.0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(stage.traffic().running, 1);
    stage.site.finish.send_replace(true);
    until(|| stage.traffic().running == 0).await;
    assert_eq!(stage.site.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_handler_without_a_client_is_waited_for_only_so_long() {
    let settings = Settings { abandoned: Duration::from_millis(50), ..Settings::default() };
    let stage = Stage::with(Controller::SameProcess, settings).await;
    for path in ["/slow", "/drip"] {
        let client = stage.connect(&format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        until(|| stage.traffic().running == 1).await;
        drop(client);
        until(|| stage.traffic().running == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_50_mb_streams_through() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: u64 = 800;
    let stage = Stage::new(Controller::SameProcess).await;
    let site = Arc::clone(&stage.site);
    let most = Arc::new(AtomicU64::new(0));
    let underway = Arc::clone(&most);
    let chunks = futures::stream::iter(1..=CHUNKS).map(move |sent| {
        let arrived = site.uploaded.load(Ordering::SeqCst);
        underway.fetch_max(sent * CHUNK as u64 - arrived, Ordering::SeqCst);
        Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from_static(&[7; CHUNK])))
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::put(format!("http://{}/upload", stage.address)).header("host", HOST);
    let request = request.body(http_body_util::StreamBody::new(chunks)).expect("a well-formed request");
    let (status, arrived) = text(client.request(request).await.expect("the gateway answers")).await;
    assert_eq!((status, arrived), (StatusCode::OK, (CHUNKS * CHUNK as u64).to_string()));
    // What is neither sent nor arrived lies in sockets' buffers and the gateway.
    let most = most.load(Ordering::SeqCst);
    assert!(most < 24_000_000, "{most} bytes were under way");
}

/// A site that answers once on each connection and hangs up on the second request, as one that just timed it out.
async fn forgetful() -> (SocketAddr, Arc<AtomicU64>) {
    let (listener, address) = loopback().await;
    let requests = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                read_until(&mut stream, "\r\n\r\n").await;
                seen.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.expect("the gateway reads");
                read_until(&mut stream, "\r\n\r\n").await;
                seen.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_stale_connection_is_tried_again_only_where_that_is_safe() {
    let stage = Stage::new(Controller::SameProcess).await;
    let (upstream, requests) = forgetful().await;
    let environment = stage.environment.clone();
    stage.gateway.set_routes(vec![Route { host: HOST.to_owned(), environment, upstream: uri(upstream) }]);
    assert_eq!(stage.get("/").await.0, StatusCode::OK);
    assert_eq!(stage.get("/").await.0, StatusCode::OK);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    let (status, _) = text(stage.send(stage.request("POST", "/")).await).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_does_not_wait_for_streams() {
    let stage = Stage::new(Controller::SameProcess).await;
    let mut events = stage.connect(&format!("GET /events HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
    read_until(&mut events, "data: 0").await;
    let upgrade = format!("GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    let mut socket = stage.connect(&upgrade).await;
    read_until(&mut socket, "\r\n\r\n").await;
    let slow = stage.begin("GET", "/slow");
    until(|| stage.site.started.load(Ordering::SeqCst) == 1).await;
    let begun = std::time::Instant::now();
    stage.shutdown.cancel();
    until(|| std::net::TcpStream::connect(stage.address).is_err()).await;
    stage.site.finish.send_replace(true);
    assert_eq!(slow.await.expect("it ends").0, StatusCode::OK);
    stage.serving.await.expect("no panic").expect("a clean stop");
    assert!(begun.elapsed() < Settings::default().stop);
}
