//! What a plan says, line by line: what there is not stands there too, with why and what instead (R7).

use leptos::prelude::*;

use super::icon;
use crate::app::model::Said;

pub fn lines(told: Vec<impl Into<Said>>) -> AnyView {
    let items = told.into_iter().map(Into::into).map(|Said { title, text, is_available }| {
        let glyph = if is_available { "check" } else { "dash" };
        let not = (!is_available).then(|| view! { <span class="unseen">" (not available)"</span> });
        view! { <li>{icon(glyph)}<span><strong>{title}{not}": "</strong>{text}</span></li> }
    });
    view! { <ul class="ticks">{items.collect_view()}</ul> }.into_any()
}
