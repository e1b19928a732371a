//! How many statements something asks of the database: those that are logged while its span is entered, on whatever thread.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use stillpoint::store::Store;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Instrument as _, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

const SPAN: &str = "counted statements";
const QUERY: &str = "sqlx::query";

/// As many as the store opens at most.
const CONNECTIONS: usize = 8;

/// One test after the other counts.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counter;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Counter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target() == QUERY || metadata.name() == SPAN {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    /// What nobody counts costs nothing: its text is not even made.
    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let is_inside = || context.lookup_current().is_some_and(|span| span.name() == SPAN);
        metadata.name() == SPAN || (metadata.target() == QUERY && is_inside())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Reading);
    }
}

/// What a connection that is opened meanwhile asks for first is not counted.
struct Reading;

impl Visit for Reading {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" && value.starts_with("SELECT") {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// What it gives, and how many statements it took.
pub async fn counted<T>(store: &Store, work: impl Future<Output = T>) -> (T, u64) {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Counter);
        tracing::subscriber::set_global_default(subscriber).expect("nothing else listens in this process");
    });
    let _turn = TURN.lock().await;
    let before = COUNT.load(Ordering::Relaxed);
    let given = work.instrument(tracing::info_span!("counted statements")).await;
    // A statement is logged when its connection is done with it: each of them is, once it has answered the next one.
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = store.read().await.expect("a connection");
        sqlx::query("SELECT 1").execute(&mut *connection).await.expect("it answers");
        connections.push(connection);
    }
    (given, COUNT.load(Ordering::Relaxed) - before)
}
