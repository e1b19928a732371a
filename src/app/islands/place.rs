//! Puts what a live stream sends into the page, and instants into the browser's own zone.
//!
//! **Invariant:** HTML comes from our own server alone, which has escaped what people wrote in it.

use js_sys::{Date, JSON};
use leptos::prelude::document;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

/// Rows of a list that was left open for long; older ones are a page away.
const MOST: u32 = 60;

/// Carries out one event: an order, a line break, HTML. Orders (`events::Place` writes them) are `fill ID`, `append ID`
/// and `first LIST ID`: the row `ID` anew where it stands, or else at the list's beginning.
pub fn place(text: &str) -> Option<()> {
    let page = document();
    let (order, html) = text.split_once('\n')?;
    let mut words = order.split(' ');
    let order = words.next()?;
    let mut changed = page.get_element_by_id(words.next()?)?;
    let focused = page.active_element();
    match order {
        "fill" => changed.set_inner_html(html),
        "append" => changed.insert_adjacent_html("beforeend", html).ok()?,
        _ => {
            let id = words.next()?;
            if let Some(row) = page.get_element_by_id(id) {
                row.set_outer_html(html);
                changed = page.get_element_by_id(id)?;
            } else {
                changed.insert_adjacent_html("afterbegin", html).ok()?;
                if changed.child_element_count() > MOST {
                    changed.last_element_child()?.remove();
                }
            }
        }
    }
    localise();
    refocus(&changed, &focused?)
}

/// Who was at a link or a button that was just replaced is at its successor.
fn refocus(changed: &Element, focused: &Element) -> Option<()> {
    if focused.is_connected() {
        return None;
    }
    let by = |name: &str| focused.get_attribute(name).map(|value| ["[", name, "=\"", &value, "\"]"].concat());
    let successor = changed.query_selector(&by("id").or_else(|| by("href"))?).ok()??;
    successor.unchecked_ref::<HtmlElement>().focus().ok()
}

/// Writes every instant that still stands in UTC in the browser's own zone; its title keeps UTC.
pub fn localise() {
    let page = document();
    while let Ok(Some(time)) = page.query_selector("time[data-clock]") {
        let options = match time.get_attribute("data-clock").as_deref() {
            Some("day") => r#"{"dateStyle":"medium"}"#,
            Some("seconds") => r#"{"timeStyle":"medium"}"#,
            _ => r#"{"dateStyle":"medium","timeStyle":"short"}"#,
        };
        // First of all: an instant that can't be read must not be found again.
        let _done = time.remove_attribute("data-clock");
        let (Some(instant), Ok(options)) = (time.get_attribute("datetime"), JSON::parse(options)) else { continue };
        let text = Date::new(&instant.into()).to_locale_string("en-GB", options.unchecked_ref());
        time.set_text_content(text.as_string().as_deref());
    }
}
