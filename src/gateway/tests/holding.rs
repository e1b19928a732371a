//! Holds, from this process and over the wire alike.

use super::*;

/// Clients that write without pause, or every `pace`, until the returned token is cancelled; each gives the number of
/// its requests and how many of them failed.
fn writers(stage: &Stage, count: u32, pace: Duration) -> (CancellationToken, Vec<JoinHandle<(u64, u64)>>) {
    let stop = CancellationToken::new();
    let writers = (0..count).map(|_| {
        let (client, request, stop) = (stage.client.clone(), stage.request("POST", "/write"), stop.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pace.max(Duration::from_micros(1)));
            let (mut sent, mut failed) = (0, 0);
            while !stop.is_cancelled() {
                if !pace.is_zero() {
                    ticks.tick().await;
                }
                sent += 1;
                let served = match client.request(request.clone()).await {
                    Ok(response) => text(response).await.0 == StatusCode::OK,
                    Err(_) => false,
                };
                failed += u64::from(!served);
            }
            (sent, failed)
        })
    });
    let writers = writers.collect();
    (stop, writers)
}

async fn totals(writers: Vec<JoinHandle<(u64, u64)>>) -> (u64, u64) {
    let mut totals = (0, 0);
    for writer in writers {
        let (sent, failed) = writer.await.expect("the writer ends by itself");
        totals = (totals.0 + sent, totals.1 + failed);
    }
    totals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_slips_through_a_hold_under_load() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let (stop, writers) = writers(&stage, 8, Duration::ZERO);
        for _ in 0..20 {
            let held = stage.hold(HoldKind::Snapshot, &Limits::default()).await.expect("writes are short");
            stage.site.held.store(true, Ordering::SeqCst);
            let served = stage.site.served.load(Ordering::SeqCst);
            stage.until_waiting(8).await;
            assert_eq!(stage.site.served.load(Ordering::SeqCst), served);
            held.confirm().await.expect("nothing passed");
            assert!(held.is_standing());
            stage.site.held.store(false, Ordering::SeqCst);
            let report = held.release().await.expect("in time");
            assert_eq!((report.waited, report.lost), (8, 0));
            assert!(report.closed >= report.drain && report.closed >= report.longest_wait);
        }
        stop.cancel();
        let (sent, failed) = totals(writers).await;
        assert_eq!(failed, 0);
        assert_eq!(stage.site.served.load(Ordering::SeqCst), sent);
        assert_eq!(stage.site.slipped.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_holds_lose_no_request() {
    let stage = Stage::new(Controller::OverTheWire).await;
    let (stop, writers) = writers(&stage, 8, Duration::from_millis(40));
    let mut closed = Vec::new();
    let mut rounds = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..200 {
        rounds.tick().await;
        let held = stage.hold(HoldKind::Snapshot, &Limits::default()).await.expect("writes are short");
        let report = held.release().await.expect("in time");
        assert_eq!(report.lost, 0);
        closed.push(report.closed);
    }
    stop.cancel();
    let (sent, failed) = totals(writers).await;
    assert_eq!(failed, 0);
    assert_eq!(stage.site.served.load(Ordering::SeqCst), sent);
    closed.sort();
    println!("closed over 200 holds, {sent} requests: p50 {:?}, p99 {:?}", closed[100], closed[198]);
    assert!(closed[100] < Duration::from_millis(100));
}

#[tokio::test]
async fn a_long_request_delays_the_hold_and_then_is_named() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let slow = stage.begin("PUT", "/slow?secret=1");
        until(|| stage.site.started.load(Ordering::SeqCst) == 1).await;
        let refused = stage.hold(HoldKind::Swap, &quick()).await.expect_err("it does not end");
        let HoldError::Busy { method, path, age, others } = &refused else { panic!("{refused}") };
        assert_eq!((method.as_str(), path.as_str(), *others), ("PUT", "/slow", 0));
        assert!(*age >= Duration::from_millis(100));
        assert_eq!(stage.traffic().standing, Standing::Open);
        assert_eq!(stage.write().await, StatusCode::OK);

        let patient = Limits { calm_wait: Duration::from_secs(20), drain: Duration::from_millis(5), ..quick() };
        let mut holding = std::pin::pin!(stage.hold(HoldKind::Snapshot, &patient));
        tokio::select! {
            _ = &mut holding => panic!("held while the long request runs"),
            status = stage.write() => assert_eq!(status, StatusCode::OK),
        }
        stage.site.finish.send_replace(true);
        let held = holding.await.expect("the long request has ended");
        assert_eq!(slow.await.expect("it ends").0, StatusCode::OK);
        held.release().await.expect("in time");
    }
}

