//! The browser's end of a live stream (`events.rs` is the server's).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Event, EventSource, MessageEvent};

use super::place::place;

/// After a stream that the browser gave up: proxies answer 502 while a server restarts.
const RETRY: Duration = Duration::from_secs(5);

pub struct Stream {
    address: String,
    /// Number of the last event.
    last: RefCell<String>,
    source: RefCell<Option<EventSource>>,
}

impl Stream {
    pub fn new(address: String, after: i64) -> Rc<Self> {
        Rc::new(Self { address, last: RefCell::new(after.to_string()), source: RefCell::default() })
    }

    /// Opens the stream, and goes on where it broke off. The listeners live as long as the page.
    pub fn open(self: Rc<Self>) {
        let address = [self.address.as_str(), "?after=", self.last.borrow().as_str()].concat();
        let Ok(source) = EventSource::new(&address) else { return };
        let this = self.clone();
        listen(&source, "message", move |event| this.receive(event.unchecked_ref()));
        listen(&source, "open", |_| show("live"));
        let this = self.clone();
        listen(&source, "end", move |_| this.close());
        let this = self.clone();
        listen(&source, "error", move |_| this.clone().broken());
        self.source.replace(Some(source));
    }

    fn receive(&self, message: &MessageEvent) {
        let number = message.last_event_id();
        if !number.is_empty() {
            self.last.replace(number);
        }
        // A place that this page does not have is no harm: what goes there isn't shown here.
        let _placed = message.data().as_string().and_then(|text| place(&text));
    }

    fn close(&self) {
        if let Some(source) = self.source.take() {
            source.close();
        }
        show("");
    }

    fn broken(self: Rc<Self>) {
        show("lost");
        let given_up = self.source.borrow().as_ref().is_some_and(|source| source.ready_state() == EventSource::CLOSED);
        if given_up {
            self.source.take();
            set_timeout(move || self.open(), RETRY);
        }
    }
}

/// How the stream stands: quiet, a word beside a heading.
fn show(state: &str) {
    if let Some(link) = document().get_element_by_id("link") {
        let _set = link.set_attribute("data-state", state);
    }
}

fn listen(source: &EventSource, event: &str, act: impl Fn(Event) + 'static) {
    let closure = Closure::<dyn Fn(Event)>::new(act);
    let _added = source.add_event_listener_with_callback(event, closure.as_ref().unchecked_ref());
    closure.forget();
}
