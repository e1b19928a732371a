//! The browser's end of a live stream (`events.rs` is the server's).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::*;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Event, EventSource, MessageEvent};

use super::Link;

/// After a stream that the browser gave up: proxies answer 502 while a server restarts.
const RETRY: Duration = Duration::from_secs(5);

/// What is done with an event's text.
type Handler = Rc<dyn Fn(&str)>;

pub struct Stream {
    address: String,
    last: Cell<i64>,
    link: RwSignal<Link>,
    handlers: RefCell<Vec<(&'static str, Handler)>>,
    source: RefCell<Option<EventSource>>,
}

impl Stream {
    pub fn new(address: String, after: i64, link: RwSignal<Link>) -> Rc<Self> {
        let (handlers, source) = (RefCell::default(), RefCell::default());
        Rc::new(Self { address, last: Cell::new(after), link, handlers, source })
    }

    /// What can't be read is from another version of the server: the page is loaded again.
    pub fn on<T: DeserializeOwned>(&self, event: &'static str, act: impl Fn(T) + 'static) {
        let handler = move |text: &str| match serde_json::from_str(text) {
            Ok(value) => act(value),
            Err(_) => {
                let _reloaded = window().location().reload();
            }
        };
        self.handlers.borrow_mut().push((event, Rc::new(handler)));
    }

    /// Opens the stream, and goes on where it broke off. The listeners live as long as the page.
    pub fn open(self: Rc<Self>) {
        let Ok(source) = EventSource::new(&format!("{}?after={}", self.address, self.last.get())) else { return };
        for (event, handler) in self.handlers.borrow().iter().cloned() {
            let this = self.clone();
            listen(&source, event, move |event| {
                let Some(message) = event.dyn_ref::<MessageEvent>() else { return };
                if let Ok(number) = message.last_event_id().parse() {
                    this.last.set(number);
                }
                handler(&message.data().as_string().unwrap_or_default());
            });
        }
        let link = self.link;
        listen(&source, "open", move |_| link.set(Link::Live));
        let this = self.clone();
        listen(&source, "end", move |_| this.close());
        let this = self.clone();
        listen(&source, "error", move |_| this.clone().broken());
        self.source.replace(Some(source));
    }

    fn close(&self) {
        if let Some(source) = self.source.take() {
            source.close();
        }
        self.link.set(Link::Off);
    }

    fn broken(self: Rc<Self>) {
        let given_up = self.source.borrow().as_ref().is_some_and(|source| source.ready_state() == EventSource::CLOSED);
        if self.source.borrow().is_some() {
            self.link.set(Link::Reconnecting);
        }
        if given_up {
            self.source.take();
            set_timeout(move || self.open(), RETRY);
        }
    }
}

fn listen(source: &EventSource, event: &str, act: impl Fn(Event) + 'static) {
    let closure = Closure::<dyn Fn(Event)>::new(act);
    let _added = source.add_event_listener_with_callback(event, closure.as_ref().unchecked_ref());
    closure.forget();
}