#[tokio::test]
async fn requests_that_wait_for_a_drain_that_fails_are_not_lost() {
    let stage = Stage::new(Controller::OverTheWire).await;
    let slow = stage.begin("GET", "/slow");
    until(|| stage.traffic().running == 1).await;
    let limits = Limits { calm_wait: Duration::ZERO, ..quick() };
    let (refused, status) = tokio::join!(stage.hold(HoldKind::Swap, &limits), async {
        until(|| stage.traffic().standing == Standing::Held).await;
        stage.write().await
    });
    assert!(matches!(refused, Err(HoldError::Busy { .. })), "{refused:?}");
    assert_eq!(status, StatusCode::OK);
    stage.site.finish.send_replace(true);
    slow.await.expect("it ends");
}

#[tokio::test]
async fn a_drain_that_failed_is_tried_again_when_the_long_request_has_ended() {
    let stage = Stage::new(Controller::SameProcess).await;
    let slow = stage.begin("GET", "/slow");
    until(|| stage.traffic().running == 1).await;
    // Too young at first to be waited for: found in the way only once the gate is closed.
    let limits = Limits { calm_wait: Duration::from_secs(20), drain: Duration::from_millis(300), ..quick() };
    let (held, ()) = tokio::join!(stage.hold(HoldKind::Snapshot, &limits), async {
        until(|| stage.traffic().standing == Standing::Held).await;
        until(|| stage.traffic().standing == Standing::Open).await;
        stage.site.finish.send_replace(true);
    });
    let report = held.expect("it has ended").release().await.expect("in time");
    assert_eq!(report.attempts, 2);
    assert!(report.closed < Duration::from_millis(300));
    slow.await.expect("it ends");
}

#[tokio::test]
async fn a_request_counts_until_its_handler_ends_even_when_the_client_has_left() {
    for (path, seen) in [("/slow", ""), ("/drip", "begin")] {
        let stage = Stage::new(Controller::SameProcess).await;
        let mut client = stage.connect(&format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        read_until(&mut client, seen).await;
        until(|| stage.traffic().running == 1).await;
        drop(client);
        let refused = stage.hold(HoldKind::Snapshot, &quick()).await.expect_err("its handler still runs");
        assert!(matches!(refused, HoldError::Busy { .. }), "{refused}");
        stage.site.finish.send_replace(true);
        until(|| stage.traffic().running == 0).await;
        assert_eq!(stage.site.served.load(Ordering::SeqCst), 1);
        let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("it has ended");
        held.release().await.expect("in time");
    }
}

#[tokio::test]
async fn an_event_stream_does_not_block_the_drain_and_flows_during_it() {
    let stage = Stage::new(Controller::SameProcess).await;
    let mut client = stage.connect(&format!("GET /events HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
    read_until(&mut client, "data: 0").await;
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("streams are left out");
    stage.site.events.send_replace(7);
    read_until(&mut client, "data: 7").await;
    held.release().await.expect("in time");
}

#[tokio::test]
async fn a_websocket_works_and_its_frames_to_the_site_wait() {
    let stage = Stage::new(Controller::SameProcess).await;
    let upgrade = format!("GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    let mut client = stage.connect(&upgrade).await;
    read_until(&mut client, "\r\n\r\n").await;
    client.write_all(b"a").await.expect("the gateway reads");
    read_until(&mut client, "a").await;

    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("websockets are left out");
    client.write_all(b"b").await.expect("the gateway reads");
    // A request that was sent later has reached the gateway: so has the frame.
    let waiting = stage.begin("POST", "/write");
    stage.until_waiting(1).await;
    assert_eq!(stage.site.from_socket.load(Ordering::SeqCst), 1);
    held.release().await.expect("in time");
    read_until(&mut client, "b").await;
    assert_eq!(stage.site.from_socket.load(Ordering::SeqCst), 2);
    assert_eq!(waiting.await.expect("it went on").0, StatusCode::OK);
}

#[tokio::test]
async fn a_snapshot_hold_opens_at_its_ceiling_and_its_release_is_refused() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let limits = Limits { ceiling: Duration::from_millis(150), ..quick() };
        let held = stage.hold(HoldKind::Snapshot, &limits).await.expect("nothing runs");
        let (status, _) = stage.begin("POST", "/write").await.expect("it goes on");
        assert_eq!(status, StatusCode::OK);
        assert!(!held.is_standing());
        assert_eq!(held.confirm().await, Err(HoldError::Lapsed));
        assert_eq!(held.release().await, Err(HoldError::Lapsed));
    }
}

#[tokio::test]
async fn a_swap_hold_fails_closed_at_its_ceiling_until_it_is_opened() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let limits = Limits { ceiling: Duration::from_millis(150), ..quick() };
        let held = stage.hold(HoldKind::Swap, &limits).await.expect("nothing runs");
        let waiting = stage.begin("POST", "/write");
        let (status, headers) = waiting.await.expect("it is answered");
        assert_eq!((status, headers["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, b"5".as_slice()));
        assert_eq!(stage.write().await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(held.release().await, Err(HoldError::Lapsed));
        assert_eq!(stage.traffic().standing, Standing::Shut);

        let snapshot = stage.hold(HoldKind::Snapshot, &quick()).await.expect_err("no snapshot of a half-swapped site");
        assert!(matches!(snapshot, HoldError::Shut { .. }), "{snapshot}");
        let recovery = stage.hold(HoldKind::Swap, &quick()).await.expect("a recovery may");
        recovery.release().await.expect("in time");
        assert_eq!(stage.write().await, StatusCode::OK);
        assert_eq!(stage.site.served.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn dropped_a_snapshot_hold_opens_and_a_swap_hold_stays_closed() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
        let waiting = stage.begin("POST", "/write");
        stage.until_waiting(1).await;
        drop(held);
        assert_eq!(waiting.await.expect("it goes on").0, StatusCode::OK);

        drop(stage.hold(HoldKind::Swap, &quick()).await.expect("nothing runs"));
        until(|| stage.traffic().standing == Standing::Shut).await;
        assert_eq!(stage.write().await, StatusCode::SERVICE_UNAVAILABLE);
        stage.gate.open(&stage.environment).await.expect("it is there");
        assert_eq!(stage.write().await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_swap_that_went_wrong_keeps_the_gate_shut_until_its_recovery_opens_it() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let held = stage.hold(HoldKind::Swap, &quick()).await.expect("nothing runs");
        let waiting = stage.begin("POST", "/write");
        stage.until_waiting(1).await;
        held.shut("the second swap failed").await.expect("it is there");
        assert_eq!(waiting.await.expect("it is answered").0, StatusCode::SERVICE_UNAVAILABLE);
        stage.gateway.open(&stage.environment);
        assert_eq!(stage.write().await, StatusCode::OK);
        stage.gate.shut(&stage.environment, "found unfinished").await.expect("it is there");
        assert_eq!(stage.write().await, StatusCode::SERVICE_UNAVAILABLE);
        stage.gate.open(&stage.environment).await.expect("it is there");
        assert_eq!(stage.write().await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_late_owner_cannot_shut_what_a_recovery_opened() {
    let stage = Stage::new(Controller::SameProcess).await;
    let limits = Limits { ceiling: Duration::from_millis(50), ..quick() };
    let held = stage.hold(HoldKind::Swap, &limits).await.expect("nothing runs");
    until(|| stage.traffic().standing == Standing::Shut).await;
    stage.gateway.open(&stage.environment);
    assert_eq!(held.shut("too late").await, Err(HoldError::Lapsed));
    assert_eq!(stage.write().await, StatusCode::OK);
}

#[tokio::test]
async fn more_requests_than_may_wait_are_told_to_come_back() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let limits = Limits { queue: 2, ..quick() };
        let held = stage.hold(HoldKind::Snapshot, &limits).await.expect("nothing runs");
        let waiting = [stage.begin("POST", "/write"), stage.begin("POST", "/write")];
        stage.until_waiting(2).await;
        let (status, headers) = stage.begin("POST", "/write").await.expect("it is answered");
        assert_eq!((status, headers["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, b"5".as_slice()));
        let report = held.release().await.expect("in time");
        assert_eq!((report.waited, report.lost), (2, 1));
        for request in waiting {
            assert_eq!(request.await.expect("it goes on").0, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn an_announced_maintenance_tells_when_to_come_back() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let announced = Some(Duration::from_secs(60 * 60));
        let limits = Limits { queue: 0, announced, ceiling: Duration::from_secs(120), ..quick() };
        let held = stage.hold(HoldKind::Swap, &limits).await.expect("nothing runs");
        let (status, headers) = stage.begin("POST", "/write").await.expect("it is answered");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let told: u64 = headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
        assert!((3_000..=3_600).contains(&told), "{told} s of an hour");
        held.release().await.expect("in time");
        assert_eq!(stage.write().await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_maintenance_that_takes_longer_than_announced_tells_to_come_back_soon() {
    let stage = Stage::new(Controller::SameProcess).await;
    let limits = Limits { queue: 0, announced: Some(Duration::ZERO), ..quick() };
    let held = stage.hold(HoldKind::Swap, &limits).await.expect("nothing runs");
    let (status, headers) = stage.begin("POST", "/write").await.expect("it is answered");
    assert_eq!((status, headers["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, b"5".as_slice()));
    held.release().await.expect("in time");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_never_reaches_the_site() {
    let stage = Stage::new(Controller::SameProcess).await;
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
    let client = stage.connect(&format!("POST /write HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 0\r\n\r\n")).await;
    stage.until_waiting(1).await;
    drop(client);
    stage.until_waiting(0).await;
    held.release().await.expect("in time");
    assert_eq!(stage.traffic().running, 0);
    assert_eq!(stage.site.served.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_hold_at_a_time() {
    let stage = Stage::new(Controller::SameProcess).await;
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
    let second = stage.hold(HoldKind::Swap, &quick()).await.expect_err("it is held");
    assert_eq!(second, HoldError::AlreadyHeld);
    assert!(held.is_standing());
    held.release().await.expect("the second attempt did not disturb it");
}

#[tokio::test]
async fn all_gates_or_none() {
    let here = Stage::new(Controller::SameProcess).await;
    let there = Stage::new(Controller::OverTheWire).await;
    let gates = [here.gate.clone(), there.gate.clone()];
    let slow = there.begin("GET", "/slow");
    until(|| there.traffic().running == 1).await;
    let refused = hold(&gates, &here.environment, HoldKind::Swap, &quick()).await.expect_err("one is busy");
    assert!(matches!(refused, HoldError::Busy { .. }), "{refused}");
    for stage in [&here, &there] {
        assert_eq!(stage.write().await, StatusCode::OK);
    }
    there.site.finish.send_replace(true);
    slow.await.expect("it ends");
    let held = hold(&gates, &here.environment, HoldKind::Swap, &quick()).await.expect("both are idle");
    assert_eq!((here.traffic().standing, there.traffic().standing), (Standing::Held, Standing::Held));
    held.release().await.expect("in time");

    let (listener, gone) = loopback().await;
    drop(listener);
    let gates = [here.gate.clone(), Gate::Remote(Remote::new(uri(gone), Secret::new(KEY)))];
    let refused = hold(&gates, &here.environment, HoldKind::Snapshot, &quick()).await.expect_err("one is gone");
    assert!(matches!(refused, HoldError::Unreachable { .. }), "{refused}");
    assert_eq!(here.traffic().standing, Standing::Open);
    assert_eq!(hold(&[], &here.environment, HoldKind::Snapshot, &quick()).await.err(), Some(HoldError::NoGate));
}

#[tokio::test]
async fn a_gate_obeys_only_who_has_its_key() {
    let stage = Stage::new(Controller::SameProcess).await;
    let address = uri(control(&stage.gateway).await);
    for key in ["", "a key for testz", "a key for tests."] {
        let gate = Gate::Remote(Remote::new(address.clone(), Secret::new(key)));
        let refused = gate.shut(&stage.environment, "an intruder").await;
        assert!(matches!(refused, Err(HoldError::Denied { .. })), "{refused:?}");
    }
    assert_eq!(stage.write().await, StatusCode::OK);
}

#[tokio::test]
async fn a_gate_that_was_restarted_says_so() {
    let stage = Stage::new(Controller::SameProcess).await;
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
    let before = order::Reference { hold: order::HoldId::random(), epoch: Epoch::random() };
    for act in [order::Act::Confirm(before.clone()), order::Act::Renew(before.clone()), order::Act::Release(before)] {
        assert_eq!(stage.gate.obey(&stage.environment, act).await.err(), Some(HoldError::Restarted));
    }
    held.release().await.expect("in time");
}

/// A controller whose process dies: nothing of it runs any more, not even its drop.
fn killed(gate: Gate, environment: EnvironmentId, kind: HoldKind) {
    let dies = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let limits = Limits { lease: Duration::from_millis(200), ..quick() };
        let held = runtime.block_on(hold(&[gate], &environment, kind, &limits)).expect("nothing runs");
        std::mem::forget(held);
        runtime.shutdown_background();
    });
    dies.join().expect("it held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_controller_dies_the_gate_ends_the_hold_by_itself() {
    for (kind, answer) in [(HoldKind::Snapshot, StatusCode::OK), (HoldKind::Swap, StatusCode::SERVICE_UNAVAILABLE)] {
        let stage = Stage::new(Controller::OverTheWire).await;
        killed(stage.gate.clone(), stage.environment.clone(), kind);
        assert_eq!(stage.traffic().standing, Standing::Held);
        assert_eq!(stage.write().await, answer);
    }
}

#[tokio::test]
async fn a_hold_that_is_renewed_outlives_its_lease() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let limits = Limits { lease: Duration::from_millis(200), ..quick() };
        let held = stage.hold(HoldKind::Snapshot, &limits).await.expect("nothing runs");
        let begun = std::time::Instant::now();
        until(|| begun.elapsed() > Duration::from_millis(600)).await;
        assert!(held.is_standing());
        let report = held.release().await.expect("it was renewed");
        assert!(report.closed > Duration::from_millis(600));
    }
}

#[tokio::test]
async fn a_hold_that_is_given_up_half_way_leaves_the_gate_open() {
    for controller in BOTH {
        let stage = Stage::new(controller).await;
        let slow = stage.begin("GET", "/slow");
        until(|| stage.traffic().running == 1).await;
        let limits = Limits { calm_wait: Duration::ZERO, drain: Duration::from_secs(20), ..quick() };
        let mut holding = Box::pin(stage.hold(HoldKind::Swap, &limits));
        tokio::select! {
            _ = &mut holding => panic!("held while a request runs"),
            () = until(|| stage.traffic().standing == Standing::Held) => {}
        }
        drop(holding);
        until(|| stage.traffic().standing == Standing::Open).await;
        stage.site.finish.send_replace(true);
        slow.await.expect("it ends");
    }
}

#[tokio::test]
async fn waiting_requests_are_let_through_in_order_of_arrival() {
    let stage = Stage::new(Controller::SameProcess).await;
    let barrier = stage.gateway.barrier(&stage.environment);
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
    let mut entering = Vec::new();
    for arrived in 1..=20 {
        let barrier = Arc::clone(&barrier);
        let path = http::uri::PathAndQuery::from_static("/");
        let what = state::What { method: http::Method::GET, path };
        entering.push(tokio::spawn(async move { barrier.enter(what, 100).await }));
        stage.until_waiting(arrived).await;
    }
    held.release().await.expect("in time");
    let mut tickets = Vec::new();
    for entered in entering {
        tickets.push(entered.await.expect("no panic").expect("let through"));
    }
    assert!(tickets.is_sorted_by_key(barrier::Ticket::number));
}

#[tokio::test]
async fn new_routes_keep_a_hold_and_the_requests_that_wait() {
    let stage = Stage::new(Controller::SameProcess).await;
    let held = stage.hold(HoldKind::Snapshot, &quick()).await.expect("nothing runs");
    let waiting = stage.begin("POST", "/write");
    stage.until_waiting(1).await;
    stage.gateway.set_routes(Vec::new());
    let environment = stage.environment.clone();
    stage.gateway.set_routes(vec![Route { host: "SHOP.test".to_owned(), environment, upstream: uri(stage.upstream) }]);
    held.confirm().await.expect("the same barrier");
    held.release().await.expect("in time");
    assert_eq!(waiting.await.expect("it goes on").0, StatusCode::OK);
}
